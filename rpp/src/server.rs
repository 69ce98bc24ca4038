//! The server: an OCI image layout, or a registry, behind TLS and the cluster's own authentication and
//! authorisation.
//!
//! Owns its kubeconfig's credentials and the registry's, and writes nothing but its cache. Whoever asks is
//! reviewed before anything else about the request is looked at.

mod access;
mod access_log;
mod cache;
mod catalog;
mod images;
mod metrics;
mod routes;
mod singleflight;
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

use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use self::{
    access::Gate, cache::Cache, catalog::Catalog, images::Images, metrics::Metrics, routes::App, upstream::Upstream,
};
use crate::{
    protocol::generation::Generation,
    registry::{Access, RegistryError, RegistryOptions},
};

/// How long requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Where images come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An OCI image layout.
    Layout(PathBuf),
    /// A registry.
    Registry {
        /// How to reach it.
        registry: RegistryOptions,
        /// Where layers are kept.
        cache: PathBuf,
        /// Of how many bytes at most; a layer that is being fetched may exceed it.
        cache_bytes: u64,
    },
}

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where images come from.
    pub source: Source,
    /// The newest generation of routes, 1 to 3; the older ones are there too.
    pub generation: u8,
    /// The address; port 0 means any free one.
    pub listen: SocketAddr,
    /// Where health, readiness and metrics are served without TLS, for those inside of the cluster.
    pub inside: Option<SocketAddr>,
    /// Certificate chain, PEM.
    pub tls_cert: PathBuf,
    /// Its key, PEM.
    pub tls_key: PathBuf,
}

/// Why the server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file of the TLS identity can't be used.
    #[error("{}: {why}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The layout can't be read.
    #[error("layout {}: {error}", path.display())]
    Layout {
        /// The layout.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// There is no such generation.
    #[error("there is no generation {0} of the protocol")]
    Generation(u8),
    /// The registry's files can't be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The cache can't be used.
    #[error("cache {}: {error}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The address can't be listened on.
    #[error("listening on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What failed.
        error: io::Error,
    },
    /// The server broke.
    #[error("serving: {0}")]
    Serve(#[source] io::Error),
}

/// A server that listens.
pub struct Server {
    inner: axum_server::Server<SocketAddr, axum_server::tls_rustls::RustlsAcceptor>,
    address: SocketAddr,
    inside: Option<TcpListener>,
    app: Arc<App>,
}

impl Server {
    /// Reads the certificate and what is served, and listens. `client` asks the cluster who somebody is
    /// and what they may.
    pub fn bind(options: &ServeOptions, client: kube::Client) -> Result<Self, ServeError> {
        let tls = tls_config(options)?;
        let metrics = Arc::new(Metrics::new());
        let generation = match options.generation {
            1 => Generation::One,
            2 => Generation::Two,
            3 => Generation::Three,
            other => return Err(ServeError::Generation(other)),
        };
        let app = Arc::new(App {
            gate: Gate::new(client, Arc::clone(&metrics)),
            images: images(&options.source, &metrics)?,
            generation,
            metrics,
            ending: AtomicBool::new(false),
        });
        let (listener, address) = listen(options.listen)?;
        let inside = options.inside.map(listen).transpose()?.map(|(listener, _)| listener);
        let config = RustlsConfig::from_config(Arc::new(tls));
        let inner = axum_server::from_tcp_rustls(listener, config)
            .map_err(|error| ServeError::Listen { address: options.listen, error })?;
        Ok(Self { inner, address, inside, app })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics, if it does.
    pub fn inside(&self) -> Option<SocketAddr> {
        self.inside.as_ref()?.local_addr().ok()
    }

    /// Serves until `end` is done, then lets requests that run finish for at most ten seconds. It is not
    /// ready from then on.
    pub async fn run(self, end: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let handle = Handle::new();
        let (ending, app) = (handle.clone(), Arc::clone(&self.app));
        let waiting = tokio::spawn(async move {
            end.await;
            app.ending.store(true, Ordering::Relaxed);
            ending.graceful_shutdown(Some(GRACE));
        });
        let observing = match self.inside {
            None => None,
            Some(listener) => {
                let server = axum_server::from_tcp(listener).map_err(ServeError::Serve)?;
                Some(tokio::spawn(server.serve(routes::inside(Arc::clone(&self.app)).into_make_service())))
            }
        };
        let service = routes::router(self.app).into_make_service();
        let result = self.inner.handle(handle).serve(service).await.map_err(ServeError::Serve);
        waiting.abort();
        if let Some(observing) = observing {
            observing.abort();
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

fn images(source: &Source, metrics: &Arc<Metrics>) -> Result<Images, ServeError> {
    Ok(match source {
        Source::Layout(path) => {
            let catalog = Catalog::open(path).map_err(|error| ServeError::Layout { path: path.clone(), error })?;
            Images::Layout(Arc::new(catalog))
        }
        Source::Registry { registry, cache, cache_bytes } => {
            let access = Access::new(registry.clone())?;
            let cache = Cache::open(cache, *cache_bytes, Arc::clone(metrics))
                .map_err(|error| ServeError::Cache { path: cache.clone(), error })?;
            Images::Registry(Upstream::new(access, cache, Arc::clone(metrics)))
        }
    })
}

fn tls_config(options: &ServeOptions) -> Result<ServerConfig, ServeError> {
    let bad = |path: &PathBuf, why: String| ServeError::Tls { path: path.clone(), why };
    let chain = CertificateDer::pem_file_iter(&options.tls_cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&options.tls_cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&options.tls_cert, "it holds no certificate".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&options.tls_key).map_err(|error| bad(&options.tls_key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad(&options.tls_cert, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
