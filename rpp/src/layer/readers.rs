//! The chain of readers between a download and the archive in it. What goes wrong in one of them is
//! kept beside the chain, as the readers behind it only see that reading failed.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use async_compression::tokio::bufread::GzipDecoder;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::{error::Error, text::one_line};

/// What went wrong first, wherever in the chain of readers; those behind it only see that reading
/// failed.
#[derive(Clone, Default)]
pub(super) struct Cause(Arc<Mutex<Option<Error>>>);

impl Cause {
    pub(super) fn set(&self, error: Error) -> io::Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other("reading failed")
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The compressed bytes; keeps their error.
pub(super) struct Source<R> {
    pub(super) reader: R,
    pub(super) cause: Cause,
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Source<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        match Pin::new(&mut this.reader).poll_fill_buf(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.cause.set(Error::from_reader(error)))),
            other => other,
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().reader).consume(amount);
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Source<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ready = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = ready.len().min(buf.remaining());
        buf.put_slice(&ready[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

/// The unpacked bytes, up to the limit.
pub(super) struct Inflated<R> {
    gzip: GzipDecoder<R>,
    left: u64,
    limit: u64,
    cause: Cause,
}

impl<R: AsyncBufRead> Inflated<R> {
    /// Inflates all gzip members to at most `limit` bytes.
    pub(super) fn new(compressed: R, limit: u64, cause: Cause) -> Self {
        let mut gzip = GzipDecoder::new(compressed);
        gzip.multiple_members(true);
        Self { gzip, left: limit, limit, cause }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Inflated<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut this.gzip).poll_read(cx, buf)) {
            // If the source failed, that is known already.
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the gzip stream ends too early".to_owned(),
                _ => one_line(format!("gzip: {error}").as_bytes(), 256),
            };
            return Poll::Ready(Err(this.cause.set(Error::Archive { why })));
        }
        let read = (buf.filled().len() - before) as u64;
        if read > this.left {
            let error = Error::ArchiveTooLarge { what: "what it unpacks to", limit: this.limit };
            return Poll::Ready(Err(this.cause.set(error)));
        }
        this.left -= read;
        Poll::Ready(Ok(()))
    }
}
