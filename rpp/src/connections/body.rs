//! The body of a response, with an observer of its frames.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
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

/// Largest frame of a body over HTTP/2. The time in which a client must read [`super::ConnectionLimits::progress_bytes`]
/// is several times the time for one frame, so that the frames show whether it reads.
const H2_FRAME: usize = 8 << 10;

/// Returns a body with the same bytes in frames of at most [`H2_FRAME`] bytes.
pub(super) fn h2_frames(body: Body) -> Body {
    Body::new(SplitBody { body, rest: Bytes::new() })
}

struct SplitBody {
    body: Body,
    /// The rest of a larger frame.
    rest: Bytes,
}

impl HttpBody for SplitBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > H2_FRAME => this.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let data = this.rest.split_to(this.rest.len().min(H2_FRAME));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
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
