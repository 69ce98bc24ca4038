//! Faulty downloads, and the client's errors: one fault per case.
// Tables of cases are long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::too_many_lines)]

mod support;

use axum::{body::Body, response::Response};
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use d8_layers::TarEntry;
use d8_rpp::{
    ErrorKind,
    layer::{Limits, unpack},
};
use futures::StreamExt as _;
use support::{Rest, ScriptedProxy, answer, fast_retries, short_timeouts, then};

fn hello() -> Component {
    "hello".parse().unwrap()
}

fn tag() -> Tag {
    "v1.0.0".parse().unwrap()
}

fn linux() -> Platform {
    "linux-amd64".parse().unwrap()
}

fn with_header(mut response: Response, name: &'static str, value: &'static str) -> Response {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// Returns a layer with one file.
fn layer() -> &'static [u8] {
    static LAYER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    LAYER.get_or_init(|| d8_layers::layer(&[TarEntry::file("plugin", "#!/bin/sh\n")]))
}

fn changed() -> Vec<u8> {
    let mut bytes = layer().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes
}

#[tokio::test]
async fn responses_to_a_download() {
    let length = |body: Body, length: usize| {
        let mut response = answer(200, body);
        response.headers_mut().insert("content-length", length.into());
        response
    };
    let cases: Vec<(&str, fn() -> Body, Option<usize>, bool, Option<ErrorKind>, &str)> = vec![
        ("well", || layer().into(), Some(layer().len()), true, None, ""),
        ("without a length", || then(layer(), Rest::Ends), None, true, None, ""),
        ("without a digest", || layer().into(), Some(layer().len()), false, None, ""),
        ("without either", || then(layer(), Rest::Ends), None, false, Some(ErrorKind::Malformed), "no length"),
        (
            "cut short",
            || then(&layer()[..40], Rest::Ends),
            Some(layer().len()),
            true,
            Some(ErrorKind::Truncated),
            "got 40 bytes",
        ),
        (
            "breaks",
            || then(&layer()[..40], Rest::Breaks),
            Some(layer().len()),
            true,
            Some(ErrorKind::Truncated),
            "got ",
        ),
        (
            "breaks without a length",
            || then(&layer()[..40], Rest::Breaks),
            None,
            true,
            Some(ErrorKind::Unreachable),
            "",
        ),
        (
            "stalls",
            || then(&layer()[..40], Rest::Stalls),
            Some(layer().len()),
            true,
            Some(ErrorKind::Timeout),
            "no more data",
        ),
        (
            "cut short without a length",
            || then(&layer()[..40], Rest::Ends),
            None,
            true,
            Some(ErrorKind::DigestMismatch),
            "expected sha256",
        ),
        (
            "other bytes",
            || changed().into(),
            Some(layer().len()),
            true,
            Some(ErrorKind::DigestMismatch),
            "expected sha256",
        ),
        ("other bytes, no digest", || changed().into(), Some(layer().len()), false, Some(ErrorKind::Archive), ""),
        (
            "another archive",
            || b"<html>".to_vec().into(),
            Some(6),
            true,
            Some(ErrorKind::DigestMismatch),
            "expected sha256",
        ),
        (
            "garbage behind it",
            || [layer(), b"x"].concat().into(),
            Some(layer().len() + 1),
            true,
            Some(ErrorKind::DigestMismatch),
            "",
        ),
        ("too large", || then(b"x", Rest::Stalls), Some((1 << 30) + 1), true, Some(ErrorKind::TooLarge), "1073741824"),
    ];
    for alpn in [&b"h2"[..], b"http/1.1"] {
        for (what, body, announced, expect, kind, message) in &cases {
            let (body, announced) = (*body, *announced);
            let scripted = ScriptedProxy::with_alpn(&[alpn], move |_, _| match announced {
                Some(announced) => length(body(), announced),
                None => answer(200, body()),
            });
            let expected = expect.then(|| Digest::of(layer()));
            let mut sink = Vec::new();
            let result = async {
                let timeouts = if *what == "stalls" { short_timeouts() } else { fast_retries() };
                let download =
                    scripted.client(timeouts).download(&hello(), &tag(), &linux(), expected.as_ref()).await?;
                assert_eq!(download.size, announced.map(|length| length as u64), "{what}");
                unpack(download.into_reader(), "plugin", &Limits::default(), &mut sink).await
            };
            match (result.await, kind) {
                (Ok(executable), None) => assert_eq!(executable.size, 10, "{what}"),
                (Err(error), Some(kind)) => {
                    assert_eq!(error.kind(), *kind, "{what}: {error}");
                    assert!(error.to_string().contains(message), "{what}: {error}");
                }
                (other, _) => panic!("{what}: {other:?}"),
            }
            assert_eq!(scripted.count(), 1, "{what}: a body is not requested again");
        }
    }
}

#[tokio::test]
async fn a_layer_longer_than_announced() {
    // Servers and clients of both protocols refuse such a body, too.
    let scripted = ScriptedProxy::with_alpn(&[b"h2"], |_, _| {
        let mut response = answer(200, then(layer(), Rest::Ends));
        response.headers_mut().insert("content-length", 40.into());
        response
    });
    let digest = Digest::of(layer());
    let download = scripted.client(fast_retries()).download(&hello(), &tag(), &linux(), Some(&digest)).await.unwrap();
    let chunks: Vec<_> = download.into_body().collect().await;
    assert!(chunks.last().unwrap().is_err(), "{chunks:?}");
}

#[tokio::test]
async fn headers_of_a_download() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let quoted = "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"";
    let cases: Vec<(Vec<(&'static str, &'static str)>, Result<Option<&str>, ErrorKind>)> = vec![
        (vec![("docker-content-digest", digest)], Ok(Some(digest))),
        (vec![("etag", quoted)], Ok(Some(digest))),
        (vec![("etag", "W/\"x\"")], Ok(None)),
        (vec![], Ok(None)),
        (vec![("docker-content-digest", "md5:x")], Err(ErrorKind::Malformed)),
    ];
    for (headers, expected) in cases {
        let sent = headers.clone();
        let scripted = ScriptedProxy::new(move |_, _| {
            sent.iter().fold(answer(200, layer()), |response, &(name, value)| with_header(response, name, value))
        });
        let result = scripted.client(fast_retries()).download(&hello(), &tag(), &linux(), None).await;
        let manifest = result.map(|download| download.manifest.map(String::from)).map_err(|error| error.kind());
        assert_eq!(manifest, expected.map(|found| found.map(str::to_owned)), "{headers:?}");
    }
}
