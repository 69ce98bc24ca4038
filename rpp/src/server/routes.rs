//! Handles requests: authorizes them and answers them on the routes of all generations.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use d8_crds::values::{
    name::{Component, NameError, Tag},
    platform::Platform,
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    request::Parts,
};

use super::{
    access::AccessError,
    access_log::{self, RequestUser},
    image::Manifest,
    images::{ImagesError, Layer},
    route::Route,
    state::ServerState,
};
use crate::{
    protocol::image,
    text::{MAX_MESSAGE, error_chain, one_line},
};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A response other than 200: a status and one line of text.
struct ErrorResponse(StatusCode, String);

impl From<ImagesError> for ErrorResponse {
    fn from(error: ImagesError) -> Self {
        tracing::error!(%error, "reading an image failed");
        match error {
            // The image is broken, not the registry: a request for another one may succeed.
            ImagesError::Unusable(why) => {
                let line = format!("the image cannot be used: {}", one_line(why.as_bytes(), MAX_MESSAGE));
                Self(StatusCode::UNPROCESSABLE_ENTITY, line)
            }
            ImagesError::Backend(_) => Self(StatusCode::BAD_GATEWAY, "the registry failed".to_owned()),
            ImagesError::Config(_) => {
                let line = "the proxy's configuration for the registry is not usable";
                Self(StatusCode::INTERNAL_SERVER_ERROR, line.to_owned())
            }
        }
    }
}

/// Returns the routes that are served over TLS.
pub(super) fn router(state: Arc<ServerState>) -> Router {
    probes(Arc::clone(&state)).merge(
        Router::new()
            .fallback(answer)
            .layer(middleware::from_fn_with_state(Arc::clone(&state), access_log::log))
            .with_state(state),
    )
}

/// Health and readiness, without authorization.
fn probes(state: Arc<ServerState>) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(state)
}

/// Returns the routes that are served inside of the cluster without TLS: health, readiness and metrics.
pub(super) fn internal_router(state: Arc<ServerState>) -> Router {
    probes(Arc::clone(&state)).merge(Router::new().route("/metrics", get(metrics)).with_state(state))
}

async fn ready(State(state): State<Arc<ServerState>>) -> Response {
    if state.shutting_down.load(Ordering::Relaxed) {
        text(StatusCode::SERVICE_UNAVAILABLE, "shutting down".to_owned())
    } else if state.images.ready().await {
        text(StatusCode::OK, "ok".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "the layout cannot be read".to_owned())
    }
}

async fn metrics(State(state): State<Arc<ServerState>>) -> Response {
    match state.metrics.text() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Authorizes a request, then answers it.
async fn answer(State(state): State<Arc<ServerState>>, request: Parts) -> Response {
    let user = match state.authorizer.authorize(&request.headers).await {
        Ok(user) => user,
        Err(error) => return refused(error),
    };
    let mut response = match serve(&state, &request).await {
        Ok(response) => response,
        Err(ErrorResponse(status, line)) => {
            let mut response = text(status, line);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            }
            response
        }
    };
    response.extensions_mut().insert(RequestUser(user));
    response
}

fn refused(error: AccessError) -> Response {
    match error {
        AccessError::Unauthenticated => text(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()),
        AccessError::Denied { user } => {
            let line = format!("Forbidden (user={user}, verb=get, resource=deployments, subresource=cli-binary)");
            let mut response = text(StatusCode::FORBIDDEN, line);
            response.extensions_mut().insert(RequestUser(user));
            response
        }
        AccessError::Review(error) => {
            tracing::error!(error = %error_chain(&*error), "a review by the cluster failed");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the cluster could not be asked who may download".to_owned())
        }
    }
}

fn text(status: StatusCode, line: String) -> Response {
    (status, line + "\n").into_response()
}

async fn serve(state: &ServerState, request: &Parts) -> Result<Response, ErrorResponse> {
    let not_found = || ErrorResponse(StatusCode::NOT_FOUND, "not found".to_owned());
    let route = Route::parse(request.uri.path()).filter(|route| route.is_in(state.generation)).ok_or_else(not_found)?;
    let head = request.method == Method::HEAD;
    if request.method != Method::GET && !(head && route.has_head()) {
        return Err(ErrorResponse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned()));
    }
    let images = &state.images;
    let response = match route {
        Route::Tags(component) => images.tags(&component).await?.map(|tags| tags_response(&component, &tags)),
        Route::Manifest(component, reference) => images.manifest(&component, &reference).await?.map(manifest_response),
        Route::Layer(component, tag) => {
            let platform = platform(&request.uri)?;
            let layer = images.layer(&component, &tag, platform.as_ref(), !head).await?;
            layer.map(|layer| layer_response(layer, &component, &tag, head))
        }
        Route::Generation1Layer(component, tag) => {
            let layer = images.layer(&component, &tag, None, !head).await?;
            layer.map(|layer| layer_response(layer, &component, &tag, head))
        }
    };
    response.ok_or_else(not_found)
}

fn tags_response(component: &Component, tags: &[String]) -> Response {
    axum::Json(serde_json::json!({"name": image::name(component), "tags": tags})).into_response()
}

fn manifest_response(manifest: Manifest) -> Response {
    let digests = [(ETAG, format!("\"{}\"", manifest.digest)), (DOCKER_CONTENT_DIGEST, manifest.digest.to_string())];
    ([(CONTENT_TYPE, manifest.media_type)], digests, manifest.bytes).into_response()
}

fn layer_response(layer: Layer, component: &Component, tag: &Tag, head: bool) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/x-gzip".to_owned()),
        (CONTENT_LENGTH, layer.size.to_string()),
        (ETAG, format!("\"{}\"", layer.manifest)),
        (DOCKER_CONTENT_DIGEST, layer.manifest.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{component}-{tag}.tar.gz\"")),
        // A tag can be moved.
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    let body = if head { Body::empty() } else { Body::from_stream(layer.bytes()) };
    (headers, body).into_response()
}

/// Reads `platform=<os>-<arch>` in the query, `None` if it is absent.
fn platform(uri: &Uri) -> Result<Option<Platform>, ErrorResponse> {
    let query = uri.query().unwrap_or_default();
    let value = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "platform");
    match value {
        None => Ok(None),
        Some((_, text)) => {
            text.parse().map(Some).map_err(|error: NameError| ErrorResponse(StatusCode::BAD_REQUEST, error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_in_queries() {
        for (query, expected) in [
            ("", Ok(None)),
            ("?x=y", Ok(None)),
            ("?platform=linux-amd64", Ok(Some("linux-amd64"))),
            ("?x=y&platform=darwin-arm64", Ok(Some("darwin-arm64"))),
            ("?platform=", Err(())),
            ("?platform=linux%2Famd64", Err(())),
            ("?platform=../..", Err(())),
        ] {
            let uri: Uri = format!("https://h/p{query}").parse().unwrap();
            let found = platform(&uri).map(|found| found.map(String::from)).map_err(|_| ());
            assert_eq!(found, expected.map(|p| p.map(str::to_owned)), "{query}");
        }
    }
}
