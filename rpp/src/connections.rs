//! Bounds on what one client of an HTTP server can hold: the number of connections, and how long a connection may last
//! without progress. Every server of the project has them.
//!
//! A connection makes progress while a request on it waits for this server, and while the client reads responses.
//! Without requests it is idle. If there is no room for a new connection, one that is idle is closed, or one that is
//! stuck: its client has not read for a while. All of this holds for HTTP/1 and HTTP/2, which have no such bounds
//! themselves: an HTTP/2 client can keep a connection alive, and responses waiting, without reading anything.

mod activity;
mod body;
mod lag;
mod metrics;
mod slots;
mod stream;

use std::{
    future::{Ready, ready},
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use axum_server::{Server, accept::Accept};
use tokio::net::TcpStream;

#[cfg(feature = "server")]
pub(crate) use self::body::{FramePoll, observed};
use self::{activity::Activity, slots::Slots};
pub use self::{activity::ActivityService, metrics::ConnectionMetrics, stream::GuardedStream};

/// Descriptors that are kept free for files, the cluster and the registry.
const SPARE_DESCRIPTORS: u64 = 128;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 16;
/// Bytes of one HTTP/2 response that wait for the client.
const SEND_BUFFER: usize = 64 << 10;

/// Limits of one address: how many connections it takes, and how long each step of one may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time of one client address. For IPv6, of one /64 network.
    pub per_address: usize,
    /// Time for the TLS handshake, and then for the headers of each request. A client that reads nothing of a response
    /// for this time is stuck: its connection may make room for another one.
    pub headers: Duration,
    /// Time without a request. Longer than clients keep an unused connection, so that they close it first.
    pub idle: Duration,
    /// Time in which a client must read [`Self::progress_bytes`] of a response, or all of it.
    pub progress: Duration,
    /// Bytes that a client reads at least within [`Self::progress`].
    pub progress_bytes: u64,
    /// Whether clients may use HTTP/2.
    pub http2: bool,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: 256,
            headers: Duration::from_secs(15),
            idle: Duration::from_mins(2),
            progress: Duration::from_mins(1),
            progress_bytes: 64 << 10,
            http2: true,
        }
    }
}

impl ConnectionLimits {
    /// Returns the limits of an address for health and metrics: few clients, with small responses over HTTP/1.
    #[must_use]
    pub fn internal(self) -> Self {
        Self { connections: 64, per_address: 64, http2: false, ..self }
    }

    /// Raises the process's limit of open files as far as allowed. Returns limits that fit into it.
    #[must_use]
    pub fn within_descriptors(self) -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::debug!(%error, "the limit of open files was not raised");
        }
        let Some(current) = getrlimit(Resource::Nofile).current else { return self };
        // A connection, and the file that is sent on it.
        let fitting = usize::try_from(current.saturating_sub(SPARE_DESCRIPTORS) / 2).unwrap_or(usize::MAX).max(1);
        if fitting < self.connections {
            tracing::warn!(
                connections = fitting,
                open_files = current,
                "fewer connections are accepted than configured, because of the limit of open files"
            );
        }
        Self { connections: self.connections.min(fitting), ..self }
    }
}

/// Returns a future that serves a router without TLS, within these limits.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
) -> io::Result<impl Future<Output = io::Result<()>> + Send> {
    let server = axum_server::from_tcp(listener)?.acceptor(GuardedAcceptor::new(limits, metrics));
    Ok(with_timeouts(server, &limits).serve(router.into_make_service()))
}

/// Accepts connections within the limits.
#[derive(Clone)]
pub struct GuardedAcceptor {
    slots: Arc<Slots>,
    limits: ConnectionLimits,
}

impl GuardedAcceptor {
    /// Makes an acceptor that counts its connections in these metrics.
    pub fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self { slots: Arc::new(Slots::new(&limits, metrics)), limits }
    }
}

impl<S> Accept<TcpStream, S> for GuardedAcceptor {
    type Stream = GuardedStream;
    type Service = ActivityService<S>;
    type Future = Ready<io::Result<(GuardedStream, ActivityService<S>)>>;

    /// # Errors
    /// There are as many connections as the limits allow, and none to close. The caller closes the connection.
    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = || {
            let activity = Arc::new(Activity::new(&self.limits));
            let slot = self.slots.take(stream.peer_addr()?.ip(), &activity)?;
            stream.set_nodelay(true)?;
            let service = ActivityService::new(service, Arc::clone(&activity));
            Ok((GuardedStream::new(stream, slot, activity, self.limits), service))
        };
        ready(accepted())
    }
}

/// Sets the limits that the protocols themselves have. The headers of later requests have the timeout of
/// [`GuardedStream`]: that of hyper begins when the connection becomes idle.
pub fn with_timeouts<Acceptor>(
    mut server: Server<SocketAddr, Acceptor>,
    limits: &ConnectionLimits,
) -> Server<SocketAddr, Acceptor> {
    server.http_builder().http2().max_concurrent_streams(STREAMS).max_send_buf_size(SEND_BUFFER);
    let server = if limits.http2 { server } else { server.http1_only() };
    server.first_request_timeout(limits.headers)
}
