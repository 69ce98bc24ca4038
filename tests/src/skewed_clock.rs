//! The API server with a wrong clock: a proxy that passes requests on and changes the `Date` of the answers.
//! Tests cannot set the clock of their own machine.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::listener::{self, Stream, head};
use crate::{ControlPlane, Error, Identity, Result};

/// A proxy to the API server that changes its clock. It ends with this process.
#[derive(Debug, Clone)]
pub struct SkewedServer {
    url: String,
    /// By how many seconds the clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl SkewedServer {
    /// Starts it with the right clock.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let unexpected = |found: String| Error::Unexpected { what: "the cluster's CA".into(), found };
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(plane.ca_file()).map_err(|e| unexpected(e.to_string()))?;
        roots.add(authority).map_err(|e| unexpected(e.to_string()))?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let server = plane.url().trim_start_matches("https://").to_owned();
        let ahead = Arc::<AtomicI64>::default();
        let clock = ahead.clone();
        let address =
            listener::listen(plane, "skewed-clock", move |stream| forward(stream, &server, client.clone(), &clock))?;
        Ok(Self { url: format!("https://{address}"), ahead })
    }

    /// Returns the URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets by how much the clock is ahead (behind, if negative).
    pub fn set_ahead(&self, ahead: SignedDuration) {
        self.ahead.store(ahead.as_secs(), Ordering::SeqCst);
    }
}

/// Writes a kubeconfig of `who` for an API server whose clock is ahead by this much (behind, if negative). The server
/// ends with this process.
pub fn kubeconfig(plane: &ControlPlane, who: &Identity, ahead: SignedDuration) -> Result<PathBuf> {
    let server = SkewedServer::start(plane)?;
    server.set_ahead(ahead);
    let file = plane.kubeconfig_for(who)?;
    let content = std::fs::read_to_string(&file).map_err(Error::io(file.display().to_string()))?;
    let content = content.replace(&plane.url(), server.url());
    let address = server.url().trim_start_matches("https://");
    plane.scratch().write(&format!("{address}.kubeconfig"), content)
}

/// Starts a server on 127.0.0.1 whose certificate is valid from the year 2090, as that of an API server is for a machine
/// whose clock is in the past. Returns its `host:port`.
pub fn future_server(plane: &ControlPlane) -> Result<String> {
    let pair = plane.future_certificate("future-server")?;
    listener::listen_with(&pair, "future-server", |mut stream| head(&mut stream).map(drop))
}

/// Forwards one request and its answer, which may be a watch.
fn forward(mut stream: Stream, server: &str, client: Arc<ClientConfig>, ahead: &AtomicI64) -> Option<()> {
    let request = head(&mut stream)?.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut body = vec![0; content_length(&request)];
    stream.read_exact(&mut body).ok()?;
    let name = ServerName::try_from(server.split(':').next()?.to_owned()).ok()?;
    let connection = ClientConnection::new(client, name).ok()?;
    let mut upstream = StreamOwned::new(connection, TcpStream::connect(server).ok()?);
    upstream.write_all(request.as_bytes()).ok()?;
    upstream.write_all(&body).ok()?;
    let mut upstream = BufReader::new(upstream);
    let answer = with_date(&head(&mut upstream)?, SignedDuration::from_secs(ahead.load(Ordering::SeqCst)))?;
    let stream = stream.get_mut();
    stream.write_all(answer.as_bytes()).ok()?;
    let mut part = [0; 16 * 1024];
    // The answer itself says where it ends. Some servers close the connection without a TLS close, which is an error
    // here.
    while let Ok(read @ 1..) = upstream.read(&mut part) {
        stream.write_all(&part[..read]).ok()?;
        stream.flush().ok()?;
    }
    stream.conn.send_close_notify();
    stream.flush().ok()?;
    stream.sock.shutdown(Shutdown::Write).ok()
}

/// Returns the length of the body of a request; 0 if it has none.
fn content_length(head: &str) -> usize {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    };
    head.lines().find_map(header).unwrap_or_default()
}

/// Returns the head of an answer with another time.
fn with_date(answer: &str, ahead: SignedDuration) -> Option<String> {
    let date =
        jiff::fmt::rfc2822::to_string(&Timestamp::now().checked_add(ahead).ok()?.to_zoned(jiff::tz::TimeZone::UTC))
            .ok()?;
    let date = date.trim_end_matches("+0000").trim_end_matches("-0000");
    let line = |line: &str| if line.starts_with("Date: ") { format!("Date: {date}GMT\r\n") } else { line.to_owned() };
    Some(answer.split_inclusive("\r\n").map(line).collect())
}
