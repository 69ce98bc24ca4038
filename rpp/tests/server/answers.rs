//! What is served: images, routes and headers.

use super::*;

#[tokio::test]
async fn packed_images_are_downloaded_unchanged() {
    let lab = Lab::new().await;
    let proxy = lab.proxy("good");
    let mut tags = proxy.tags(&hello()).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["v1.0.0", "v1.1.0"]);
    assert_eq!(proxy.tags(&Component::D8).await.unwrap(), ["v0.1.0"]);

    let resolved = proxy.resolve(&hello(), &"v1.0.0".parse().unwrap()).await.unwrap();
    let contract = resolved.contract.unwrap();
    assert_eq!((contract.name.as_str(), contract.version.as_str()), ("hello", "v1.0.0"));
    assert_eq!(contract.requirements.kubernetes.unwrap().constraint, ">= 1.29");
    assert_eq!(resolved.created, "2026-11-22T10:00:00Z".parse().ok());
    assert_eq!(resolved.warnings, Vec::<String>::new());
    let platforms: Vec<_> = resolved.artifacts.iter().map(|a| a.platform.as_ref().unwrap().as_str()).collect();
    assert_eq!(platforms, ["darwin-arm64", "linux-amd64"]);
    let bare = proxy.resolve(&hello(), &"v1.1.0".parse().unwrap()).await.unwrap();
    assert_eq!(bare.contract, None);

    assert_eq!(download(&proxy, &hello(), "v1.0.0", "linux-amd64").await, "hello 1.0");
    assert_eq!(download(&proxy, &hello(), "v1.1.0", "darwin-arm64").await, "hello 1.1 for darwin");
    assert_eq!(download(&proxy, &Component::D8, "v0.1.0", "linux-amd64").await, "d8");
}

#[tokio::test]
async fn the_layout_is_read_again_when_it_changes() {
    let lab = Lab::new().await;
    let (proxy, directory) = (lab.proxy("good"), lab.directory.path());
    assert_eq!(proxy.tags(&hello()).await.unwrap().len(), 2);
    publish(directory, HELLO, "v1.2.0", "hello 1.2", None);
    assert_eq!(proxy.tags(&hello()).await.unwrap().len(), 3);
    assert_eq!(download(&proxy, &hello(), "v1.2.0", "linux-amd64").await, "hello 1.2");
    publish(directory, HELLO, "v1.2.0", "hello 1.2, moved", None);
    assert_eq!(download(&proxy, &hello(), "v1.2.0", "linux-amd64").await, "hello 1.2, moved");
    assert!(unpublish(&directory.join("layout"), &hello(), &"v1.2.0".parse().unwrap()).unwrap());
    assert_eq!(proxy.tags(&hello()).await.unwrap().len(), 2);
    let error = proxy.resolve(&hello(), &"v1.2.0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "plugin hello v1.2.0 is not published at the proxy (404 Not Found)");
}

#[tokio::test]
async fn routes_and_their_responses() {
    let lab = Lab::new().await;
    let other = publish(lab.directory.path(), "deckhouse-cli/plugins/other", "v1.0.0", "other", None);
    let own = lab.proxy("good").manifest(&hello(), "v1.0.0").await.unwrap().digest;
    let child = lab.proxy("good").resolve(&hello(), &"v1.0.0".parse().unwrap()).await.unwrap().artifacts[0].clone();
    let cases = [
        ("GET", "hello/tags".to_owned(), 200),
        ("GET", "missing/tags".to_owned(), 404),
        ("GET", "hello/tags/v1.0.0".to_owned(), 200),
        ("HEAD", "hello/tags/v1.0.0".to_owned(), 200),
        ("GET", "hello/tags/v9.9.9".to_owned(), 404),
        ("DELETE", "hello/tags/v1.0.0".to_owned(), 405),
        ("HEAD", "hello/manifests/v1.0.0".to_owned(), 405),
        ("HEAD", "hello/tags".to_owned(), 405),
        ("POST", "hello/tags".to_owned(), 405),
        ("GET", "hello/images/v1.0.0".to_owned(), 200),
        ("GET", "hello/images/v1.0.0?platform=darwin-arm64".to_owned(), 200),
        ("HEAD", "hello/images/v1.0.0?platform=darwin-arm64".to_owned(), 200),
        ("PUT", "hello/images/v1.0.0".to_owned(), 405),
        ("GET", "hello/images/v1.0.0?platform=windows-amd64".to_owned(), 404),
        ("GET", "hello/images/v1.0.0?platform=linux/amd64".to_owned(), 400),
        ("GET", "hello/images/v9.9.9?platform=linux-amd64".to_owned(), 404),
        ("GET", "hello/manifests/v1.0.0".to_owned(), 200),
        ("GET", "hello/manifests/v9.9.9".to_owned(), 404),
        ("GET", format!("hello/manifests/{own}"), 200),
        ("GET", format!("hello/manifests/{}", child.manifest), 200),
        // A blob that is not a manifest, and a manifest of another image.
        ("GET", format!("hello/manifests/{}", child.layer), 404),
        ("GET", format!("hello/manifests/{other}"), 404),
        ("GET", "hello/manifests/..%2F..".to_owned(), 404),
        ("GET", "hello/x/v1.0.0".to_owned(), 404),
        ("GET", "hello".to_owned(), 404),
        ("GET", "..%2Fhello/tags".to_owned(), 404),
    ];
    for (method, path, status) in cases {
        let (code, headers, body) =
            lab.request(method, &format!("/v1/images/deckhouse-cli/plugins/{path}"), Some("good")).await;
        assert_eq!(code, status, "{method} {path}");
        if status != 200 && method != "HEAD" {
            let line = String::from_utf8(body).unwrap();
            assert!(line.ends_with('\n') && line.lines().count() == 1, "{method} {path}: {line:?}");
            assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        }
        assert_eq!(headers.contains_key("allow"), status == 405, "{method} {path}");
    }
}

#[tokio::test]
async fn headers_of_a_layer() {
    let lab = Lab::new().await;
    let resolved = lab.proxy("good").resolve(&hello(), &"v1.0.0".parse().unwrap()).await.unwrap();
    let artifact = &resolved.artifacts[1];
    // With a platform, for the default platform, and on the route of generation 1, which serves the default, too.
    let paths = ["images/v1.0.0?platform=linux-amd64", "images/v1.0.0", "tags/v1.0.0"];
    for (method, path) in ["GET", "HEAD"].into_iter().flat_map(|method| paths.map(|path| (method, path))) {
        let (_, headers, body) = lab.request(method, &format!("/v1/images/{HELLO}/{path}"), Some("good")).await;
        assert_eq!(headers["content-type"], "application/x-gzip");
        assert_eq!(headers["content-length"], artifact.size.to_string());
        assert_eq!(headers["docker-content-digest"], artifact.manifest.as_str());
        assert_eq!(headers["etag"], format!("\"{}\"", artifact.manifest));
        assert_eq!(headers["content-disposition"], "attachment; filename=\"hello-v1.0.0.tar.gz\"");
        assert!(headers.contains_key("cache-control"));
        let expected = if method == "GET" { artifact.size } else { 0 };
        assert_eq!(body.len() as u64, expected);
    }
}

#[tokio::test]
async fn a_broken_image_and_a_broken_layout_are_told_apart() {
    let lab = Lab::new().await;
    let layout = lab.directory.path().join("layout");
    let resolved = lab.proxy("good").resolve(&hello(), &"v1.0.0".parse().unwrap()).await.unwrap();
    let blob = |digest: &str| layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    std::fs::write(blob(resolved.digest.as_str()), "changed").unwrap();
    std::fs::remove_file(blob(resolved.artifacts[1].layer.as_str())).unwrap();
    for path in ["manifests/v1.0.0", "images/v1.0.0?platform=linux-amd64"] {
        let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/{path}"), Some("good")).await;
        let line = String::from_utf8(body).unwrap();
        assert!(code == 422 && line.contains("has another digest"), "{path}: {code} {line}");
    }
    // Other images are still served. A broken index.json fails every request.
    assert_eq!(lab.request("GET", &format!("/v1/images/{HELLO}/manifests/v1.1.0"), Some("good")).await.0, 200);
    std::fs::write(layout.join("index.json"), "{").unwrap();
    let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), Some("good")).await;
    assert_eq!((code, body.as_slice()), (502, &b"the registry failed\n"[..]));
}
