//! What the tests share: an authority, a TLS server that answers as it is told, archives byte by byte.

// Each test file uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, body::Body, extract::Request, response::Response, routing::post};
use axum_server::tls_rustls::RustlsConfig;
use d8_rpp::{ClientOptions, Endpoint, Identity, Proxy, Timeouts};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the token of every test looks like; it may stand in no output.
pub const TOKEN: &str = "s3cret-token";

/// The provider that binaries install in `main`.
pub fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = ring::default_provider().install_default();
    });
}

/// An authority that vouches for servers.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    /// Holds `ca.crt`.
    pub folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.crt"), &pem).unwrap();
        Self { issuer: Issuer::new(params, key), pem, folder }
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Certificate and key, PEM.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams), names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A TLS server that ends with its owner.
pub struct Tls {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
    handle: axum_server::Handle<SocketAddr>,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tls {
    /// Connections that stand.
    pub fn connections(&self) -> usize {
        self.handle.connection_count()
    }

    pub fn serve((cert, key): &(String, String), alpn: &[&[u8]], router: Router) -> Self {
        let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(config))).unwrap();
        let handle = axum_server::Handle::new();
        let server = server.handle(handle.clone());
        let task = tokio::spawn(async move {
            let _ = server.serve(router.into_make_service()).await;
        });
        Self { address, task, handle }
    }
}

/// A proxy that answers every request as the test says, and counts them.
pub struct Fault {
    pub server: Tls,
    pub requests: Arc<AtomicUsize>,
    pub authority: Authority,
}

impl Fault {
    /// `answer` gets the number of the request, from 0.
    pub fn new(answer: impl Fn(usize, Request) -> Response + Clone + Send + Sync + 'static) -> Self {
        Self::with_alpn(&[b"h2", b"http/1.1"], answer)
    }

    pub fn with_alpn(
        alpn: &[&[u8]],
        answer: impl Fn(usize, Request) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let router = Router::new().fallback(move |request: Request| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let response = answer(number, request);
            async move { response }
        });
        let server = Tls::serve(&authority.issue(|_| {}, &["127.0.0.1"]), alpn, router);
        Self { server, requests, authority }
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A client of it with this timeouts.
    pub fn proxy(&self, timeouts: Timeouts) -> Proxy {
        let options = ClientOptions { ca_file: Some(self.authority.file()), timeouts, ..ClientOptions::default() };
        let endpoint = Endpoint::explicit(&format!("https://{}/base/", self.server.address)).unwrap();
        Proxy::new(vec![endpoint], Identity::token(TOKEN).unwrap(), &options).unwrap()
    }
}

/// Waits long for what comes, and not long between tries.
pub fn patient() -> Timeouts {
    Timeouts { backoff: Duration::from_millis(1), ..Timeouts::default() }
}

/// For what never comes.
pub fn impatient() -> Timeouts {
    Timeouts { headers: Duration::from_millis(300), idle: Duration::from_millis(300), ..patient() }
}

pub fn answer(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// A body that sends these bytes and then goes on as `rest` does.
pub fn then(bytes: &'static [u8], rest: Rest) -> Body {
    use futures::{StreamExt as _, stream};
    let first = stream::iter([Ok(bytes::Bytes::from_static(bytes))]);
    let second = async move {
        // Once pending, so that what precedes it is on its way.
        tokio::task::yield_now().await;
        match rest {
            Rest::Breaks => stream::iter([Err(std::io::Error::other("broken"))]).boxed(),
            Rest::Stalls => stream::pending().boxed(),
            Rest::Ends => stream::empty().boxed(),
        }
    };
    Body::from_stream(first.chain(stream::once(second).flatten()))
}

/// How a body goes on.
#[derive(Clone, Copy)]
pub enum Rest {
    Breaks,
    Stalls,
    Ends,
}

/// A kubeconfig for an API server at this address, without TLS.
pub fn kubeconfig(address: SocketAddr) -> kube::Config {
    provider();
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.auth_info.token = Some(TOKEN.to_owned().into());
    config
}

/// Serves without TLS, as a stand-in for the Kubernetes API.
pub async fn plain(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What the stand-in was asked.
pub type Asked = Arc<Mutex<Vec<Value>>>;

/// A stand-in for the Kubernetes API: knows `good` and `stranger`; lets `good` download.
pub async fn cluster(asked: Asked) -> SocketAddr {
    let tokens = Arc::clone(&asked);
    let review = async move |Json(review): Json<Value>| {
        let name = match review["spec"]["token"].as_str().unwrap() {
            "good" => Some("system:serviceaccount:x:good"),
            "stranger" => Some("stranger"),
            _ => None,
        };
        tokens.lock().unwrap().push(review.clone());
        let status = match name {
            Some(name) => {
                json!({"authenticated": true, "user": {"username": name, "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}}})
            }
            None => json!({"authenticated": false, "error": "no"}),
        };
        Json(
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {}, "status": status}),
        )
    };
    let access = async move |Json(review): Json<Value>| {
        let allowed = review["spec"]["user"] == "system:serviceaccount:x:good";
        asked.lock().unwrap().push(review.clone());
        Json(json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {},
            "status": {"allowed": allowed}}))
    };
    plain(
        Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access)),
    )
    .await
}
