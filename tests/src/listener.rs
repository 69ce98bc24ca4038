//! A TLS server of the harness, with one thread per connection, for answers that no real server gives.

use std::io::{BufRead, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{ControlPlane, Error, Pair, Result};

/// A TLS connection of a client, decrypted and buffered.
pub(crate) type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// Listens on a free port of 127.0.0.1 with a certificate of the cluster's CA until this process ends. Returns the
/// address. `serve` returns `None` if the client closes the connection early, which some tests do on purpose.
pub(crate) fn listen(
    plane: &ControlPlane,
    name: &str,
    serve: impl Fn(Stream) -> Option<()> + Send + Sync + 'static,
) -> Result<String> {
    listen_with(&plane.serving_certificate(name)?, name, serve)
}

/// As [`listen`], with this certificate.
pub(crate) fn listen_with(
    pair: &Pair,
    name: &str,
    serve: impl Fn(Stream) -> Option<()> + Send + Sync + 'static,
) -> Result<String> {
    let unexpected = |found: String| Error::Unexpected { what: format!("certificate of {name}"), found };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_file(&pair.certificate).map_err(|e| unexpected(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|e| unexpected(e.to_string()))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.map_err(|e| unexpected(e.to_string()))?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("a free port"))?;
    let address = listener.local_addr().map_err(Error::io("a free port"))?.to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, serve) = (config.clone(), serve.clone());
            thread::spawn(move || {
                let connection = ServerConnection::new(config).ok()?;
                serve(BufReader::new(StreamOwned::new(connection, stream)))
            });
        }
    });
    Ok(address)
}

/// Reads the head of a request or of an answer, up to its blank line. `None`: the connection was closed.
pub(crate) fn head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.by_ref().take(64 * 1024).read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}
