//! What the requests of one connection wait for.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use futures::{FutureExt as _, future::BoxFuture};
use tower::Service;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// For a request.
    Idle,
    /// For this server: a handler, or the next bytes of a response.
    Server,
    /// For the client, to read a response.
    Client,
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests whose response was not handed over completely.
    open: AtomicUsize,
    /// Those of them that wait for this server.
    at_server: AtomicUsize,
    /// Number of requests that began or ended.
    changes: AtomicU64,
}

impl Activity {
    /// Returns what the connection waits for, and a number that changes when a request begins or ends.
    pub(super) fn phase(&self) -> (Phase, u64) {
        let phase = match (self.open.load(Ordering::Acquire), self.at_server.load(Ordering::Acquire)) {
            (0, _) => Phase::Idle,
            (_, 0) => Phase::Client,
            _ => Phase::Server,
        };
        (phase, self.changes.load(Ordering::Acquire))
    }
}

/// One request. It ends on drop.
struct RunningRequest {
    activity: Arc<Activity>,
    is_at_server: bool,
}

impl RunningRequest {
    fn begin(activity: Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::AcqRel);
        activity.at_server.fetch_add(1, Ordering::AcqRel);
        activity.changes.fetch_add(1, Ordering::AcqRel);
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
        self.activity.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// A service that records its requests.
#[derive(Clone)]
pub(in crate::server) struct ActivityService<S> {
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
        let mut running = RunningRequest::begin(Arc::clone(&self.activity));
        let response = self.inner.call(request);
        async move {
            let response = response.await?;
            running.set_at_server(false);
            Ok(response.map(|body| Body::new(ActivityBody { body, running })))
        }
        .boxed()
    }
}

/// The body of a response. The protocol asks for the next bytes only when the client has room for them.
struct ActivityBody {
    body: Body,
    running: RunningRequest,
}

impl HttpBody for ActivityBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.running.set_at_server(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
