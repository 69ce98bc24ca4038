//! The access log and the metrics of requests. A request is logged in one line when the last byte of its
//! response was sent, or when the client is gone. Headers are not logged because they contain tokens. The HTTP
//! parser refuses control characters in paths.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes, HttpBody},
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

/// The user of a request.
#[derive(Clone)]
pub(super) struct User(pub(super) String);

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
    line.user = response.extensions().get::<User>().map(|User(name)| name.clone());
    line.status = response.status().as_u16();
    response.map(|body| {
        // The body of an empty response is never polled.
        line.complete = body.is_end_stream();
        Body::new(CountedBody { body, line })
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

/// A body that counts the bytes that are sent.
struct CountedBody {
    body: Body,
    line: LogLine,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.line.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.line.complete = this.body.is_end_stream();
            }
            Poll::Ready(None) => this.line.complete = true,
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
