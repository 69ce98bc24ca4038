//! The server over a layout that the packer wrote, with requests by the client and raw requests. A stand-in for the
//! Kubernetes API authorizes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "server/access.rs"]
mod access;
#[path = "server/answers.rs"]
mod answers;
#[path = "server/connections.rs"]
mod connections;
#[path = "server/hostile_registries.rs"]
mod hostile_registries;
#[path = "server/layouts.rs"]
mod layouts;
#[path = "server/life.rs"]
mod life;
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

/// Returns the options of a server with `tls.crt` and `tls.key` in a directory.
fn options(directory: &Path, source: server::ImageSource) -> ServeOptions {
    ServeOptions {
        source,
        generation: 3,
        metrics_listen: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        tls_cert: directory.join("tls.crt"),
        tls_key: directory.join("tls.key"),
        limits: ConnectionLimits::default(),
    }
}

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
        std::fs::write(directory.path().join("tls.crt"), cert).unwrap();
        std::fs::write(directory.path().join("tls.key"), key).unwrap();
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
        let metrics_listen = Some("127.0.0.1:0".parse().unwrap());
        let options = ServeOptions { metrics_listen, limits, ..options(directory.path(), source) };
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
