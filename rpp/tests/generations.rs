//! The client with proxies of all three generations.
// Tables of cases are long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::too_many_lines)]

mod support;

use std::sync::{Arc, Mutex};

use axum::response::Response;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use d8_layers::TarEntry;
use d8_rpp::{ErrorKind, LayerLocation, Proxy, SpooledLayer, layer};
use futures::TryStreamExt as _;
use serde_json::json;
use support::{Rest, ScriptedProxy, answer, fast_retries, then};

const ROOT: &str = "/base/v1/images/deckhouse-cli/plugins/hello";
const CONTRACT: &str = "name: hello\nversion: v1.0.0\nrequirements: {kubernetes: {constraint: '>= 1.29'}}\n";

fn hello() -> Component {
    "hello".parse().unwrap()
}

fn linux() -> Platform {
    "linux-amd64".parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// An entry of an archive: its path, and its content or the target of a link.
type Entry<'a> = (&'a str, Result<&'a [u8], &'a str>);

fn gzip_tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let entry = |(path, content): &Entry<'_>| match content {
        Ok(data) => TarEntry::file(path, *data),
        Err(target) => TarEntry::link(path, target),
    };
    d8_layers::layer(&entries.iter().map(entry).collect::<Vec<_>>())
}

fn plugin_layer() -> Vec<u8> {
    gzip_tar(&[("plugin", Ok(b"#!/bin/sh\n")), ("contract.yaml", Ok(CONTRACT.as_bytes()))])
}

/// The requested paths, without their common prefix.
type Requests = Arc<Mutex<Vec<String>>>;

/// Starts a proxy of a generation that publishes these tags of `hello`, all with the same layer.
fn proxy_of(generation: u8, tags: &'static [&'static str], layer: Vec<u8>) -> (ScriptedProxy, Requests) {
    let requests = Requests::default();
    let log = Arc::clone(&requests);
    let scripted = ScriptedProxy::new(move |_, request| {
        let uri = request.uri().to_string();
        let path = uri.strip_prefix(ROOT).expect("a path below the base path").to_owned();
        log.lock().unwrap().push(format!("{} {path}", request.method()).replace("GET ", ""));
        serve(generation, tags, &layer, &path)
    });
    (scripted, requests)
}

fn serve(generation: u8, tags: &[&str], layer: &[u8], path: &str) -> Response {
    let not_found = || answer(404, "not found\n");
    let published = |tag: &str| tags.contains(&tag);
    let manifest = json!({
        "layers": [{"digest": Digest::of(layer).to_string(), "size": layer.len()}],
        "annotations": {"contract": "e30="},
    })
    .to_string();
    let pulled = || {
        let mut response = answer(200, layer.to_vec());
        let headers = response.headers_mut();
        headers.insert("content-length", layer.len().into());
        headers.insert("docker-content-digest", Digest::of(manifest.as_bytes()).to_string().parse().unwrap());
        response
    };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["tags"] => answer(200, json!({"name": "x", "tags": tags}).to_string()),
        ["manifests", tag] if generation == 3 && published(tag) => answer(200, manifest),
        ["images", image] if generation >= 2 => match image.split_once("?platform=") {
            Some((tag, "linux-amd64")) if published(tag) => pulled(),
            _ => not_found(),
        },
        ["tags", tag] if generation == 1 && published(tag) => pulled(),
        _ => not_found(),
    }
}

async fn content(spooled: &SpooledLayer) -> Vec<u8> {
    spooled.bytes().try_fold(Vec::new(), async |all, chunk| Ok([all, chunk.to_vec()].concat())).await.unwrap()
}

#[tokio::test]
async fn requests_for_each_generation() {
    let by_platform = "/images/v1.0.0?platform=linux-amd64";
    let own = "/images/v1.0.0-linux-amd64?platform=linux-amd64";
    let cases: Vec<(&str, u8, &[&str], &str, Vec<&str>, Vec<&str>)> = vec![
        // Name, generation, listed tags, wanted tag, the requests for the image, and those for a second image.
        ("3", 3, &["v1.0.0"], "v1.0.0", vec!["/manifests/v1.0.0"], vec!["/manifests/v1.0.0"]),
        ("2", 2, &["v1.0.0"], "v1.0.0", vec!["/manifests/v1.0.0", "/tags", by_platform], vec![by_platform]),
        (
            "1, a tag for each platform",
            1,
            &["v1.0.0-linux-amd64", "v1.0.0-darwin-arm64"],
            "v1.0.0-linux-amd64",
            vec!["/manifests/v1.0.0-linux-amd64", "/tags", own, "/tags/v1.0.0-linux-amd64"],
            vec!["/tags/v1.0.0-linux-amd64"],
        ),
        (
            "1, one tag for all",
            1,
            &["v1.0.0"],
            "v1.0.0",
            vec!["/manifests/v1.0.0", "/tags", by_platform, "/tags/v1.0.0"],
            vec!["/tags/v1.0.0"],
        ),
        (
            "1, both",
            1,
            &["v1.0.0", "v1.0.0-linux-amd64"],
            "v1.0.0",
            vec!["/manifests/v1.0.0", "/tags", by_platform, "/tags/v1.0.0-linux-amd64"],
            vec!["/tags/v1.0.0-linux-amd64"],
        ),
        (
            "3, a tag for each platform and an annotation",
            3,
            &["v1.0.0-linux-amd64"],
            "v1.0.0-linux-amd64",
            vec!["/manifests/v1.0.0-linux-amd64"],
            vec!["/manifests/v1.0.0-linux-amd64"],
        ),
    ];
    let layer = plugin_layer();
    for (what, generation, tags, wanted, first, then) in cases {
        let (scripted, requests) = proxy_of(generation, tags, layer.clone());
        let proxy = scripted.client(fast_retries());
        for expected in [first, then] {
            let image = proxy.platform_image(&hello(), &tag(wanted), &linux(), &[]).await.unwrap();
            assert_eq!(std::mem::take(&mut *requests.lock().unwrap()), expected, "{what}");
            assert_eq!(image.warnings, Vec::<String>::new(), "{what}");
            let contract = image.contract.unwrap();
            assert_eq!((contract.name.as_str(), contract.version.as_str()), ("hello", "v1.0.0"), "{what}");
            match image.layer {
                LayerLocation::Registry(artifact) if generation == 3 => {
                    assert_eq!(artifact.layer, Digest::of(&layer), "{what}");
                }
                LayerLocation::Spooled(spooled, None) if generation < 3 => {
                    assert!(contract.requirements.kubernetes.is_some(), "{what}");
                    assert_eq!(spooled.layer, Digest::of(&layer), "{what}");
                    assert!(spooled.manifest.is_some(), "{what}");
                    for _ in 0..2 {
                        assert_eq!(content(&spooled).await, layer, "{what}: can be read repeatedly");
                    }
                    assert!(requests.lock().unwrap().is_empty(), "{what}: is not downloaded twice");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_image_of_generation_1_at_a_newer_proxy() {
    let layer: &'static [u8] = plugin_layer().leak();
    // The digest in the manifest, and whether the bytes have it.
    for (named, right) in [(Digest::of(layer), true), (Digest::of(b"other"), false)] {
        let manifest = json!({"layers": [{"digest": named.to_string(), "size": layer.len()}]}).to_string();
        let scripted = ScriptedProxy::new(move |_, request| {
            let path = request.uri().to_string().strip_prefix(ROOT).unwrap().to_owned();
            match path.as_str() {
                "/manifests/v1.0.0-linux-amd64" | "/manifests/v1.0.0" => answer(200, manifest.clone()),
                _ => serve(3, &["v1.0.0-linux-amd64"], layer, &path),
            }
        });
        let proxy = scripted.client(fast_retries());
        let result = proxy.platform_image(&hello(), &tag("v1.0.0-linux-amd64"), &linux(), &[]).await;
        match (result, right) {
            (Ok(image), true) => {
                assert!(image.contract.unwrap().requirements.kubernetes.is_some());
                let LayerLocation::Spooled(spooled, Some(artifact)) = image.layer else { panic!("{:?}", image.layer) };
                assert_eq!(spooled.layer, artifact.layer);
            }
            (Err(error), false) => assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}"),
            (other, _) => panic!("{other:?}"),
        }
        // An image for all platforms has its contract in an annotation, or none.
        let image = proxy.platform_image(&hello(), &tag("v1.0.0"), &linux(), &[]).await.unwrap();
        assert!(image.contract.is_none() && matches!(image.layer, LayerLocation::Registry(_)), "{image:?}");
    }
}

#[tokio::test]
async fn a_download_with_a_known_digest_finds_its_route() {
    let layer = plugin_layer();
    let digest = Digest::of(&layer);
    for (generation, tags, wanted) in
        [(3, &["v1.0.0"][..], "v1.0.0"), (2, &["v1.0.0"], "v1.0.0"), (1, &["v1.0.0-linux-amd64"], "v1.0.0-linux-amd64")]
    {
        let (scripted, requests) = proxy_of(generation, tags, layer.clone());
        let download =
            scripted.client(fast_retries()).download(&hello(), &tag(wanted), &linux(), Some(&digest)).await.unwrap();
        let mut sink = Vec::new();
        layer::unpack(download.into_reader(), "plugin", &layer::Limits::default(), &mut sink).await.unwrap();
        assert_eq!(sink, b"#!/bin/sh\n");
        let layers = requests.lock().unwrap().iter().filter(|path| !path.ends_with("/tags")).count();
        assert_eq!(layers, if generation == 1 { 2 } else { 1 }, "{generation}");
    }
}

/// Records name a version without a platform.
#[tokio::test]
async fn a_version_that_is_listed_with_platforms_is_found_without_one() {
    let layer = plugin_layer();
    for generation in [1, 2, 3] {
        let (scripted, _) = proxy_of(generation, &["v1.0.0-linux-amd64"], layer.clone());
        let proxy = scripted.client(fast_retries());
        let download = proxy.download(&hello(), &tag("v1.0.0"), &linux(), Some(&Digest::of(&layer))).await;
        assert!(download.is_ok(), "{generation}: {download:?}");
        let image =
            scripted.client(fast_retries()).platform_image(&hello(), &tag("v1.0.0"), &linux(), &[]).await.unwrap();
        assert!(image.contract.is_some() || generation == 3, "{generation}");
        let arm = "linux-arm64".parse().unwrap();
        let error = proxy.download(&hello(), &tag("v1.0.0"), &arm, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{generation}: {error}");
    }
}

#[tokio::test]
async fn a_layer_is_inspected_and_not_kept() {
    let layer = plugin_layer();
    for generation in [1, 2] {
        let (scripted, _) = proxy_of(generation, &["v1.0.0"], layer.clone());
        let proxy = scripted.client(fast_retries());
        let named = proxy.layer_digest(&hello(), &tag("v1.0.0"), &linux()).await.unwrap();
        let read = proxy.inspect(&hello(), &tag("v1.0.0"), &linux(), None).await.unwrap();
        assert_eq!((read.layer, read.size), (Digest::of(&layer), layer.len() as u64));
        assert!(read.manifest.is_some() && read.manifest == named);
        assert!(read.contract.unwrap().requirements.kubernetes.is_some());
        let wrong = Digest::of(b"other");
        let error = proxy.inspect(&hello(), &tag("v1.0.0"), &linux(), Some(&wrong)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
    }
}

#[tokio::test]
async fn digests_that_change_with_the_content_of_a_tag() {
    for (generation, last) in
        [(3, "/manifests/v1.0.0"), (2, "HEAD /images/v1.0.0?platform=linux-amd64"), (1, "HEAD /tags/v1.0.0")]
    {
        let (scripted, requests) = proxy_of(generation, &["v1.0.0"], plugin_layer());
        let digest = scripted.client(fast_retries()).digest(&hello(), &tag("v1.0.0"), &linux()).await.unwrap();
        assert!(digest.is_some(), "{generation}");
        assert_eq!(requests.lock().unwrap().last().unwrap(), last);
    }
}

#[tokio::test]
async fn the_layer_of_d8_is_not_downloaded_for_a_contract() {
    for generation in [1, 2] {
        let scripted = ScriptedProxy::new(move |_, request| {
            let path = request.uri().path().strip_prefix("/base/v1/images/deckhouse-cli").unwrap().to_owned();
            serve(generation, &["v1.0.0-linux-amd64", "v1.0.0"], &plugin_layer(), &path)
        });
        let proxy = scripted.client(fast_retries());
        let image = proxy.platform_image(&Component::D8, &tag("v1.0.0"), &linux(), &[]).await.unwrap();
        assert!(matches!(image.layer, LayerLocation::RegistryUnverified) && image.contract.is_none(), "{image:?}");
        assert_eq!(scripted.count(), 2);
    }
}

#[tokio::test]
async fn only_not_found_of_a_listed_tag_leads_to_an_older_route() {
    // The route with another response, the listed tags, the status, the kind of error, and the requests.
    let manifests = "/manifests/v1.0.0";
    let images = "/images/v1.0.0?platform=linux-amd64";
    let cases: Vec<(&str, &[&str], u16, ErrorKind, Vec<&str>)> = vec![
        (manifests, &["v1.0.0"], 401, ErrorKind::Unauthorized, vec![manifests]),
        (manifests, &["v1.0.0"], 403, ErrorKind::Forbidden, vec![manifests]),
        (manifests, &["v1.0.0"], 502, ErrorKind::Unavailable, vec![manifests; 3]),
        (manifests, &["v1.0.0"], 400, ErrorKind::UnexpectedStatus, vec![manifests]),
        (manifests, &["v1.0.0"], 405, ErrorKind::UnexpectedStatus, vec![manifests]),
        (images, &["v1.0.0"], 401, ErrorKind::Unauthorized, vec![manifests, "/tags", images]),
        (images, &["v1.0.0"], 403, ErrorKind::Forbidden, vec![manifests, "/tags", images]),
        (images, &["v1.0.0"], 500, ErrorKind::Unavailable, vec![manifests, "/tags", images, images, images]),
        ("/tags/v1.0.0", &["v1.0.0"], 403, ErrorKind::Forbidden, vec![manifests, "/tags", images, "/tags/v1.0.0"]),
        ("/tags", &["v1.0.0"], 403, ErrorKind::Forbidden, vec![manifests, "/tags"]),
        (manifests, &["v1.0.0"], 307, ErrorKind::Redirect, vec![manifests]),
        (images, &["v1.0.0"], 307, ErrorKind::Redirect, vec![manifests, "/tags", images]),
        ("/tags/v1.0.0", &["v1.0.0"], 302, ErrorKind::Redirect, vec![manifests, "/tags", images, "/tags/v1.0.0"]),
        // Not published.
        ("none", &["v2.0.0"], 0, ErrorKind::NotFound, vec![manifests, "/tags"]),
        ("none", &["v1.0.0-darwin-arm64"], 0, ErrorKind::NotFound, vec![manifests, "/tags"]),
        // Unpublished after it was listed.
        ("/tags/v1.0.0", &["v1.0.0"], 404, ErrorKind::NotFound, vec![manifests, "/tags", images, "/tags/v1.0.0"]),
    ];
    for (route, tags, status, kind, expected) in cases {
        let requests = Requests::default();
        let log = Arc::clone(&requests);
        let scripted = ScriptedProxy::new(move |_, request| {
            let path = request.uri().to_string().strip_prefix(ROOT).unwrap().to_owned();
            log.lock().unwrap().push(path.clone());
            if path != route {
                return serve(1, tags, &plugin_layer(), &path);
            }
            let mut refused = answer(status, "message");
            if (300..400).contains(&status) {
                refused.headers_mut().insert("location", "https://elsewhere.example/".parse().unwrap());
            }
            refused
        });
        let error =
            scripted.client(fast_retries()).platform_image(&hello(), &tag("v1.0.0"), &linux(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{route} {status}: {error}");
        assert_eq!(*requests.lock().unwrap(), expected, "{route} {status}");
    }
}

#[tokio::test]
async fn the_tag_of_another_platform_is_not_requested() {
    let (scripted, requests) = proxy_of(1, &["v1.0.0-darwin-arm64"], plugin_layer());
    let proxy = scripted.client(fast_retries());
    for wanted in ["v1.0.0", "v1.0.0-darwin-arm64"] {
        let error = proxy.download(&hello(), &tag(wanted), &linux(), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let requests = requests.lock().unwrap();
    assert!(!requests.iter().any(|path| path.starts_with("/tags/")), "{requests:?}");
}

#[tokio::test]
async fn contracts_in_layers() {
    let plugin: Entry<'_> = ("plugin", Ok(b"x"));
    let contract: Entry<'_> = ("contract.yaml", Ok(CONTRACT.as_bytes()));
    let other: &[u8] = b"name: other\n";
    let large = vec![b'#'; (1 << 20) + 1];
    let many: Vec<String> = (0..17).map(|number| format!("{number}/contract.yaml")).collect();
    let many: Vec<Entry<'_>> =
        many.iter().map(|path| (path.as_str(), Ok(other))).chain([("0/1/plugin", Ok(&b"x"[..]))]).collect();
    // Name, entries, and whether there is a contract, or the kind and a part of the error.
    let cases: Vec<(&str, Vec<Entry<'_>>, Result<bool, (ErrorKind, &str)>)> = vec![
        ("before", vec![contract, plugin], Ok(true)),
        ("after", vec![plugin, contract], Ok(true)),
        ("dotted", vec![("./plugin", Ok(b"x")), ("./contract.yaml", Ok(CONTRACT.as_bytes()))], Ok(true)),
        ("absolute", vec![("/plugin", Ok(b"x")), ("/contract.yaml", Ok(CONTRACT.as_bytes()))], Ok(true)),
        ("none", vec![plugin], Ok(false)),
        ("an example deeper down", vec![("a/contract.yaml", Ok(other)), plugin], Ok(false)),
        ("a decoy deeper down", vec![("a/contract.yaml", Ok(other)), plugin, contract], Ok(true)),
        ("a decoy above", vec![("../contract.yaml", Ok(other)), plugin, contract], Ok(true)),
        ("beside both", vec![("a/plugin", Ok(b"y")), ("a/contract.yaml", Ok(other)), plugin, contract], Ok(true)),
        (
            "in the directory of the executable",
            vec![("a/contract.yaml", Ok(CONTRACT.as_bytes())), ("a/plugin", Ok(b"x"))],
            Ok(true),
        ),
        ("above the executable", vec![contract, ("a/plugin", Ok(b"x"))], Ok(true)),
        ("the last of two counts", vec![("contract.yaml", Ok(other)), contract, plugin], Ok(true)),
        ("of another", vec![plugin, ("contract.yaml", Ok(other))], Err((ErrorKind::Contract, "belongs to `other`"))),
        (
            "a flat list",
            vec![plugin, ("contract.yaml", Ok(b"requirements: {modules: []}\n"))],
            Err((ErrorKind::Contract, "requirements.modules")),
        ),
        ("no YAML", vec![plugin, ("contract.yaml", Ok(b"a: [\n"))], Err((ErrorKind::Contract, "contract"))),
        ("no text", vec![plugin, ("contract.yaml", Ok(b"\xff"))], Err((ErrorKind::Contract, "UTF-8"))),
        ("a link", vec![plugin, ("contract.yaml", Err("/etc/passwd"))], Err((ErrorKind::Archive, "a symbolic link"))),
        ("too large", vec![plugin, ("contract.yaml", Ok(&large))], Err((ErrorKind::Archive, "1048576 bytes"))),
        ("too many", many, Err((ErrorKind::Archive, "more than 16"))),
        ("no executable", vec![contract], Err((ErrorKind::Archive, "`plugin` is missing"))),
    ];
    for (what, entries, expected) in cases {
        let (scripted, _) = proxy_of(2, &["v1.0.0"], gzip_tar(&entries));
        let result = scripted.client(fast_retries()).platform_image(&hello(), &tag("v1.0.0"), &linux(), &[]).await;
        match (result, expected) {
            (Ok(image), Ok(has)) => {
                let has_requirements = image.contract.map(|contract| contract.requirements.kubernetes.is_some());
                assert_eq!(has_requirements, has.then_some(true), "{what}");
            }
            (Err(error), Err((kind, message))) => {
                assert_eq!(error.kind(), kind, "{what}: {error}");
                assert!(error.to_string().contains(message), "{what}: {error}");
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broken_download_is_retried() {
    let layer: &'static [u8] = plugin_layer().leak();
    let respond = move |breaks: usize| {
        let count = Arc::new(Mutex::new(0));
        move |_: usize, request: axum::extract::Request| {
            let path = request.uri().to_string().strip_prefix(ROOT).unwrap().to_owned();
            let mut response = serve(2, &["v1.0.0"], layer, &path);
            let mut count = count.lock().unwrap();
            if path.starts_with("/images") {
                *count += 1;
                if *count <= breaks {
                    *response.body_mut() = then(&layer[..20], Rest::Breaks);
                }
            }
            response
        }
    };
    for (breaks, count, succeeds) in [(2, 5, true), (3, 5, false)] {
        let scripted = ScriptedProxy::new(respond(breaks));
        let result = scripted.client(fast_retries()).platform_image(&hello(), &tag("v1.0.0"), &linux(), &[]).await;
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
        assert_eq!(scripted.count(), count);
    }
}

#[tokio::test]
async fn directory_of_a_spooled_layer() {
    let (scripted, _) = proxy_of(2, &["v1.0.0"], plugin_layer());
    let proxy: Proxy = scripted.client(fast_retries());
    let directory = tempfile::TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    for spool in [vec![directory.path().to_owned()], vec![missing.clone(), directory.path().to_owned()], vec![missing]]
    {
        let image = proxy.platform_image(&hello(), &tag("v1.0.0"), &linux(), &spool).await.unwrap();
        assert!(matches!(image.layer, LayerLocation::Spooled(..)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the file is unnamed");
    }
}
