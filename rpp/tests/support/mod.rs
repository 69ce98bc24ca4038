//! Shared by the tests: a certificate authority, a TLS server with scripted responses, a stand-in for the Kubernetes
//! API.

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
use d8_rpp::{ClientOptions, ClusterAccess, Endpoint, Identity, Proxy, Timeouts};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Token of the tests. It must not occur in any output.
pub const TOKEN: &str = "s3cret-token";

/// Installs the crypto provider, as the binaries do in `main`.
pub fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = ring::default_provider().install_default();
    });
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    /// Contains `ca.crt`.
    pub directory: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.crt"), &pem).unwrap();
        Self { issuer: Issuer::new(params, key), pem, directory }
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Issues a certificate. Returns it and its key, PEM.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams), names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A TLS server that ends when it is dropped.
pub struct TlsServer {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
    handle: axum_server::Handle<SocketAddr>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsServer {
    /// Returns the number of open connections.
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

/// A proxy that answers every request with the test's response, and counts the requests.
pub struct ScriptedProxy {
    pub server: TlsServer,
    pub requests: Arc<AtomicUsize>,
    pub authority: Authority,
}

impl ScriptedProxy {
    /// `answer` gets the number of the request, starting with 0.
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
        let server = TlsServer::serve(&authority.issue(|_| {}, &["127.0.0.1"]), alpn, router);
        Self { server, requests, authority }
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns a client of this proxy.
    pub fn client(&self, timeouts: Timeouts) -> Proxy {
        let options = ClientOptions { ca_file: Some(self.authority.file()), timeouts, ..ClientOptions::default() };
        let endpoint = Endpoint::explicit(&format!("https://{}/base/", self.server.address)).unwrap();
        Proxy::new(vec![endpoint], Identity::token(TOKEN).unwrap(), &options).unwrap()
    }
}

/// Returns the default timeouts, with a short wait between attempts.
pub fn fast_retries() -> Timeouts {
    Timeouts { backoff: Duration::from_millis(1), ..Timeouts::default() }
}

/// Short timeouts, for responses that never arrive.
pub fn short_timeouts() -> Timeouts {
    Timeouts { headers: Duration::from_millis(300), idle: Duration::from_millis(300), ..fast_retries() }
}

pub fn answer(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// Returns a body that sends these bytes and continues as `rest` says.
pub fn then(bytes: &'static [u8], rest: Rest) -> Body {
    use futures::{StreamExt as _, stream};
    let first = stream::iter([Ok(bytes::Bytes::from_static(bytes))]);
    let second = async move {
        // Pending once, so that the bytes before it are sent.
        tokio::task::yield_now().await;
        match rest {
            Rest::Breaks => stream::iter([Err(std::io::Error::other("broken"))]).boxed(),
            Rest::Stalls => stream::pending().boxed(),
            Rest::Ends => stream::empty().boxed(),
        }
    };
    Body::from_stream(first.chain(stream::once(second).flatten()))
}

/// How a body continues.
#[derive(Clone, Copy)]
pub enum Rest {
    Breaks,
    Stalls,
    Ends,
}

/// Returns a kubeconfig for an API server at this address, without TLS.
pub fn kubeconfig(address: SocketAddr) -> ClusterAccess {
    access(address, &format!("{{token: {TOKEN}}}"), "")
}

/// As [`kubeconfig`], with this user, and with more fields of the cluster.
pub fn access(address: SocketAddr, user: &str, cluster: &str) -> ClusterAccess {
    provider();
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://{address}', {cluster}}}}}]\nusers: [{{name: u, user: {user}}}]\n"
    );
    ClusterAccess::of_text(&text).unwrap()
}

/// As [`kubeconfig`], for an API server with TLS and a certificate of this authority.
pub fn verified_access(address: SocketAddr, authority: &Authority) -> ClusterAccess {
    provider();
    let config = json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"), "certificate-authority": authority.file()}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    ClusterAccess::of_text(config.to_string()).unwrap()
}

/// Serves without TLS.
pub async fn plain(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The reviews that were requested.
pub type Reviews = Arc<Mutex<Vec<Value>>>;

/// Starts a stand-in for the Kubernetes API, without TLS. It knows the tokens `good` and `stranger`, and allows `good`
/// to download.
pub async fn cluster(reviews: Reviews) -> SocketAddr {
    plain(reviewer(reviews)).await
}

/// Starts the stand-in of [`cluster`] with TLS, and writes file `kubeconfig` for it.
pub fn verified_cluster(authority: &Authority, directory: &std::path::Path, reviews: Reviews) -> TlsServer {
    let server = TlsServer::serve(&authority.issue(|_| {}, &["127.0.0.1"]), &[b"http/1.1"], reviewer(reviews));
    let url = format!("https://{}", server.address);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": authority.file()}}],
        "users": [{"name": "u", "user": {"token": "own"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(directory.join("kubeconfig"), config.to_string()).unwrap();
    server
}

fn reviewer(reviews: Reviews) -> Router {
    let tokens = Arc::clone(&reviews);
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
        reviews.lock().unwrap().push(review.clone());
        Json(json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {},
            "status": {"allowed": allowed}}))
    };
    Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access))
}
