//! The access log and the metrics of requests. A request is logged in one line when the last byte of its
//! response was sent, or when the client is gone. Headers are not logged because they contain tokens. The HTTP
//! parser refuses control characters in paths.

use std::{sync::Arc, task::Poll, time::Instant};

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;

use super::{
    metrics::{Metrics, RequestLabel},
    route::route_name,
    state::ServerState,
};
use crate::connections::{FramePoll, observed};

/// The user of a request.
#[derive(Clone)]
pub(super) struct RequestUser(pub(super) String);

/// Counts a request, and logs it when its response ends.
pub(super) async fn log(State(state): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    state.metrics.in_flight.inc();
    let mut line = LogLine {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        started: Instant::now(),
        metrics: Arc::clone(&state.metrics),
        user: None,
        status: 0,
        sent: 0,
        complete: false,
    };
    let response = next.run(request).await;
    line.user = response.extensions().get::<RequestUser>().map(|RequestUser(name)| name.clone());
    line.status = response.status().as_u16();
    response.map(|body| {
        // The body of an empty response is never polled.
        line.complete = body.is_end_stream();
        observed(body, move |frame, is_at_end| line.count(frame, is_at_end))
    })
}

/// A line of the access log. It is written on drop, also for a request that was aborted.
struct LogLine {
    method: Method,
    path: String,
    started: Instant,
    metrics: Arc<Metrics>,
    user: Option<String>,
    status: u16,
    sent: u64,
    complete: bool,
}

impl LogLine {
    fn count(&mut self, frame: &FramePoll, is_at_end: bool) {
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.complete = is_at_end;
            }
            Poll::Ready(None) => self.complete = true,
            _ => {}
        }
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.bytes.inc_by(self.sent);
        self.metrics.seconds.observe(elapsed.as_secs_f64());
        let label = RequestLabel { route: route_name(&self.path), code: self.status };
        self.metrics.requests.get_or_create(&label).inc();
        tracing::info!(
            target: "access",
            method = %self.method, path = self.path, status = self.status,
            user = ?self.user.as_deref().unwrap_or("-"), bytes = self.sent, complete = self.complete,
            millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        );
    }
}
