//! What the requests of one connection wait for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::{extract::Request, response::Response};
use futures::{FutureExt as _, future::BoxFuture, task::AtomicWaker};
use http::Version;
use tower::Service;

use super::body::observed;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the next request of the client.
    Idle,
    /// For this server: a handler, or the next bytes of a response.
    Server,
    /// For the client, to read a response.
    Client,
}

/// Orders the changes of all connections.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose response was not handed over completely.
    open: AtomicUsize,
    /// Those of them that wait for this server.
    at_server: AtomicUsize,
    /// Number of the last change: the connection was accepted, or a request began or ended.
    changed: AtomicU64,
    /// Whether there was a request.
    has_served: AtomicBool,
    /// Whether bytes were written since the last complete flush: the protocol may hold more of them.
    has_unsent: AtomicBool,
    /// Whether there was a request, over HTTP/1.
    is_http1: AtomicBool,
    /// Number of the last change when the connection was chosen to make room for another one, or 0.
    displaced_after: AtomicU64,
    /// The task of the connection.
    task: AtomicWaker,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            at_server: AtomicUsize::new(0),
            changed: AtomicU64::new(next_change()),
            has_served: AtomicBool::new(false),
            has_unsent: AtomicBool::new(false),
            is_http1: AtomicBool::new(false),
            displaced_after: AtomicU64::new(0),
            task: AtomicWaker::new(),
        }
    }

    /// Returns what the connection waits for, and the number of its last change. Later changes have larger numbers,
    /// also those of other connections.
    pub(super) fn phase(&self) -> (Phase, u64) {
        let phase = match (self.open.load(Ordering::Acquire), self.at_server.load(Ordering::Acquire)) {
            // The handler has handed over the whole response, and the client has not read it.
            (0, _) if self.has_unsent_response() => Phase::Client,
            (0, _) => Phase::Idle,
            (_, 0) => Phase::Client,
            _ => Phase::Server,
        };
        (phase, self.changed.load(Ordering::Acquire))
    }

    /// A handshake that the client does not continue counts as idle.
    fn has_unsent_response(&self) -> bool {
        self.has_served.load(Ordering::Acquire) && self.has_unsent.load(Ordering::Acquire)
    }

    /// Notes that bytes were written, or could not be written yet.
    pub(super) fn wrote(&self) {
        self.has_unsent.store(true, Ordering::Release);
    }

    /// Notes that the operating system has all bytes.
    pub(super) fn flushed(&self) {
        self.has_unsent.store(false, Ordering::Release);
    }

    /// Returns whether the next bytes of an idle connection begin the headers of a request. Over HTTP/2 they may be
    /// something else.
    pub(super) fn expects_headers(&self) -> bool {
        self.is_http1.load(Ordering::Acquire)
    }

    /// Ends the connection, unless it is not idle any more when its task runs. `change` is the number of its last change
    /// when it was idle.
    pub(super) fn displace(&self, change: u64) {
        self.displaced_after.store(change, Ordering::Release);
        self.task.wake();
    }

    /// Returns the phase of the connection, and the number of its last change. `None`: it must end, because it was chosen
    /// to make room and is idle since then. A request that began meanwhile is answered; then the connection has the time
    /// of a client that reads the rest of the response. Wakes the task when it is chosen.
    pub(super) fn phase_unless_displaced(&self, task: &Waker) -> Option<(Phase, u64)> {
        self.task.register(task);
        let displaced_after = self.displaced_after.load(Ordering::Acquire);
        let (phase, changes) = self.phase();
        match (phase, displaced_after) {
            (Phase::Idle, 1..) if displaced_after == changes => None,
            (Phase::Idle, 1..) => Some((Phase::Client, changes)),
            _ => Some((phase, changes)),
        }
    }

    fn change(&self) {
        self.changed.store(next_change(), Ordering::Release);
    }
}

fn next_change() -> u64 {
    CHANGES.fetch_add(1, Ordering::Relaxed)
}

/// One request. It ends on drop.
pub(super) struct RunningRequest {
    activity: Arc<Activity>,
    is_at_server: bool,
}

impl RunningRequest {
    pub(super) fn begin(activity: Arc<Activity>, version: Version) -> Self {
        activity.open.fetch_add(1, Ordering::AcqRel);
        activity.at_server.fetch_add(1, Ordering::AcqRel);
        activity.has_served.store(true, Ordering::Release);
        activity.is_http1.store(version <= Version::HTTP_11, Ordering::Release);
        activity.change();
        Self { activity, is_at_server: true }
    }

    fn set_at_server(&mut self, is_at_server: bool) {
        match (std::mem::replace(&mut self.is_at_server, is_at_server), is_at_server) {
            (false, true) => drop(self.activity.at_server.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.activity.at_server.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.set_at_server(false);
        self.activity.open.fetch_sub(1, Ordering::AcqRel);
        self.activity.change();
    }
}

/// A service that records its requests.
#[derive(Clone)]
pub struct ActivityService<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> ActivityService<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, B> Service<Request<B>> for ActivityService<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut running = RunningRequest::begin(Arc::clone(&self.activity), request.version());
        let response = self.inner.call(request);
        async move {
            let response = response.await?;
            running.set_at_server(false);
            // The protocol asks for the next bytes only when the client has room for them.
            Ok(response.map(|body| observed(body, move |frame, _| running.set_at_server(frame.is_pending()))))
        }
        .boxed()
    }
}
