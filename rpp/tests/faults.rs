//! Faulty responses of a proxy, and the client's errors: one fault per case.
// Tables of cases are long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::too_many_lines)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
    },
};
use d8_layers::{TarEntry, layer};
use d8_rpp::{Error, ErrorKind, Proxy};
use futures::{StreamExt as _, stream};
use support::{Authority, Rest, ScriptedProxy, TlsServer, answer, fast_retries, short_timeouts, then};

fn hello() -> Component {
    "hello".parse().unwrap()
}

fn tag() -> Tag {
    "v1.0.0".parse().unwrap()
}

fn linux() -> Platform {
    "linux-amd64".parse().unwrap()
}

const TAGS: &str = r#"{"name": "deckhouse-cli/plugins/hello", "tags": ["v1.0.0", "latest"]}"#;

type Answer = fn(usize) -> Response;

fn with_header(mut response: Response, name: &'static str, value: &'static str) -> Response {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// Returns a body of megabytes without a length.
fn flood() -> Body {
    Body::from_stream(
        stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 << 10]))).take(80),
    )
}

#[tokio::test]
async fn responses_to_a_tag_list() {
    // Name, the response, the kind of error (`None`: success), a part of the message, the number of requests.
    let cases: Vec<(&str, Answer, Option<ErrorKind>, &str, usize)> = vec![
        ("well", |_| answer(200, TAGS), None, "", 1),
        ("no tags", |_| answer(200, r#"{"name": "x", "tags": null}"#), None, "", 1),
        (
            "401",
            |_| answer(401, "Unauthorized\n"),
            Some(ErrorKind::Unauthorized),
            "(401 Unauthorized): Unauthorized",
            1,
        ),
        ("403", |_| answer(403, "Forbidden (user=x)\n"), Some(ErrorKind::Forbidden), "Forbidden (user=x)", 1),
        ("404", |_| answer(404, "not found\n"), Some(ErrorKind::NotFound), "plugin hello is not published", 1),
        ("500", |_| answer(500, "oops"), Some(ErrorKind::Unavailable), "answered 500: oops", 3),
        (
            "502",
            |_| answer(502, ""),
            Some(ErrorKind::Unavailable),
            "/v1/images/deckhouse-cli/plugins/hello/tags answered 502",
            3,
        ),
        ("500 twice, then well", |n| if n < 2 { answer(500, "") } else { answer(200, TAGS) }, None, "", 3),
        (
            "401 after 503",
            |n| if n < 1 { answer(503, "") } else { answer(401, "") },
            Some(ErrorKind::Unauthorized),
            "",
            2,
        ),
        (
            "418",
            |_| answer(418, "tea\npot"),
            Some(ErrorKind::UnexpectedStatus),
            "GET /v1/images/deckhouse-cli/plugins/hello/tags answered 418: tea pot",
            1,
        ),
        ("204", |_| answer(204, ""), Some(ErrorKind::UnexpectedStatus), "204", 1),
        ("429", |_| answer(429, "slow down"), Some(ErrorKind::UnexpectedStatus), "429: slow down", 1),
        ("escapes", |_| answer(400, "\x1b[31mred\x07"), Some(ErrorKind::UnexpectedStatus), r"\u{1b}[31mred\u{7}", 1),
        ("not JSON", |_| answer(200, "<html>"), Some(ErrorKind::Malformed), "the tag list cannot be read", 1),
        ("JSON of another kind", |_| answer(200, r#"{"tags": "v1"}"#), Some(ErrorKind::Malformed), "the tag list", 1),
        ("too large, announced", |_| answer(200, vec![b' '; (4 << 20) + 1]), Some(ErrorKind::TooLarge), "4194304", 1),
        ("too large, not announced", |_| answer(200, flood()), Some(ErrorKind::TooLarge), "4194304", 1),
        (
            "body breaks",
            |_| answer(200, then(b"{", Rest::Breaks)),
            Some(ErrorKind::Unreachable),
            "cannot be reached",
            3,
        ),
        ("body breaks once", |n| answer(200, if n == 0 { then(b"{", Rest::Breaks) } else { TAGS.into() }), None, "", 2),
        (
            "body stalls",
            |_| answer(200, then(b"{", Rest::Stalls)),
            Some(ErrorKind::Timeout),
            "no more data within 300 ms",
            3,
        ),
        (
            "error body stalls",
            |_| answer(403, then(b"message", Rest::Stalls)),
            Some(ErrorKind::Forbidden),
            "message",
            1,
        ),
    ];
    for alpn in [&b"h2"[..], b"http/1.1"] {
        for (what, respond, kind, message, requests) in &cases {
            let respond = *respond;
            let scripted = ScriptedProxy::with_alpn(&[alpn], move |number, _| respond(number));
            // Short timeouts only where a response never arrives.
            let timeouts = if what.contains("stalls") { short_timeouts() } else { fast_retries() };
            let result = scripted.client(timeouts).tags(&hello()).await;
            match (&result, kind) {
                (Ok(_), None) => {}
                (Err(error), Some(kind)) => {
                    assert_eq!(error.kind(), *kind, "{what}: {error}");
                    assert!(error.to_string().contains(message), "{what}: {error}");
                    assert!(!error.advice().is_empty(), "{what}");
                    assert!(!format!("{error} {error:?}").contains(support::TOKEN), "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
            assert_eq!(scripted.count(), *requests, "{what}: requests");
        }
    }
}

#[tokio::test]
async fn a_response_that_never_arrives() {
    let authority = Authority::new();
    let router = Router::new().fallback(|| async { futures::future::pending::<()>().await });
    let server = TlsServer::serve(&authority.issue(|_| {}, &["127.0.0.1"]), &[b"h2"], router);
    let options = d8_rpp::ClientOptions {
        ca_file: Some(authority.file()),
        timeouts: short_timeouts(),
        ..d8_rpp::ClientOptions::default()
    };
    let endpoint = d8_rpp::Endpoint::explicit(&format!("https://{}", server.address)).unwrap();
    let proxy = Proxy::new(vec![endpoint], d8_rpp::Identity::anonymous(), &options).unwrap();
    let error = proxy.tags(&hello()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the proxy at {}: no answer within 300 ms", server.address));
}

#[tokio::test]
async fn a_redirect_is_refused_and_its_target_gets_no_request() {
    let seen = Arc::new(AtomicUsize::new(0));
    for status in [301, 302, 303, 307, 308] {
        let counter = Arc::clone(&seen);
        let target = ScriptedProxy::new(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            answer(200, TAGS)
        });
        let to = format!("https://{}/\u{1}elsewhere", target.server.address).replace('\u{1}', "");
        let scripted = ScriptedProxy::new(move |_, _: Request| {
            let mut response = answer(status, "");
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        });
        for result in [
            scripted.client(fast_retries()).tags(&hello()).await.map(|_| ()),
            scripted.client(fast_retries()).manifest(&hello(), "v1.0.0").await.map(|_| ()),
            scripted.client(fast_retries()).download(&hello(), &tag(), &linux(), None).await.map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Redirect, "{error}");
            assert!(error.to_string().contains(&target.server.address.to_string()), "{error}");
            assert!(error.advice()[0].cause.contains("no token was sent"));
        }
        assert_eq!(scripted.count(), 3);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_status_of_redirects_without_a_target_is_an_unexpected_status() {
    for status in [300, 304, 307] {
        let scripted = ScriptedProxy::new(move |_, _| answer(status, ""));
        let error = scripted.client(fast_retries()).tags(&hello()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedStatus, "{error}");
        let text = error.to_string();
        assert!(text.ends_with(&format!("/tags answered {status}")) && !text.contains("redirect"), "{text}");
    }
}

#[tokio::test]
async fn token_and_path_of_a_request() {
    let scripted = ScriptedProxy::new(|_, request: Request| {
        let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(authorization.as_deref(), Some("Bearer s3cret-token"));
        answer(400, request.uri().to_string())
    });
    let proxy = scripted.client(fast_retries());
    for (error, path) in [
        (proxy.tags(&Component::D8).await.unwrap_err(), "/base/v1/images/deckhouse-cli/tags"),
        (proxy.tags(&hello()).await.unwrap_err(), "/base/v1/images/deckhouse-cli/plugins/hello/tags"),
        (proxy.manifest(&hello(), "v1").await.unwrap_err(), "/base/v1/images/deckhouse-cli/plugins/hello/manifests/v1"),
        (
            proxy.download(&hello(), &tag(), &linux(), None).await.unwrap_err(),
            "/base/v1/images/deckhouse-cli/plugins/hello/images/v1.0.0?platform=linux-amd64",
        ),
    ] {
        let Error::Status { message, .. } = error else { panic!("{error}") };
        assert!(message.ends_with(path), "{message}");
    }
}

#[tokio::test]
async fn responses_to_a_manifest() {
    let empty = Digest::of(b"").to_string();
    let digest = Digest::of(b"{}").to_string();
    let cases: Vec<(&str, &str, Answer, Option<ErrorKind>)> = vec![
        ("by tag", "v1.0.0", |_| answer(200, "{}"), None),
        ("by digest", &digest, |_| answer(200, "{}"), None),
        ("wrong digest", &empty, |_| answer(200, "{}"), Some(ErrorKind::DigestMismatch)),
        ("too large", "v1.0.0", |_| answer(200, vec![b' '; (1 << 20) + 1]), Some(ErrorKind::TooLarge)),
        ("too large, not announced", "v1.0.0", |_| answer(200, flood()), Some(ErrorKind::TooLarge)),
        ("404", "v1.0.0", |_| answer(404, ""), Some(ErrorKind::NotFound)),
    ];
    for (what, reference, respond, kind) in cases {
        let scripted =
            ScriptedProxy::new(move |number, _| with_header(respond(number), "content-type", "application/x; a=b"));
        match (scripted.client(fast_retries()).manifest(&hello(), reference).await, kind) {
            (Ok(manifest), None) => {
                assert_eq!(manifest.digest.as_str(), digest);
                assert_eq!(manifest.media_type, "application/x");
            }
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{what}: {error}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn invalid_manifests() {
    let child =
        r#"{"manifests": [{"digest": "sha256:xyz", "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}]}"#;
    let contract = |annotation: &str| {
        format!(
            r#"{{"layers": [{{"digest": "{}", "size": 1}}], "annotations": {{"contract": "{annotation}"}}}}"#,
            Digest::of(b"")
        )
    };
    // base64 of {"name": "other"} and of {"requirements": {"modules": []}}
    let (other, flat) = ("eyJuYW1lIjogIm90aGVyIn0=", "eyJyZXF1aXJlbWVudHMiOiB7Im1vZHVsZXMiOiBbXX19");
    let large = format!(r#"{{"layers": [{{"digest": "{}", "size": 2000000000}}]}}"#, Digest::of(b""));
    let empty = format!(r#"{{"layers": [{{"digest": "{}", "size": 0}}]}}"#, Digest::of(b""));
    let broken = Some(ErrorKind::Malformed);
    let bad_contract = Some(ErrorKind::Contract);
    // An error of the whole image, or a part that is left out with this reason.
    let cases = [
        ("not JSON", "<html>".to_owned(), broken, "manifest sha256:"),
        ("no layers", "{}".to_owned(), None, "has no layers"),
        ("empty layers", r#"{"layers": []}"#.to_owned(), None, "has no layers"),
        ("layer without digest", r#"{"layers": [{"digest": "x", "size": 1}]}"#.to_owned(), None, "digest"),
        ("layer too large", large, None, "its layer is larger than"),
        ("empty layer", empty, None, "its last layer is empty"),
        ("child without digest", child.to_owned(), None, "its entry in the index has no valid digest"),
        ("no children", r#"{"manifests": []}"#.to_owned(), None, "the index lists no manifest for a platform"),
        ("contract not base64", contract("%%%"), bad_contract, "contract"),
        ("contract of another", contract(other), bad_contract, "belongs to `other`"),
        ("contract with a flat list", contract(flat), bad_contract, "requirements.modules"),
    ];
    for (what, body, kind, message) in cases {
        let scripted = ScriptedProxy::new(move |_, _| answer(200, body.clone()));
        let resolved = scripted.client(fast_retries()).resolve(&hello(), &tag()).await;
        let (found, text) = match resolved {
            Ok(resolved) => {
                assert_eq!(resolved.artifacts, [], "{what}");
                (None, resolved.left_out[0].why.clone())
            }
            Err(error) => (Some(error.kind()), error.to_string()),
        };
        assert_eq!(found, kind, "{what}: {text}");
        assert!(text.contains(message), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_child_that_the_registry_lacks_is_left_out() {
    let [linux, darwin] = ["linux", "darwin"].map(|os| {
        let layer = format!(r#"{{"layers": [{{"digest": "{}", "size": 1}}], "x": "{os}"}}"#, Digest::of(b""));
        (Digest::of(layer.as_bytes()), layer)
    });
    let entry = |digest: &Digest, os: &str| {
        format!(r#"{{"digest": "{digest}", "size": 1, "platform": {{"os": "{os}", "architecture": "amd64"}}}}"#)
    };
    let index = format!(r#"{{"manifests": [{}, {}]}}"#, entry(&linux.0, "linux"), entry(&darwin.0, "darwin"));
    let scripted = ScriptedProxy::new(move |_, request: Request| match request.uri().path() {
        path if path.ends_with(linux.0.as_str()) => answer(200, linux.1.clone()),
        path if path.ends_with(darwin.0.as_str()) => answer(404, "not found"),
        _ => answer(200, index.clone()),
    });
    let resolved = scripted.client(fast_retries()).resolve(&hello(), &tag()).await.unwrap();
    assert_eq!(resolved.artifacts.len(), 1);
    let left_out = &resolved.left_out[0];
    assert_eq!(left_out.platform.as_ref().unwrap().as_str(), "darwin-amd64");
    assert_eq!(left_out.effect, d8_rpp::LeftOutEffect::Missing);
    assert!(left_out.why.contains("the registry lacks its manifest sha256:"), "{left_out:?}");
}

/// The first bytes of a layer decide if its media type is not that of a gzip tar. If they cannot be read now, the
/// platform is left out for now, and not for good.
#[tokio::test]
async fn a_layer_that_cannot_be_read_now_is_left_out_for_now() {
    let layer = layer(&[TarEntry::file("plugin", "hello")]);
    let manifest = format!(
        r#"{{"layers": [{{"mediaType": "application/octet-stream", "digest": "{}", "size": {}}}]}}"#,
        Digest::of(&layer),
        layer.len()
    );
    let digest = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"manifests": [{{"digest": "{digest}", "size": 1, "platform": {{"os": "linux", "architecture": "amd64"}}}}]}}"#
    );
    for (status, expected) in [
        (502, Ok(d8_rpp::LeftOutEffect::Missing)),
        (404, Ok(d8_rpp::LeftOutEffect::Missing)),
        (422, Ok(d8_rpp::LeftOutEffect::Unusable)),
        (403, Err(ErrorKind::Forbidden)),
        (401, Err(ErrorKind::Unauthorized)),
    ] {
        let failing = Arc::new(AtomicBool::new(true));
        let (fails, manifest, index, layer) = (Arc::clone(&failing), manifest.clone(), index.clone(), layer.clone());
        let of_manifest = format!("/manifests/{digest}");
        let scripted = ScriptedProxy::new(move |_, request: Request| match request.uri().path() {
            path if path.ends_with(&of_manifest) => answer(200, manifest.clone()),
            path if path.contains("/manifests/") => answer(200, index.clone()),
            _ if fails.load(Ordering::SeqCst) => answer(status, "no"),
            _ => answer(200, layer.clone()),
        });
        let proxy = scripted.client(fast_retries());
        match (proxy.resolve(&hello(), &tag()).await, expected) {
            (Ok(resolved), Ok(effect)) => {
                assert_eq!(resolved.artifacts, [], "{status}");
                assert_eq!(resolved.left_out[0].effect, effect, "{status}: {:?}", resolved.left_out);
            }
            (Err(error), Err(kind)) => assert_eq!(error.kind(), kind, "{status}: {error}"),
            (result, _) => panic!("{status}: {result:?}"),
        }
        failing.store(false, Ordering::SeqCst);
        let resolved = proxy.resolve(&hello(), &tag()).await.unwrap();
        assert_eq!((resolved.artifacts.len(), resolved.left_out.len()), (1, 0), "{status}");
    }
}

/// The contract is taken from the index, else from the manifest for this platform, else from the first manifest.
/// Cases: the descriptions of the contracts in these documents.
#[tokio::test]
async fn which_document_has_the_contract() {
    let annotated = |document: &str, contract: Option<&str>| {
        let mut document: serde_json::Value = serde_json::from_str(document).unwrap();
        if let Some(description) = contract {
            let contract = Contract { description: description.to_owned(), ..Contract::bare(&hello(), &tag()) };
            document["annotations"] = serde_json::json!({"contract": contract.to_annotation()});
        }
        document.to_string()
    };
    let layers = |content: &[u8]| format!(r#"{{"layers": [{{"digest": "{}", "size": 1}}]}}"#, Digest::of(content));
    let own = Platform::current();
    let foreign = "plan9-mips";
    for (what, index, children, expected) in [
        ("the index", Some("index"), vec![(foreign, Some("first")), (own.as_str(), Some("own"))], Some("index")),
        ("this platform's child", None, vec![(foreign, Some("first")), (own.as_str(), Some("own"))], Some("own")),
        ("the first child", None, vec![(foreign, Some("first")), ("plan9-arm", Some("second"))], Some("first")),
        ("this platform's child has none", None, vec![(foreign, Some("first")), (own.as_str(), None)], Some("first")),
        ("no document", None, vec![(foreign, None), (own.as_str(), None)], None),
        ("no children", None, vec![], None),
    ] {
        let children: Vec<(String, String)> = children
            .into_iter()
            .map(|(platform, contract)| (platform.to_owned(), annotated(&layers(platform.as_bytes()), contract)))
            .collect();
        let listed: Vec<_> = children
            .iter()
            .map(|(platform, manifest)| {
                let (os, architecture) = platform.split_once('-').unwrap();
                serde_json::json!({"digest": Digest::of(manifest.as_bytes()), "size": 1,
                    "platform": {"os": os, "architecture": architecture}})
            })
            .collect();
        let top = annotated(&serde_json::json!({"manifests": listed}).to_string(), index);
        let scripted = ScriptedProxy::new(move |_, request| {
            let path = request.uri().path();
            let child = children.iter().find(|(_, manifest)| path.ends_with(Digest::of(manifest.as_bytes()).as_str()));
            answer(200, child.map_or_else(|| top.clone(), |(_, manifest)| manifest.clone()))
        });
        let resolved = scripted.client(fast_retries()).resolve(&hello(), &tag()).await.unwrap();
        assert_eq!(resolved.contract.map(|contract| contract.description).as_deref(), expected, "{what}");
    }
}

#[tokio::test]
async fn concurrent_requests_share_one_connection() {
    let scripted = ScriptedProxy::new(|_, _| answer(200, TAGS));
    let proxy = scripted.client(fast_retries());
    let results = futures::future::join_all((0..20).map(|_| {
        let proxy = proxy.clone();
        async move { proxy.tags(&hello()).await }
    }))
    .await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(scripted.count(), 20);
    assert_eq!(scripted.server.connections(), 1);
}
