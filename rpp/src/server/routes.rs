//! The routes of all generations, and what they answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use d8_crds::values::{
    name::{Component, Tag},
    platform::Platform,
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    request::Parts,
};
use percent_encoding::percent_decode_str;

use crate::{
    protocol::{generation::Generation, image},
    server::{
        access::{Gate, Refusal},
        access_log::{self, User},
        images::{Images, ImagesError, Layer, Manifest},
        metrics::Metrics,
    },
};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What every request needs.
pub(super) struct App {
    pub(super) gate: Gate,
    pub(super) images: Images,
    /// The newest whose routes there are.
    pub(super) generation: Generation,
    pub(super) metrics: Arc<Metrics>,
    /// No more requests are wanted.
    pub(super) ending: AtomicBool,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Tags(Component),
    /// Generation 1.
    OldLayer(Component, Tag),
    /// Generation 2.
    Layer(Component, Tag),
    /// Generation 3.
    Manifest(Component, String),
}

/// An answer other than 200: a status and one line of text.
struct Failure(StatusCode, String);

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Self {
        tracing::error!(%error, "no answer from what is behind the proxy");
        match error {
            ImagesError::Registry(_) => Self(StatusCode::BAD_GATEWAY, "the registry failed".to_owned()),
            ImagesError::Config(_) => {
                Self(StatusCode::INTERNAL_SERVER_ERROR, "the proxy has no usable registry configuration".to_owned())
            }
        }
    }
}

pub(super) fn router(app: Arc<App>) -> Router {
    observers(Arc::clone(&app)).merge(
        Router::new()
            .fallback(answer)
            .layer(middleware::from_fn_with_state(Arc::clone(&app), access_log::log))
            .with_state(app),
    )
}

/// Health and readiness: for everybody.
fn observers(app: Arc<App>) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(app)
}

/// What is for those inside of the cluster only: health, readiness and metrics.
pub(super) fn inside(app: Arc<App>) -> Router {
    observers(Arc::clone(&app)).merge(Router::new().route("/metrics", get(metrics)).with_state(app))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.ending.load(Ordering::Relaxed) {
        text(StatusCode::SERVICE_UNAVAILABLE, "ending".to_owned())
    } else if app.images.ready().await {
        text(StatusCode::OK, "ok".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "the layout can't be read".to_owned())
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.text() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn answer(State(app): State<Arc<App>>, request: Parts) -> Response {
    let user = match app.gate.pass(&request.headers).await {
        Ok(user) => user,
        Err(refusal) => return refused(refusal),
    };
    let mut response = match route_and_serve(&app, &request).await {
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
            tracing::error!(error = %crate::text::error_chain(&*error), "the cluster could not be asked");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the cluster could not be asked who may download".to_owned())
        }
    }
}

fn text(status: StatusCode, line: String) -> Response {
    (status, line + "\n").into_response()
}

async fn route_and_serve(app: &App, request: &Parts) -> Result<Response, Failure> {
    let not_found = || Failure(StatusCode::NOT_FOUND, "not found".to_owned());
    let route = Route::of(request.uri.path()).filter(|route| route.is_of(app.generation)).ok_or_else(not_found)?;
    let head = request.method == Method::HEAD;
    if request.method != Method::GET && !(head && route.has_head()) {
        return Err(Failure(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned()));
    }
    let response = match route {
        Route::Tags(component) => app.images.tags(&component).await?.map(|tags| tags_response(&component, &tags)),
        Route::Manifest(component, reference) => {
            app.images.manifest(&component, &reference).await?.map(manifest_response)
        }
        Route::Layer(component, tag) => {
            let platform = platform(&request.uri)?;
            let layer = app.images.layer(&component, &tag, platform.as_ref(), !head).await?;
            layer.map(|layer| layer_response(layer, &component, &tag, head))
        }
        Route::OldLayer(component, tag) => {
            let layer = app.images.layer(&component, &tag, None, !head).await?;
            layer.map(|layer| layer_response(layer, &component, &tag, head))
        }
    };
    response.ok_or_else(not_found)
}

fn tags_response(component: &Component, tags: &[String]) -> Response {
    axum::Json(serde_json::json!({"name": image::name(component), "tags": tags})).into_response()
}

fn manifest_response(manifest: Manifest) -> Response {
    let headers = [
        (CONTENT_TYPE, manifest.media_type),
        (ETAG, format!("\"{}\"", manifest.digest)),
        (DOCKER_CONTENT_DIGEST, manifest.digest.to_string()),
    ];
    (headers, manifest.bytes).into_response()
}

fn layer_response(layer: Layer, component: &Component, tag: &Tag, head: bool) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/x-gzip".to_owned()),
        (CONTENT_LENGTH, layer.size.to_string()),
        (ETAG, format!("\"{}\"", layer.manifest)),
        (DOCKER_CONTENT_DIGEST, layer.manifest.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{component}-{tag}.tar.gz\"")),
        // A tag can move.
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    let body = if head { Body::empty() } else { Body::from_stream(layer.bytes()) };
    (headers, body).into_response()
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
            .map_err(|error: d8_crds::values::name::NameError| Failure(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// The route a path names, for metrics.
pub(super) fn route_name(path: &str) -> &'static str {
    match Route::of(path) {
        Some(Route::Tags(_)) => "tags",
        Some(Route::OldLayer(..)) => "old_layer",
        Some(Route::Layer(..)) => "layer",
        Some(Route::Manifest(..)) => "manifest",
        None => "none",
    }
}

impl Route {
    /// Whether a proxy of a generation has it. Ours keeps the older ones.
    fn is_of(&self, generation: Generation) -> bool {
        match self {
            Self::Tags(_) | Self::OldLayer(..) => true,
            Self::Layer(..) => generation >= Generation::Two,
            Self::Manifest(..) => generation >= Generation::Three,
        }
    }

    fn has_head(&self) -> bool {
        matches!(self, Self::Layer(..) | Self::OldLayer(..))
    }

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
            "tags" => Some(Self::OldLayer(component, last.parse().ok()?)),
            "images" => Some(Self::Layer(component, last.parse().ok()?)),
            "manifests" => Some(Self::Manifest(component, last.into_owned())),
            _ => None,
        }
    }
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
            ("deckhouse-cli/tags/v1.0.0", Some(Route::OldLayer(Component::D8, tag("v1.0.0")))),
            ("deckhouse-cli/plugins/tags/tags/v1.0.0", Some(Route::OldLayer(plugin("tags"), tag("v1.0.0")))),
            ("deckhouse-cli/plugins/images/tags/tags", Some(Route::OldLayer(plugin("images"), tag("tags")))),
            ("deckhouse-cli/plugins/tags/tags/tags", Some(Route::OldLayer(plugin("tags"), tag("tags")))),
            ("deckhouse-cli/tags/..%2F..", None),
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
