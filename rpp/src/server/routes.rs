//! The routes of generation 3, what they answer, and the access log.

use std::{io, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use d8_crds::{
    name::{Component, Tag},
    platform::Platform,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    request::Parts,
};
use percent_encoding::percent_decode_str;
use tokio_util::io::ReaderStream;

use super::{
    access::{Gate, Refusal},
    catalog::{Catalog, Layer, Manifest},
};
use crate::image;

/// Bytes of a layer read at a time.
const CHUNK: usize = 256 << 10;
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What every request needs.
pub(super) struct App {
    pub(super) gate: Gate,
    pub(super) catalog: Catalog,
}

/// The user a request was let in as, for the access log.
#[derive(Clone)]
struct User(String);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Tags(Component),
    Layer(Component, Tag),
    Manifest(Component, String),
}

/// An answer other than 200: a status and one line of text.
struct Failure(StatusCode, String);

impl From<io::Error> for Failure {
    /// The store behind the server is its registry.
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "layout");
        Self(StatusCode::BAD_GATEWAY, "the registry failed".to_owned())
    }
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .fallback(answer)
        .with_state(app)
        .layer(middleware::from_fn(log))
}

async fn answer(State(app): State<Arc<App>>, request: Parts) -> Response {
    let user = match app.gate.pass(&request.headers).await {
        Ok(user) => user,
        Err(refusal) => return refused(refusal),
    };
    let mut response = match route_and_serve(app, &request).await {
        Ok(response) => response,
        Err(Failure(status, line)) => {
            let mut response = text(status, line);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            }
            response
        }
    };
    response.extensions_mut().insert(User(user));
    response
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unauthenticated => text(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()),
        Refusal::Denied { user } => {
            let line = format!("Forbidden (user={user}, verb=get, resource=deployments, subresource=cli-binary)");
            let mut response = text(StatusCode::FORBIDDEN, line);
            response.extensions_mut().insert(User(user));
            response
        }
        Refusal::Unknown(error) => {
            tracing::error!(error = %crate::identity::explain(&error), "the cluster could not be asked");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the cluster could not be asked who may download".to_owned())
        }
    }
}

fn text(status: StatusCode, line: String) -> Response {
    (status, line + "\n").into_response()
}

async fn route_and_serve(app: Arc<App>, request: &Parts) -> Result<Response, Failure> {
    let not_found = || Failure(StatusCode::NOT_FOUND, "not found".to_owned());
    let route = Route::of(request.uri.path()).ok_or_else(not_found)?;
    let head = request.method == Method::HEAD;
    if request.method != Method::GET && !(head && matches!(route, Route::Layer(..))) {
        return Err(Failure(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned()));
    }
    let platform = match &route {
        Route::Layer(..) => platform(&request.uri)?,
        _ => None,
    };
    // Small reads, but reads of a disk.
    let response = tokio::task::spawn_blocking(move || serve(&app, route, platform.as_ref(), head))
        .await
        .map_err(|error| io::Error::other(error.to_string()))??;
    response.ok_or_else(not_found)
}

fn serve(app: &App, route: Route, platform: Option<&Platform>, head: bool) -> Result<Option<Response>, Failure> {
    match route {
        Route::Tags(component) => {
            let published = app.catalog.published()?;
            let Some(tags) = published.tags(&component) else { return Ok(None) };
            let tags: Vec<&str> = tags.keys().map(Tag::as_str).collect();
            let list = serde_json::json!({"name": image::name(&component), "tags": tags});
            Ok(Some(axum::Json(list).into_response()))
        }
        Route::Manifest(component, reference) => {
            Ok(app.catalog.manifest(&component, &reference)?.map(manifest_response))
        }
        Route::Layer(component, tag) => {
            let layer = app.catalog.layer(&component, &tag, platform)?;
            layer.map(|layer| layer_response(&layer, &component, &tag, head)).transpose()
        }
    }
}

fn manifest_response(manifest: Manifest) -> Response {
    let headers = [
        (CONTENT_TYPE, manifest.media_type),
        (ETAG, format!("\"{}\"", manifest.digest)),
        (DOCKER_CONTENT_DIGEST, manifest.digest.to_string()),
    ];
    (headers, manifest.bytes).into_response()
}

fn layer_response(layer: &Layer, component: &Component, tag: &Tag, head: bool) -> Result<Response, Failure> {
    let file = std::fs::File::open(&layer.path)?;
    let size = file.metadata()?.len();
    let headers = [
        (CONTENT_TYPE, "application/x-gzip".to_owned()),
        (CONTENT_LENGTH, size.to_string()),
        (ETAG, format!("\"{}\"", layer.manifest)),
        (DOCKER_CONTENT_DIGEST, layer.manifest.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{component}-{tag}.tar.gz\"")),
        // A tag can move.
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    let body = if head {
        Body::empty()
    } else {
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        Body::from_stream(ReaderStream::with_capacity(file, CHUNK))
    };
    Ok((headers, body).into_response())
}

/// `platform=<os>-<arch>`; none if it is not named.
fn platform(uri: &Uri) -> Result<Option<Platform>, Failure> {
    let query = uri.query().unwrap_or_default();
    let named = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "platform");
    match named {
        None => Ok(None),
        Some((_, text)) => text
            .parse()
            .map(Some)
            .map_err(|error: d8_crds::name::NameError| Failure(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

impl Route {
    /// Reads a path. The split is at the last word of action, so that a plugin may be called `images` or
    /// `tags`; images that are not d8's are no route.
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/images/")?;
        let (image, last) = rest.rsplit_once('/')?;
        if last == "tags"
            && let Some(component) = image::component(image)
        {
            return Some(Self::Tags(component));
        }
        let (image, action) = image.rsplit_once('/')?;
        let component = image::component(image)?;
        let last = percent_decode_str(last).decode_utf8().ok()?;
        match action {
            "images" => Some(Self::Layer(component, last.parse().ok()?)),
            "manifests" => Some(Self::Manifest(component, last.into_owned())),
            _ => None,
        }
    }
}

/// One line for each request, without its headers: they hold tokens. The path has no control
/// characters, as the parser of requests refuses them.
async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    let response = next.run(request).await;
    if path == "/healthz" {
        return response;
    }
    let user = response.extensions().get::<User>().map_or("-", |User(name)| name);
    tracing::info!(
        target: "access",
        %method, path, status = response.status().as_u16(), user = ?user,
        bytes = announced(response.headers()),
        millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    );
    response
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    crate::transport::content_length(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_ask_for() {
        let plugin = |name: &str| Component::Plugin(name.parse().unwrap());
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        let digest = format!("sha256:{}", "a".repeat(64));
        let by_digest = format!("deckhouse-cli/manifests/{digest}");
        let cases = [
            ("deckhouse-cli/tags", Some(Route::Tags(Component::D8))),
            ("deckhouse-cli/plugins/hello/tags", Some(Route::Tags(plugin("hello")))),
            ("deckhouse-cli/plugins/tags/tags", Some(Route::Tags(plugin("tags")))),
            ("deckhouse-cli/plugins/images/tags", Some(Route::Tags(plugin("images")))),
            ("deckhouse-cli/plugins/tags/images/v1.0.0", Some(Route::Layer(plugin("tags"), tag("v1.0.0")))),
            ("deckhouse-cli/plugins/images/images/tags", Some(Route::Layer(plugin("images"), tag("tags")))),
            ("deckhouse-cli/images/v1.0.0", Some(Route::Layer(Component::D8, tag("v1.0.0")))),
            ("deckhouse-cli/manifests/v1.0.0", Some(Route::Manifest(Component::D8, "v1.0.0".to_owned()))),
            (&by_digest, Some(Route::Manifest(Component::D8, digest.clone()))),
            ("deckhouse-cli/manifests/sha256%3Aab", Some(Route::Manifest(Component::D8, "sha256:ab".to_owned()))),
            ("deckhouse-cli/images/..%2F..", None),
            ("deckhouse-cli/images/v1%20", None),
            ("deckhouse-cli/tags/v1.0.0", None),
            ("deckhouse-cli/plugins/tags", None),
            ("deckhouse-cli/plugins/../tags", None),
            ("deckhouse-controller/tags", None),
            ("deckhouse-cli", None),
            ("", None),
        ];
        for (path, route) in cases {
            assert_eq!(Route::of(&format!("/v1/images/{path}")), route, "{path}");
        }
        assert_eq!(Route::of("/v2/images/deckhouse-cli/tags"), None);
    }

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
