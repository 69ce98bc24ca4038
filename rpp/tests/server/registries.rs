//! Registries that page their tag lists in their own ways, and registries that send wrong layers, behind the proxy and
//! its cache.

use std::{
    collections::HashMap,
    sync::{
        Arc,
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
use d8_rpp::ErrorKind;
use serde_json::json;

use super::{HELLO, Lab, hello, support::plain};

/// Number of tags in the list, and in one page.
const TAGS: usize = 120;
const PAGE: usize = 50;

/// A way to page a list.
#[derive(Clone, Copy, Debug)]
enum Paging {
    /// Links with an opaque token; `last` is unknown (quay).
    Token,
    /// As `Token`, with absolute links of another scheme and without the port.
    TokenAbsolute,
    /// `last` is a tag, and the list is sorted; with links.
    Lexical,
    /// `last` is a position in a list that is sorted by time; without links.
    Created,
    /// One page, whatever is asked.
    Whole,
    /// Every second page is empty.
    EmptyPages,
    /// A link to the page itself.
    Loop,
    /// A link to another page with the same tags.
    Repeats,
    /// A link that never ends, without tags.
    Endless,
    /// A link to another host.
    Elsewhere,
    /// A link that cannot be read.
    Unreadable,
    /// A page that does not exist.
    Gone,
    /// A page that fails.
    Fails,
}

fn all_tags() -> Vec<String> {
    (0..TAGS).map(|number| format!("v1.{number}.0")).collect()
}

fn page(paging: Paging, path: &str, query: &HashMap<String, String>) -> Response {
    let mut tags = all_tags();
    let at: usize = query.get("token").map_or(0, |token| token.parse().unwrap());
    let answer = |tags: Vec<String>, next: Option<String>| {
        let mut response = Json(json!({"name": "x", "tags": tags})).into_response();
        if let Some(next) = next {
            response.headers_mut().insert("link", next.parse().unwrap());
        }
        response
    };
    let page: Vec<String> = tags.iter().skip(at).take(PAGE).cloned().collect();
    let next = (at + PAGE < TAGS).then(|| at + PAGE);
    let link = |next: usize| format!("<{path}?n=50&token={next}>; rel=\"next\"");
    match paging {
        Paging::Token => answer(page, next.map(link)),
        Paging::TokenAbsolute => {
            answer(page, next.map(|next| format!("<https://127.0.0.1{path}?token={next}>; rel=next")))
        }
        Paging::Lexical => {
            tags.sort();
            let last = query.get("last").cloned().unwrap_or_default();
            let page: Vec<String> = tags.iter().filter(|tag| **tag > last).take(PAGE).cloned().collect();
            let next = page.last().filter(|last| *last != tags.last().unwrap());
            let link = next.map(|last| format!("<{path}?n=50&last={last}>; rel=\"next\""));
            answer(page, link)
        }
        Paging::Created => {
            tags.reverse();
            let after =
                query.get("last").and_then(|last| tags.iter().position(|tag| tag == last)).map_or(0, |at| at + 1);
            answer(tags.into_iter().skip(after).take(PAGE).collect(), None)
        }
        Paging::Whole => answer(tags, None),
        Paging::EmptyPages if at % 100 == 50 => answer(Vec::new(), Some(link(at + 1))),
        Paging::EmptyPages => {
            let real = at / 100 * PAGE + if at % 100 == 51 { PAGE } else { 0 };
            let page: Vec<String> = tags.iter().skip(real).take(PAGE).cloned().collect();
            let next = (real + PAGE < TAGS).then_some(if at % 100 == 51 { 150 } else { 50 });
            answer(page, next.map(link))
        }
        Paging::Loop => answer(page, Some(format!("<{path}?n=1000>; rel=next"))),
        Paging::Repeats => answer(tags.into_iter().take(PAGE).collect(), Some(link(at + 1))),
        Paging::Endless => answer(if at == 0 { page } else { Vec::new() }, Some(link(at + 1))),
        Paging::Elsewhere => answer(page, Some(format!("<https://evil.example.com{path}?token=50>; rel=next"))),
        Paging::Unreadable => answer(page, Some(format!("{path}?token=50; rel=next"))),
        Paging::Gone | Paging::Fails if at == 0 => answer(page, Some(link(PAGE))),
        Paging::Gone => (http::StatusCode::NOT_FOUND, "{}").into_response(),
        Paging::Fails => (http::StatusCode::SERVICE_UNAVAILABLE, "{}").into_response(),
    }
}

#[tokio::test]
async fn a_tag_list_is_complete_or_an_error() {
    use Paging::{
        Created, Elsewhere, EmptyPages, Endless, Fails, Gone, Lexical, Loop, Repeats, Token, TokenAbsolute, Unreadable,
        Whole,
    };
    let complete = [Token, TokenAbsolute, Lexical, Created, Whole, EmptyPages];
    let errors = [Loop, Repeats, Endless, Elsewhere, Unreadable, Gone, Fails];
    for (paging, is_complete) in complete.map(|paging| (paging, true)).into_iter().chain(errors.map(|one| (one, false)))
    {
        let registry = plain(Router::new().fallback(async move |request: Request| {
            let query = request.uri().query().unwrap_or_default();
            let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            page(paging, request.uri().path(), &query)
        }));
        let lab = Lab::over_registry(registry.await).await;
        let (status, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), Some("good")).await;
        if !is_complete {
            assert_eq!((status, body.as_slice()), (502, &b"the registry failed\n"[..]), "{paging:?}");
            continue;
        }
        let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let mut tags: Vec<&str> = list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        let mut expected = all_tags();
        tags.sort_unstable();
        expected.sort();
        assert_eq!(tags, expected, "{paging:?}");
    }
}

/// What a registry sends in place of a layer.
#[derive(Clone, Copy, Debug)]
enum Sends {
    Layer,
    /// The connection breaks in the middle.
    Broken,
    /// The response is shorter than the manifest says, and looks complete.
    Short,
    /// More bytes than the manifest says.
    Long,
    /// Other bytes.
    Other,
    /// An error page with status 200.
    Page,
    Nothing,
}

#[tokio::test]
async fn a_wrong_layer_is_never_sent_completely_and_never_kept() {
    let layer = d8_layers::layer(&[d8_layers::TarEntry::file("plugin", "hello ".repeat(10_000))]);
    let digest = Digest::of(&layer);
    let descriptor =
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": layer.len()});
    let manifest = json!({"schemaVersion": 2, "layers": [descriptor]}).to_string();
    for sends in [Sends::Broken, Sends::Short, Sends::Long, Sends::Other, Sends::Page, Sends::Nothing, Sends::Layer] {
        let fetched = Arc::new(AtomicUsize::new(0));
        let (whole, manifest, counter) = (Bytes::from(layer.clone()), manifest.clone(), Arc::clone(&fetched));
        let registry = plain(Router::new().fallback(async move |request: Request| {
            let path = request.uri().path();
            if path.contains("/manifests/") {
                return manifest.clone().into_response();
            }
            if !path.contains("/blobs/") {
                return Json(json!({"tags": ["v1.0.0"]})).into_response();
            }
            // The second request gets the right bytes.
            if counter.fetch_add(1, Ordering::SeqCst) > 0 {
                return whole.clone().into_response();
            }
            let half = whole.slice(..whole.len() / 2);
            match sends {
                Sends::Layer => whole.clone().into_response(),
                Sends::Short => half.into_response(),
                Sends::Long => [&whole[..], b"more"].concat().into_response(),
                Sends::Other => vec![b'x'; whole.len()].into_response(),
                Sends::Page => "<html>".into_response(),
                Sends::Nothing => Body::empty().into_response(),
                Sends::Broken => {
                    let parts = [Ok(half), Err(std::io::Error::other("broken"))];
                    let length = whole.len().to_string();
                    ([("content-length", length)], Body::from_stream(futures::stream::iter(parts))).into_response()
                }
            }
        }));
        let lab = Lab::over_registry(registry.await).await;
        let cached = lab.directory.path().join("cache/layers").join(digest.as_str().trim_start_matches("sha256:"));
        let proxy = lab.proxy("good");
        let (tag, platform) = ("v1.0.0".parse().unwrap(), "linux-amd64".parse().unwrap());
        // Without an expected digest: only the proxy can find out.
        let fetch = async || {
            let download = proxy.download(&hello(), &tag, &platform, None).await.unwrap();
            let (mut sink, limits) = (Vec::new(), d8_rpp::layer::Limits::default());
            d8_rpp::layer::unpack(download.into_reader(), "plugin", &limits, &mut sink).await.map(|_| sink.len())
        };
        match (sends, fetch().await) {
            (Sends::Layer, unpacked) => assert_eq!(unpacked.unwrap(), 60_000),
            (_, unpacked) => {
                let error = unpacked.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{sends:?}: {error}");
                assert!(!cached.exists(), "{sends:?}");
            }
        }
        assert_eq!(fetch().await.unwrap(), 60_000, "{sends:?}");
        let expected = if matches!(sends, Sends::Layer) { 1 } else { 2 };
        assert_eq!(fetched.load(Ordering::SeqCst), expected, "{sends:?}");
        assert_eq!(std::fs::read(&cached).unwrap(), layer, "{sends:?}");
    }
}

#[tokio::test]
async fn an_odd_manifest_is_the_trouble_of_its_tag() {
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    let registry = plain(Router::new().fallback(async move |request: Request| {
        match request.uri().path() {
            path if path.ends_with("/manifests/v1.0.0") => large.clone().into_response(),
            path if path.ends_with("/manifests/v1.1.0") => Body::from_stream(futures::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]))
            }))
            .into_response(),
            path if path.contains("/manifests/") => {
                json!({"mediaType": "a\nb", "layers": []}).to_string().into_response()
            }
            _ => Json(json!({"tags": ["v1.0.0", "v1.1.0", "v1.2.0"]})).into_response(),
        }
    }));
    let lab = Lab::over_registry(registry.await).await;
    for (tag, status) in [("v1.0.0", 422), ("v1.1.0", 422), ("v1.2.0", 200)] {
        let path = format!("/v1/images/{HELLO}/manifests/{tag}");
        let (found, _, body) = lab.request("GET", &path, Some("good")).await;
        assert_eq!(found, status, "{tag}: {}", String::from_utf8_lossy(&body));
    }
}
