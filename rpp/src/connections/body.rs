//! The body of a response, with an observer of its frames.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

/// What a poll for the next frame of a body returns.
pub(crate) type FramePoll = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Returns a body that calls `observer` after each poll, with the result and whether the body is at its end. The
/// observer is dropped with the body.
pub(crate) fn observed(body: Body, observer: impl FnMut(&FramePoll, bool) + Send + Unpin + 'static) -> Body {
    Body::new(ObservedBody { body, observer })
}

struct ObservedBody<O> {
    body: Body,
    observer: O,
}

impl<O: FnMut(&FramePoll, bool) + Unpin> HttpBody for ObservedBody<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        (this.observer)(&frame, this.body.is_end_stream());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
