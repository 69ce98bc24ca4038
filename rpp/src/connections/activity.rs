//! What the requests of one connection wait for.

use std::{
    cmp::Reverse,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{extract::Request, response::Response};
use futures::{FutureExt as _, future::BoxFuture, task::AtomicWaker};
use http::Version;
use tokio::time::Instant;
use tower::Service;

use super::{
    ConnectionLimits,
    body::{FramePoll, h2_frames, observed},
    lag::ReadLag,
};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the next request of the client.
    Idle,
    /// For this server, in all of its requests: a handler, or the next bytes of a response.
    Server,
    /// For the client, to read a response.
    Client,
}

/// What a connection waits for, and since which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) phase: Phase,
    /// Number of the last change. Later changes have larger numbers, also those of other connections.
    pub(super) change: u64,
    /// When the client has read too slowly for too long, in [`Phase::Client`].
    pub(super) read_deadline: Option<Instant>,
}

/// Why a connection may make room for another one. The smallest one makes room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Displaceable {
    /// It is idle since the change with this number.
    Idle(u64),
    /// Its client takes nothing, or very little, of the responses. The lag of the client.
    Stuck(Reverse<Duration>),
}

/// Orders the changes of all connections.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// The lag at which the connection may make room for another one.
    displaceable_lag: Duration,
    state: Mutex<State>,
    /// The task of the connection.
    task: AtomicWaker,
}

#[derive(Debug)]
struct State {
    /// Requests whose response was not handed over completely.
    open: usize,
    /// Those of them that wait for this server.
    at_server: usize,
    /// Number of the last change: the connection was accepted, or a request began or ended.
    changed: u64,
    /// Whether there was a request.
    has_served: bool,
    /// Whether bytes were written since the last complete flush: the protocol may hold more of them.
    has_unsent: bool,
    /// Whether there was a request, over HTTP/1.
    is_http1: bool,
    /// Why the connection was chosen to make room for another one.
    displaced: Option<Displaceable>,
    lag: ReadLag,
}

impl State {
    fn phase(&self) -> Phase {
        match (self.open, self.at_server) {
            // The handler has handed over the whole response, and the client has not read it. A handshake that the
            // client does not continue counts as idle.
            (0, _) if self.has_served && self.has_unsent => Phase::Client,
            // A request began before the connection could make room. The client reads the rest of the response.
            (0, _) if matches!(self.displaced, Some(Displaceable::Idle(change)) if change != self.changed) => {
                Phase::Client
            }
            (0, _) => Phase::Idle,
            // Another request that runs does not hide a response that the client does not read.
            (open, at_server) if at_server < open => Phase::Client,
            _ => Phase::Server,
        }
    }

    fn status(&self) -> Status {
        Status { phase: self.phase(), change: self.changed, read_deadline: self.lag.deadline() }
    }

    fn change(&mut self) {
        self.changed = next_change();
    }
}

impl Activity {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let state = State {
            open: 0,
            at_server: 0,
            changed: next_change(),
            has_served: false,
            has_unsent: false,
            is_http1: false,
            displaced: None,
            lag: ReadLag::new(limits, Instant::now()),
        };
        Self { displaceable_lag: limits.headers, state: Mutex::new(state), task: AtomicWaker::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and notes whether the connection waits for the client after that.
    fn update(&self, change: impl FnOnce(&mut State, Instant)) {
        let mut state = self.lock();
        let now = Instant::now();
        change(&mut state, now);
        let is_blocked = state.phase() == Phase::Client;
        state.lag.set_blocked(is_blocked, now);
    }

    /// Returns what the connection waits for.
    #[cfg(test)]
    pub(super) fn phase(&self) -> Phase {
        self.lock().phase()
    }

    /// Notes that bytes were written, or could not be written yet.
    pub(super) fn wrote(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.update(|state, now| {
            state.has_unsent = true;
            if state.is_http1 {
                state.lag.wrote_response(bytes, now);
            } else {
                state.lag.count(0, bytes, now);
            }
        });
    }

    /// Notes that the operating system has all bytes.
    pub(super) fn flushed(&self) {
        self.update(|state, _| state.has_unsent = false);
    }

    /// Notes that bytes of a response over HTTP/2 fit into the windows of the client.
    fn took(&self, bytes: u64) {
        self.update(|state, now| state.lag.count(bytes, 0, now));
    }

    /// Returns whether the next bytes of an idle connection begin the headers of a request. Over HTTP/2 they may be
    /// something else.
    pub(super) fn expects_headers(&self) -> bool {
        self.lock().is_http1
    }

    /// Returns whether the connection may make room for another one: it is idle, or its client has not read for as long
    /// as the headers of a request may take.
    pub(super) fn displaceable(&self) -> Option<Displaceable> {
        let state = self.lock();
        match state.phase() {
            Phase::Idle => Some(Displaceable::Idle(state.changed)),
            Phase::Client => {
                let lag = state.lag.at(Instant::now());
                (lag >= self.displaceable_lag).then_some(Displaceable::Stuck(Reverse(lag)))
            }
            Phase::Server => None,
        }
    }

    /// Ends the connection. If it was idle, it goes on if it is not idle any more when its task runs.
    pub(super) fn displace(&self, why: Displaceable) {
        self.update(|state, _| state.displaced = Some(why));
        self.task.wake();
    }

    /// Returns what the connection waits for. `None`: it must end, because it was chosen to make room. A request that
    /// began on an idle connection meanwhile is answered; then the connection has the time of a client that reads the
    /// rest of the response. Wakes the task when it is chosen.
    pub(super) fn status_unless_displaced(&self, task: &Waker) -> Option<Status> {
        self.task.register(task);
        let state = self.lock();
        match (state.displaced, state.phase()) {
            (Some(Displaceable::Stuck(_)), _) | (Some(Displaceable::Idle(_)), Phase::Idle) => None,
            _ => Some(state.status()),
        }
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
        activity.update(|state, _| {
            state.open += 1;
            state.at_server += 1;
            state.has_served = true;
            state.is_http1 = version <= Version::HTTP_11;
            state.change();
        });
        Self { activity, is_at_server: true }
    }

    pub(super) fn set_at_server(&mut self, is_at_server: bool) {
        match (std::mem::replace(&mut self.is_at_server, is_at_server), is_at_server) {
            (false, true) => self.activity.update(|state, _| state.at_server += 1),
            (true, false) => self.activity.update(|state, _| state.at_server -= 1),
            _ => {}
        }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.activity.update(|state, _| {
            if self.is_at_server {
                state.at_server -= 1;
            }
            state.open -= 1;
            state.change();
        });
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
        let version = request.version();
        let mut running = RunningRequest::begin(Arc::clone(&self.activity), version);
        let response = self.inner.call(request);
        async move {
            let response = response.await?;
            running.set_at_server(false);
            Ok(response.map(|body| match version {
                Version::HTTP_2 => {
                    let mut taken = TakenFrames::default();
                    observed(h2_frames(body), move |frame, _| {
                        running.set_at_server(frame.is_pending());
                        if let Some(bytes) = taken.next(frame) {
                            running.activity.took(bytes);
                        }
                    })
                }
                // The protocol asks for the next bytes only when it has room for them.
                _ => observed(body, move |frame, _| running.set_at_server(frame.is_pending())),
            }))
        }
        .boxed()
    }
}

/// The last two frames that the protocol asked for. HTTP/2 asks for the next frame when the windows of the client have
/// room for the first byte of the one before, and thus for all of the frames before that one.
#[derive(Default)]
struct TakenFrames([u64; 2]);

impl TakenFrames {
    /// Takes note of the next frame. Returns the bytes of the frame that the client took, if there are any.
    fn next(&mut self, frame: &FramePoll) -> Option<u64> {
        let Poll::Ready(Some(Ok(frame))) = frame else { return None };
        let [taken, last] = self.0;
        self.0 = [last, frame.data_ref().map_or(0, |data| data.len() as u64)];
        (taken > 0).then_some(taken)
    }
}
