//! Registries that issue tokens, and registries whose tokens and answers are meant to harm, behind `d8-rpp serve` and
//! `d8-rpp pack`.

use std::{
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse as _, Response},
};
use d8_crds::values::digest::Digest;
use serde_json::{Value, json};

use super::{HELLO, Lab, hello, support::plain};

/// Far more bytes than any answer may have, and than the buffers between registry and proxy hold.
const TOO_MANY: usize = 64 << 20;

/// A registry that requires a token.
#[derive(Clone)]
struct Registry {
    /// The answer to a request for a token.
    token: Value,
    layer: Bytes,
    /// Requests as `METHOD path?query authorization`.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn new(token: Value) -> Self {
        let layer = d8_layers::layer(&[d8_layers::TarEntry::file("plugin", "hello ".repeat(1000))]);
        Self { token, layer: layer.into(), requests: Arc::default() }
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.layer)
    }

    fn manifest(&self) -> String {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let descriptor = json!({"mediaType": media_type, "digest": self.digest(), "size": self.layer.len()});
        json!({"schemaVersion": 2, "layers": [descriptor]}).to_string()
    }

    fn answer(&self, request: &Request) -> Response {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let authorization = request.headers().get("authorization").map_or("-", |value| value.to_str().unwrap());
        self.requests.lock().unwrap().push(format!("{method} {} {authorization}", request.uri()));
        let host = request.headers()["host"].to_str().unwrap();
        if path == "/token" {
            return Json(self.token.clone()).into_response();
        }
        if !authorization.starts_with("Bearer ") {
            return challenge(host);
        }
        let status = |code: u16| http::StatusCode::from_u16(code).unwrap();
        match method {
            "POST" | "PATCH" => (status(202), [("location", format!("http://{host}/v2/upload"))]).into_response(),
            "PUT" => (status(201), [("location", format!("http://{host}/v2/done"))]).into_response(),
            "HEAD" => status(404).into_response(),
            _ if path.contains("/manifests/") => ([("docker-content-digest", "x")], self.manifest()).into_response(),
            _ if path.contains("/blobs/") => self.layer.clone().into_response(),
            _ => Json(json!({"tags": ["v1.0.0"]})).into_response(),
        }
    }

    async fn start(&self) -> std::net::SocketAddr {
        let registry = self.clone();
        plain(Router::new().fallback(async move |request: Request| registry.answer(&request))).await
    }
}

/// Requires a token, which is issued at `/token`.
fn challenge(host: &str) -> Response {
    let header = format!("Bearer realm=\"http://{host}/token\",service=\"a registry\"");
    (http::StatusCode::UNAUTHORIZED, [("www-authenticate", header)], "{}").into_response()
}

/// An answer without an end. Counts its bytes.
fn endless(sent: &Arc<AtomicUsize>) -> Body {
    let sent = Arc::clone(sent);
    let chunk = Bytes::from(vec![b'a'; 64 << 10]);
    Body::from_stream(futures::stream::repeat_with(move || {
        sent.fetch_add(chunk.len(), Ordering::SeqCst);
        Ok::<_, std::io::Error>(chunk.clone())
    }))
}

/// Packs an image into a registry. `credentials`: the entry of the registry in the file with credentials.
async fn pack(registry: std::net::SocketAddr, credentials: Option<Value>) -> Output {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("hello"), "#!/bin/sh\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_d8-rpp"));
    command.args(["pack", "--image", HELLO, "--version", "v1.0.0", "--platform", "linux-amd64=hello"]);
    command.args(["--to", &format!("http://{registry}/d8")]).current_dir(directory.path());
    if let Some(entry) = credentials {
        let file = json!({"auths": {registry.to_string(): entry}}).to_string();
        std::fs::write(directory.path().join("credentials.json"), file).unwrap();
        command.args(["--registry-credentials", "credentials.json"]);
    }
    tokio::task::spawn_blocking(move || (command.output().unwrap(), directory)).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_tokens_is_read_and_written() {
    for token in [
        json!({"token": "t0ken"}),
        json!({"access_token": "t0ken", "expires_in": 300}),
        json!({"token": "", "access_token": "t0ken", "expires_in": "soon"}),
    ] {
        let registry = Registry::new(token.clone());
        let lab = Lab::over_registry(registry.start().await).await;
        let (tag, platform) = ("v1.0.0".parse().unwrap(), "linux-amd64".parse().unwrap());
        let download = lab.proxy("good").download(&hello(), &tag, &platform, None).await.unwrap();
        let (mut sink, limits) = (Vec::new(), d8_rpp::layer::Limits::default());
        d8_rpp::layer::unpack(download.into_reader(), "plugin", &limits, &mut sink).await.unwrap();
        assert_eq!(sink.len(), 6000, "{token}");
        let scope = "repository%3Ad8%2Fdeckhouse-cli%2Fplugins%2Fhello%3Apull";
        let requests = registry.requests.lock().unwrap().clone();
        assert!(requests.contains(&format!("GET /token?service=a+registry&scope={scope} -")), "{requests:?}");
        let blob = format!("GET /v2/d8/{HELLO}/blobs/{} Bearer t0ken", registry.digest());
        assert!(requests.contains(&blob), "{requests:?}");
    }

    let registry = Registry::new(json!({"token": "t0ken"}));
    let output = pack(registry.start().await, Some(json!({"username": "u", "password": "p"}))).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // The header with the digest says `x`.
    let before = Digest::of(registry.manifest().as_bytes());
    assert!(errors.contains(&format!("moved from {before} to sha256:")), "{errors}");
    let requests = registry.requests.lock().unwrap().clone();
    let with = |method: &str, part: &str, authorization: &str| {
        requests
            .iter()
            .any(|request| request.starts_with(method) && request.contains(part) && request.ends_with(authorization))
    };
    assert!(with("GET /token?", "hello%3Apull%2Cpush", " Basic dTpw"), "{requests:?}");
    assert!(with("PUT /v2/d8/deckhouse-cli/plugins/hello/manifests/v1.0.0", "", " Bearer t0ken"), "{requests:?}");
    // The library requests no token.
    let tokens = requests.iter().filter(|request| request.contains("/token?")).count();
    assert_eq!(tokens, 2, "{requests:?}");
    let is_for_token = |request: &String| request.contains("/token?") || request.contains("/v2/ ");
    let sent = requests.iter().filter(|request| !is_for_token(request) && request.ends_with(" Basic dTpw")).count();
    assert!(sent <= 1, "the password goes to the issuer of tokens, and once where no token was required: {requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_header_may_contain_is_an_error() {
    for token in [
        json!({"token": "s3cret\r\nb"}),
        json!({"token": "s3cret\nX: y"}),
        json!({"token": "s3cret\0b"}),
        json!({"token": "s3cret \u{2603}"}),
        json!({"access_token": "s3cret\r"}),
        json!({"token": ""}),
        json!({"token": null}),
        json!({"token": {"s3cret": 1}}),
        json!("s3cret"),
        json!([]),
    ] {
        let registry = Registry::new(token.clone()).start().await;
        let lab = Lab::over_registry(registry).await;
        for path in ["tags", "manifests/v1.0.0", "images/v1.0.0?platform=linux-amd64"] {
            let (status, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/{path}"), Some("good")).await;
            assert_eq!((status, body.as_slice()), (502, &b"the registry failed\n"[..]), "{token}: {path}");
        }
        let output = pack(registry, None).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{token}: {errors}");
        assert!(errors.contains("the registry: no token from http://127.0.0.1:"), "{token}: {errors}");
        assert!(!errors.contains("s3cret") && !errors.contains("panicked"), "{token}: {errors}");
    }
    // A token from the file with credentials.
    let registry = Registry::new(json!({})).start().await;
    let output = pack(registry, Some(json!({"registrytoken": "s3cret\r\nb"}))).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    let expected = format!("credentials.json: entry `{registry}`: `registrytoken` has a line end");
    assert!(errors.contains(&expected) && !errors.contains("s3cret"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_answers_of_a_registry_are_cut_off() {
    /// What has no end: an answer with a token, a refusal of one, or the error for each request.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Endless {
        Token,
        Refusal,
        Error,
    }
    for what in [Endless::Token, Endless::Refusal, Endless::Error] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let registry = plain(Router::new().fallback(async move |request: Request| {
            let host = request.headers()["host"].to_str().unwrap();
            let status = |code: u16| http::StatusCode::from_u16(code).unwrap();
            match (request.uri().path(), what) {
                ("/v2/", Endless::Error) => Body::empty().into_response(),
                (_, Endless::Error) => (status(500), endless(&counter)).into_response(),
                ("/token", Endless::Token) => endless(&counter).into_response(),
                ("/token", _) => (status(403), endless(&counter)).into_response(),
                _ => challenge(host),
            }
        }))
        .await;
        let lab = Lab::over_registry(registry).await;
        let (status, _, _) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), Some("good")).await;
        assert_eq!(status, 502, "{what:?}");
        if what != Endless::Error {
            let output = pack(registry, None).await;
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{what:?}: {errors}");
            assert!(errors.contains("the registry: no token from http://127.0.0.1:"), "{what:?}: {errors}");
        }
        assert!((1..TOO_MANY).contains(&sent.load(Ordering::SeqCst)), "{what:?}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_error_in_place_of_a_layer_is_cut_off() {
    let sent = Arc::new(AtomicUsize::new(0));
    let (counter, registry) = (Arc::clone(&sent), Registry::new(json!({})));
    let address = plain(Router::new().fallback(async move |request: Request| match request.uri().path() {
        path if path.contains("/manifests/") => registry.manifest().into_response(),
        path if path.contains("/blobs/") => {
            (http::StatusCode::INTERNAL_SERVER_ERROR, endless(&counter)).into_response()
        }
        _ => Json(json!({"tags": ["v1.0.0"]})).into_response(),
    }))
    .await;
    let lab = Lab::over_registry(address).await;
    let (tag, platform) = ("v1.0.0".parse().unwrap(), "linux-amd64".parse().unwrap());
    let unpacked = match lab.proxy("good").download(&hello(), &tag, &platform, None).await {
        Ok(download) => {
            let limits = d8_rpp::layer::Limits::default();
            d8_rpp::layer::unpack(download.into_reader(), "plugin", &limits, &mut Vec::new()).await.map(drop)
        }
        Err(error) => Err(error),
    };
    assert!(unpacked.is_err());
    assert!((1..TOO_MANY).contains(&sent.load(Ordering::SeqCst)), "{sent:?}");
}
