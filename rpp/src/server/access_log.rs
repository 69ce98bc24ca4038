//! The access log and what is counted: one line for each request, when the last byte of its answer was
//! sent or whoever asked has gone. Without headers: they hold tokens. The path has no control characters,
//! as the parser of requests refuses them.

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

use crate::server::{
    metrics::{Metrics, RequestLabel},
    routes::{App, route_name},
};

/// The user a request was let in as.
#[derive(Clone)]
pub(super) struct User(pub(super) String);

/// Counts a request and logs it at its end.
pub(super) async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    app.metrics.in_flight.inc();
    let mut line = Line {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        started: Instant::now(),
        metrics: Arc::clone(&app.metrics),
        user: None,
        status: 0,
        sent: 0,
        whole: false,
    };
    let response = next.run(request).await;
    line.user = response.extensions().get::<User>().map(|User(name)| name.clone());
    line.status = response.status().as_u16();
    response.map(|body| {
        // A body without bytes is never asked for any.
        line.whole = body.is_end_stream();
        Body::new(Logged { body, line })
    })
}

/// What is told of a request; told when it is dropped, so also of one that was given up.
struct Line {
    method: Method,
    path: String,
    started: Instant,
    metrics: Arc<Metrics>,
    user: Option<String>,
    status: u16,
    sent: u64,
    whole: bool,
}

impl Drop for Line {
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
            user = ?self.user.as_deref().unwrap_or("-"), bytes = self.sent, whole = self.whole,
            millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        );
    }
}

/// A body that is counted as it is sent.
struct Logged {
    body: Body,
    line: Line,
}

impl HttpBody for Logged {
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
                this.line.whole = this.body.is_end_stream();
            }
            Poll::Ready(None) => this.line.whole = true,
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
