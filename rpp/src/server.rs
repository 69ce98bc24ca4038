//! The server: serves the images of an OCI image layout or a registry over TLS, to identities that the cluster
//! authorizes.
//!
//! Uses the credentials of its kubeconfig and those for the registry. Writes nothing except for its cache. A
//! request is authorized before anything else about it is read.

mod access;
mod access_log;
mod cache;
mod catalog;
mod image;
mod images;
mod metrics;
mod route;
mod routes;
mod singleflight;
mod state;
mod upstream;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use self::{
    access::Authorizer, cache::Cache, catalog::Catalog, images::Images, metrics::Metrics, state::ServerState,
    upstream::Upstream,
};
use crate::{
    certificate::CertificateProblem,
    connections::{self, ConnectionLimits, GuardedAcceptor, with_timeouts},
    error::MAKE_SERVER_CERTIFICATE,
    protocol::generation::Generation,
    registry::{RegistryAccess, RegistryError, RegistryOptions},
    tls,
};

/// How long running requests may continue during a shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// Origin of the images.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// Directory of an OCI image layout.
    Layout(PathBuf),
    /// A registry with the distribution API, read through a cache on disk.
    Registry {
        /// How to reach the registry.
        registry: RegistryOptions,
        /// Directory for cached layers.
        cache: PathBuf,
        /// Size of the cache, in bytes. A layer that is being fetched may exceed it.
        cache_bytes: u64,
    },
}

/// What is served, and on which addresses.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Origin of the images.
    pub source: ImageSource,
    /// The newest generation whose routes are served, 1 to 3. Older routes are served, too.
    pub generation: u8,
    /// Address for clients. Port 0 selects a free port.
    pub listen: SocketAddr,
    /// Address inside of the cluster for health, readiness and metrics without TLS.
    pub metrics_listen: Option<SocketAddr>,
    /// PEM file with the certificate chain.
    pub tls_cert: PathBuf,
    /// PEM file with the private key.
    pub tls_key: PathBuf,
    /// Limits of `listen`. Those of `metrics_listen` are [`ConnectionLimits::internal`].
    pub limits: ConnectionLimits,
}

/// Why the server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key is not usable.
    #[error("{}: {why}", path.display())]
    Tls {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The layout cannot be read.
    #[error("layout {}: {error}", path.display())]
    Layout {
        /// Path of the layout.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// The generation does not exist.
    #[error("there is no generation {0} of the protocol")]
    Generation(u8),
    /// The configuration of the registry is not usable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The cache is not usable.
    #[error("cache {}: {error}", path.display())]
    Cache {
        /// Path of the directory.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// The address is not usable.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Address from the options.
        address: SocketAddr,
        /// Error of the system.
        error: io::Error,
    },
    /// The server failed while it was running.
    #[error("serving failed: {0}")]
    Serve(#[source] io::Error),
}

impl ServeError {
    /// Returns whether an argument or a given file is the cause.
    pub fn is_invalid_input(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::Generation(_) => true,
            Self::Registry(error) => error.is_invalid_input(),
            Self::Layout { .. } | Self::Cache { .. } | Self::Listen { .. } | Self::Serve(_) => false,
        }
    }
}

/// A server that is bound to its addresses.
pub struct Server {
    inner: axum_server::Server<SocketAddr, RustlsAcceptor<GuardedAcceptor>>,
    address: SocketAddr,
    metrics_listener: Option<TcpListener>,
    limits: ConnectionLimits,
    state: Arc<ServerState>,
}

impl Server {
    /// Reads the certificate and the images, and binds the addresses. `client` is used for reviews by the cluster.
    pub fn bind(options: &ServeOptions, client: kube::Client) -> Result<Self, ServeError> {
        let tls = tls_config(options)?;
        let metrics = Arc::new(Metrics::new());
        let generation = match options.generation {
            1 => Generation::One,
            2 => Generation::Two,
            3 => Generation::Three,
            other => return Err(ServeError::Generation(other)),
        };
        let state = Arc::new(ServerState {
            authorizer: Authorizer::new(client, Arc::clone(&metrics)),
            images: images(&options.source, &metrics)?,
            generation,
            metrics,
            shutting_down: AtomicBool::new(false),
        });
        let (listener, address) = listen(options.listen)?;
        let metrics_listener = options.metrics_listen.map(listen).transpose()?.map(|(listener, _)| listener);
        let limits = options.limits.within_descriptors();
        let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)))
            .handshake_timeout(limits.headers)
            .acceptor(GuardedAcceptor::new(limits, state.metrics.connections.clone()));
        let inner =
            axum_server::from_tcp(listener).map_err(|error| ServeError::Listen { address: options.listen, error })?;
        let inner = with_timeouts(inner.acceptor(acceptor), &limits);
        Ok(Self { inner, address, metrics_listener, limits, state })
    }

    /// Returns the address that clients connect to. It has the real port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address for metrics, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_listener.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` completes. Then it is not ready any more, and running requests have ten seconds to
    /// finish.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let handle = Handle::new();
        let (shutdown_handle, state) = (handle.clone(), Arc::clone(&self.state));
        let shutdown_task = tokio::spawn(async move {
            shutdown.await;
            state.shutting_down.store(true, Ordering::Relaxed);
            shutdown_handle.graceful_shutdown(Some(GRACE));
        });
        let serve_metrics = |listener| {
            let router = routes::internal_router(Arc::clone(&self.state));
            let metrics = self.state.metrics.connections.clone();
            connections::serve(listener, router, self.limits.internal(), metrics)
        };
        let metrics_server = self.metrics_listener.map(serve_metrics).transpose().map_err(ServeError::Serve)?;
        let metrics_task = metrics_server.map(tokio::spawn);
        let service = routes::router(self.state).into_make_service();
        let result = self.inner.handle(handle).serve(service).await.map_err(ServeError::Serve);
        shutdown_task.abort();
        if let Some(metrics_task) = metrics_task {
            metrics_task.abort();
        }
        result
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn images(source: &ImageSource, metrics: &Arc<Metrics>) -> Result<Images, ServeError> {
    Ok(match source {
        ImageSource::Layout(path) => {
            let catalog = Catalog::open(path).map_err(|error| ServeError::Layout { path: path.clone(), error })?;
            Images::Layout(Arc::new(catalog))
        }
        ImageSource::Registry { registry, cache, cache_bytes } => {
            let access = RegistryAccess::new(registry.clone())?;
            let cache = Cache::open(cache, *cache_bytes, Arc::clone(metrics))
                .map_err(|error| ServeError::Cache { path: cache.clone(), error })?;
            Images::Registry(Upstream::new(access, cache, Arc::clone(metrics)))
        }
    })
}

/// Describes a certificate that no client would accept, and how to replace it.
fn refused_certificate(problem: &CertificateProblem) -> String {
    match problem {
        CertificateProblem::AuthorityAsServer => {
            format!("{problem}; no client would accept it; make one of a server: `{MAKE_SERVER_CERTIFICATE}`")
        }
        other => format!("no client would accept it: {other}"),
    }
}

fn tls_config(options: &ServeOptions) -> Result<ServerConfig, ServeError> {
    let bad = |path: &PathBuf, why: String| ServeError::Tls { path: path.clone(), why };
    let chain = CertificateDer::pem_file_iter(&options.tls_cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&options.tls_cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&options.tls_cert, "it contains no certificate".to_owned()));
    }
    tls::check_server_certificate(&chain).map_err(|problem| bad(&options.tls_cert, refused_certificate(&problem)))?;
    let key =
        PrivateKeyDer::from_pem_file(&options.tls_key).map_err(|error| bad(&options.tls_key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad(&options.tls_cert, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
