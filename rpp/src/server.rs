//! The server: an OCI image layout behind TLS and the cluster's own authentication and
//! authorisation.
//!
//! Owns no credentials but its own kubeconfig's, and writes nothing. Whoever asks is reviewed before
//! anything else about the request is looked at.

mod access;
mod catalog;
mod routes;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use self::{access::Gate, catalog::Catalog, routes::App};

/// How long requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(10);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The OCI image layout.
    pub layout: PathBuf,
    /// The address; port 0 means any free one.
    pub listen: SocketAddr,
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
    app: Arc<App>,
}

impl Server {
    /// Reads the certificate and the layout, and listens. `client` asks the cluster who somebody is
    /// and what they may.
    pub fn bind(options: &Options, client: kube::Client) -> Result<Self, ServeError> {
        let tls = tls_config(options)?;
        let catalog = Catalog::open(&options.layout)
            .map_err(|error| ServeError::Layout { path: options.layout.clone(), error })?;
        let app = Arc::new(App { gate: Gate::new(client), catalog });
        let failed = |error| ServeError::Listen { address: options.listen, error };
        let listener = std::net::TcpListener::bind(options.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let config = RustlsConfig::from_config(Arc::new(tls));
        let inner = axum_server::from_tcp_rustls(listener, config).map_err(failed)?;
        Ok(Self { inner, address, app })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `end` is done, then lets requests that run finish for at most ten seconds.
    pub async fn run(self, end: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let handle = Handle::new();
        let ending = handle.clone();
        let waiting = tokio::spawn(async move {
            end.await;
            ending.graceful_shutdown(Some(GRACE));
        });
        let service = routes::router(self.app).into_make_service();
        let result = self.inner.handle(handle).serve(service).await.map_err(ServeError::Serve);
        waiting.abort();
        result
    }
}

fn tls_config(options: &Options) -> Result<ServerConfig, ServeError> {
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
