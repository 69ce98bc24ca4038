//! The server over a layout that the packer wrote, with requests by the client and raw requests. A stand-in for the
//! Kubernetes API authorizes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "server/connections.rs"]
mod connections;
#[path = "server/layouts.rs"]
mod layouts;
#[path = "server/registries.rs"]
mod registries;
mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use d8_crds::values::{name::Component, platform::Platform};
use d8_rpp::{
    ClientOptions, Endpoint, ErrorKind, Identity, Proxy,
    connections::ConnectionLimits,
    layer::{Limits, unpack},
    pack::{ImageFormat, PackRequest, Target, pack, unpublish},
    registry::RegistryOptions,
    server::{self, ServeOptions, Server},
};
use serde_json::json;
use support::{Authority, Reviews, cluster, fast_retries, kubeconfig};
use tempfile::TempDir;

struct Lab {
    directory: TempDir,
    authority: Authority,
    address: SocketAddr,
    metrics_address: SocketAddr,
    reviews: Reviews,
    shutdown: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn publish(directory: &Path, image: &str, tag: &str, content: &str, contract: Option<&str>) -> String {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let request = PackRequest {
        component: d8_rpp::protocol::image::component(image).unwrap(),
        tag: tag.parse().unwrap(),
        platforms: vec![
            ("linux-amd64".parse().unwrap(), file("linux", content)),
            ("darwin-arm64".parse().unwrap(), file("darwin", &format!("{content} for darwin"))),
        ],
        contract: contract.map(|text| file("contract.yaml", text)),
        created: "2026-11-22T10:00:00Z".parse().unwrap(),
        format: ImageFormat::Index,
        to: Target::Layout(directory.join("layout")),
    };
    pack(&request).unwrap().names[0].1.to_string()
}

const HELLO: &str = "deckhouse-cli/plugins/hello";
const CONTRACT: &str = "description: says hello\nrequirements: {kubernetes: {constraint: '>= 1.29'}}\n";

impl Lab {
    async fn new() -> Self {
        let reviews = Reviews::default();
        Self::with_cluster(cluster(Arc::clone(&reviews)).await, reviews)
    }

    /// As [`Self::new`], with these limits of connections.
    async fn with_limits(limits: ConnectionLimits) -> Self {
        let reviews = Reviews::default();
        Self::start(cluster(Arc::clone(&reviews)).await, reviews, limits, None)
    }

    /// As [`Self::new`], over a registry without TLS at this address, with a cache in directory `cache`.
    async fn over_registry(registry: SocketAddr) -> Self {
        let reviews = Reviews::default();
        let limits = ConnectionLimits::default();
        Self::start(cluster(Arc::clone(&reviews)).await, reviews, limits, Some(registry))
    }

    /// As [`Self::new`], with this cluster.
    fn with_cluster(cluster: SocketAddr, reviews: Reviews) -> Self {
        Self::start(cluster, reviews, ConnectionLimits::default(), None)
    }

    fn start(cluster: SocketAddr, reviews: Reviews, limits: ConnectionLimits, registry: Option<SocketAddr>) -> Self {
        support::provider();
        let directory = TempDir::new().unwrap();
        publish(directory.path(), HELLO, "v1.0.0", "hello 1.0", Some(CONTRACT));
        publish(directory.path(), HELLO, "v1.1.0", "hello 1.1", None);
        publish(directory.path(), "deckhouse-cli", "v0.1.0", "d8", None);
        let authority = Authority::new();
        let (cert, key) = authority.issue(|_| {}, &["127.0.0.1"]);
        let (tls_cert, tls_key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        std::fs::write(&tls_cert, cert).unwrap();
        std::fs::write(&tls_key, key).unwrap();
        let source = match registry {
            None => server::ImageSource::Layout(directory.path().join("layout")),
            Some(registry) => server::ImageSource::Registry {
                registry: RegistryOptions {
                    address: format!("http://{registry}/d8").parse().unwrap(),
                    credentials: None,
                    ca_file: None,
                },
                cache: directory.path().join("cache"),
                cache_bytes: 1 << 20,
            },
        };
        let options = server::ServeOptions {
            source,
            generation: 3,
            metrics_listen: Some("127.0.0.1:0".parse().unwrap()),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls_cert,
            tls_key,
            limits,
        };
        let server = Server::bind(&options, kube::Client::try_from(kubeconfig(cluster).config).unwrap()).unwrap();
        let (address, metrics_address) = (server.address(), server.metrics_address().unwrap());
        let (shutdown, requested) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            server.run(async { drop(requested.await) }).await.unwrap();
        });
        Self { directory, authority, address, metrics_address, reviews, shutdown: Some(shutdown), task }
    }

    fn proxy(&self, token: &str) -> Proxy {
        let options = ClientOptions {
            ca_file: Some(self.authority.file()),
            timeouts: fast_retries(),
            ..ClientOptions::default()
        };
        let endpoint = Endpoint::explicit(&format!("https://{}", self.address)).unwrap();
        Proxy::new(vec![endpoint], Identity::token(token).unwrap(), &options).unwrap()
    }

    /// Sends a raw request.
    async fn request(&self, method: &str, path: &str, token: Option<&str>) -> (u16, http::HeaderMap, Vec<u8>) {
        let certificate = reqwest::Certificate::from_pem(self.authority.pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
        let mut request = client.request(method.parse().unwrap(), format!("https://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), response.bytes().await.unwrap().to_vec())
    }
}

fn hello() -> Component {
    "hello".parse().unwrap()
}

async fn download(proxy: &Proxy, component: &Component, tag: &str, platform: &str) -> String {
    let (tag, platform) = (tag.parse().unwrap(), platform.parse::<Platform>().unwrap());
    let resolved = proxy.resolve(component, &tag).await.unwrap();
    let artifact = resolved.artifacts.iter().find(|a| a.platform.as_ref() == Some(&platform)).unwrap();
    let download = proxy.download(component, &tag, &platform, Some(&artifact.layer)).await.unwrap();
    assert_eq!(download.size, Some(artifact.size));
    assert_eq!(download.manifest.as_ref(), Some(&artifact.manifest));
    let mut sink = Vec::new();
    unpack(download.into_reader(), component.executable(), &Limits::default(), &mut sink).await.unwrap();
    String::from_utf8(sink).unwrap()
}

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
async fn only_authorized_users_may_download() {
    let lab = Lab::new().await;
    for (token, status, message) in [
        (None, 401, "Unauthorized\n"),
        (Some("wrong"), 401, "Unauthorized\n"),
        (Some("stranger"), 403, "Forbidden (user=stranger, verb=get, resource=deployments, subresource=cli-binary)\n"),
        (Some("good"), 200, ""),
    ] {
        let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), token).await;
        assert_eq!(code, status, "{token:?}");
        assert!(message.is_empty() || body == message.as_bytes(), "{token:?}: {body:?}");
        // Other users do not learn which images exist.
        let (code, ..) = lab.request("GET", "/v1/images/other/tags", token).await;
        assert_eq!(code, if status == 200 { 404 } else { status }, "{token:?}");
    }
    assert_eq!(lab.request("GET", "/healthz", None).await.0, 200);

    let reviews = lab.reviews.lock().unwrap();
    let access = reviews.iter().rfind(|review| review["kind"] == "SubjectAccessReview").unwrap();
    assert_eq!(
        access["spec"],
        json!({
            "user": "system:serviceaccount:x:good", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]},
            "resourceAttributes": {
                "namespace": "d8-cloud-instance-manager", "verb": "get", "group": "apps", "version": "v1",
                "resource": "deployments", "subresource": "cli-binary", "name": "registry-packages-proxy",
            },
        })
    );
}

#[tokio::test]
async fn reviews_are_cached() {
    let lab = Lab::new().await;
    let path = format!("/v1/images/{HELLO}/tags");
    let requests =
        (0..20).flat_map(|_| ["good", "stranger", "wrong"]).map(|token| lab.request("GET", &path, Some(token)));
    let answers = futures::future::join_all(requests).await;
    for (number, (code, ..)) in answers.iter().enumerate() {
        assert_eq!(*code, [200, 403, 401][number % 3]);
    }
    let reviews = lab.reviews.lock().unwrap();
    let of = |kind: &str| reviews.iter().filter(|review| review["kind"] == kind).count();
    assert_eq!(
        (of("TokenReview"), of("SubjectAccessReview")),
        (3, 2),
        "denials are cached, too, and concurrent requests share a review"
    );
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let lab = Lab::new().await;
    let get = |path: &'static str| {
        let url = format!("http://{}{path}", lab.metrics_address);
        async move {
            let response = reqwest::get(url).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    assert_eq!(lab.request("GET", &format!("/v1/images/{HELLO}/images/v1.0.0"), Some("good")).await.0, 200);
    assert_eq!(lab.request("GET", "/metrics", None).await.0, 401, "not on the public address");
    assert_eq!(lab.request("GET", "/readyz", None).await.0, 200);
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    let (code, text) = get("/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "d8_rpp_requests_total{route=\"layer\",code=\"200\"} 1",
        "d8_rpp_reviews_total{kind=\"token\",result=\"ok\"} 1",
        "d8_rpp_in_flight 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let sent = text.lines().find_map(|line| line.strip_prefix("d8_rpp_sent_bytes_total ")).unwrap();
    assert!(sent.parse::<u64>().unwrap() > 100, "{sent}");

    // Without its layout the server is not ready.
    std::fs::write(lab.directory.path().join("layout/index.json"), "{").unwrap();
    assert_eq!(get("/readyz").await.0, 503);
}

#[tokio::test]
async fn requests_fail_while_the_cluster_is_unreachable() {
    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lab = Lab::with_cluster(unreachable, Reviews::default());
    let (code, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/tags"), Some("good")).await;
    assert_eq!(code, 500);
    assert!(String::from_utf8(body).unwrap().starts_with("the cluster could not be asked"));
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

#[tokio::test]
async fn a_running_request_finishes_during_shutdown() {
    let mut lab = Lab::new().await;
    let proxy = lab.proxy("good");
    // Large enough that most of it is not yet sent when the shutdown begins.
    let mut large = vec![0_u8; 24 << 20];
    let mut state = 1_u64;
    for byte in &mut large {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let path = lab.directory.path().join("large");
    std::fs::write(&path, &large).unwrap();
    let request = PackRequest {
        component: hello(),
        tag: "v2.0.0".parse().unwrap(),
        platforms: vec![("linux-amd64".parse().unwrap(), path)],
        contract: None,
        created: jiff::Timestamp::UNIX_EPOCH,
        format: ImageFormat::Index,
        to: Target::Layout(lab.directory.path().join("layout")),
    };
    pack(&request).unwrap();
    let (tag, platform) = (request.tag.clone(), request.platforms[0].0.clone());
    let layer = proxy.resolve(&hello(), &tag).await.unwrap().artifacts[0].layer.clone();
    let download = proxy.download(&hello(), &tag, &platform, Some(&layer)).await.unwrap();
    lab.shutdown.take().unwrap().send(()).unwrap();
    // Load balancers see that the server is not ready any more.
    let ready =
        async || reqwest::get(format!("http://{}/readyz", lab.metrics_address)).await.unwrap().status().as_u16();
    while ready().await == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ready().await, 503);
    let mut sink = Vec::new();
    unpack(download.into_reader(), "plugin", &Limits::default(), &mut sink).await.unwrap();
    assert_eq!(sink, large);
    drop(proxy);
    // Then the server ends.
    std::pin::pin!(&mut lab.task).as_mut().await.unwrap();
}

#[tokio::test]
async fn invalid_options_prevent_the_start() {
    let lab = Lab::new().await;
    let directory = lab.directory.path();
    let layout = |name: &str| server::ImageSource::Layout(directory.join(name));
    let good = server::ServeOptions {
        source: layout("layout"),
        generation: 3,
        metrics_listen: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        tls_cert: directory.join("tls.crt"),
        tls_key: directory.join("tls.key"),
        limits: ConnectionLimits::default(),
    };
    let authority_pair = lab.authority.file();
    let cases = [
        (server::ServeOptions { source: layout("missing"), ..good.clone() }, "missing"),
        (server::ServeOptions { generation: 4, ..good.clone() }, "generation 4"),
        (server::ServeOptions { metrics_listen: Some(lab.address), ..good.clone() }, "cannot listen on 127.0.0.1"),
        (server::ServeOptions { tls_cert: directory.join("missing"), ..good.clone() }, "missing"),
        (server::ServeOptions { tls_cert: directory.join("tls.key"), ..good.clone() }, "tls.key"),
        (server::ServeOptions { tls_cert: authority_pair.clone(), ..good.clone() }, "the certificate of an authority"),
        (server::ServeOptions { tls_cert: authority_pair, ..good.clone() }, "basicConstraints=critical,CA:FALSE"),
        (server::ServeOptions { tls_key: directory.join("tls.crt"), ..good.clone() }, "tls.crt"),
        (server::ServeOptions { listen: lab.address, ..good.clone() }, "cannot listen on 127.0.0.1"),
    ];
    for (options, message) in cases {
        let client = kube::Client::try_from(kubeconfig(lab.address).config).unwrap();
        let error = Server::bind(&options, client).err().expect(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn the_binary_prints_its_address_and_ends_on_a_signal() {
    let reviews = Reviews::default();
    let cluster = cluster(Arc::clone(&reviews)).await;
    let lab = Lab::with_cluster(cluster, Arc::clone(&reviews));
    let _cluster = support::verified_cluster(&lab.authority, lab.directory.path(), reviews);
    for signal in ["TERM", "INT"] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_d8-rpp"))
            .args("serve --layout layout --listen 127.0.0.1:0 --tls-cert tls.crt --tls-key tls.key --kubeconfig kubeconfig".split(' '))
            .current_dir(lab.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = Endpoint::explicit(&format!("https://{}", line.trim_end())).unwrap();
        let options =
            ClientOptions { ca_file: Some(lab.authority.file()), timeouts: fast_retries(), ..ClientOptions::default() };
        let proxy = Proxy::new(vec![endpoint], Identity::token("good").unwrap(), &options).unwrap();
        assert_eq!(proxy.tags(&hello()).await.unwrap().len(), 2);
        assert!(Command::new("kill").args(["-s", signal, &server.id().to_string()]).status().unwrap().success());
        let mut log = String::new();
        server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{log}");
        assert!(log.contains("path=\"/v1/images/deckhouse-cli/plugins/hello/tags\" status=200"), "{log}");
        assert!(log.contains("system:serviceaccount:x:good"), "{log}");
        assert!(!log.contains("Bearer") && !log.contains("\"good\""), "{log}");
    }
}
