//! The chain of readers between a download and the archive in it. The first error of the chain is stored next
//! to it: readers only see that the reader below them failed.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use async_compression::tokio::bufread::GzipDecoder;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::{error::Error, text::one_line};

/// The first error in a chain of readers.
#[derive(Clone, Default)]
pub(super) struct FirstError(Arc<Mutex<Option<Error>>>);

impl FirstError {
    /// Stores an error unless there is one already, and returns the IO error for the reader above.
    pub(super) fn set(&self, error: Error) -> io::Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other("reading failed")
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads the compressed bytes and stores their error.
pub(super) struct CompressedReader<R> {
    pub(super) reader: R,
    pub(super) error: FirstError,
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for CompressedReader<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        match Pin::new(&mut this.reader).poll_fill_buf(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.error.set(Error::from_reader(error)))),
            other => other,
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().reader).consume(amount);
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for CompressedReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ready = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = ready.len().min(buf.remaining());
        buf.put_slice(&ready[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

/// Unpacks gzip, up to a limit.
pub(super) struct GzipReader<R> {
    gzip: GzipDecoder<R>,
    left: u64,
    limit: u64,
    error: FirstError,
}

impl<R: AsyncBufRead> GzipReader<R> {
    /// Unpacks all gzip members, at most `limit` bytes.
    pub(super) fn new(compressed: R, limit: u64, error: FirstError) -> Self {
        let mut gzip = GzipDecoder::new(compressed);
        gzip.multiple_members(true);
        Self { gzip, left: limit, limit, error }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for GzipReader<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut this.gzip).poll_read(cx, buf)) {
            // An error of the compressed bytes is stored already and wins.
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the gzip stream ends too early".to_owned(),
                _ => one_line(format!("gzip: {error}").as_bytes(), 256),
            };
            return Poll::Ready(Err(this.error.set(Error::Archive { why })));
        }
        let read = (buf.filled().len() - before) as u64;
        if read > this.left {
            let error = Error::ArchiveTooLarge { what: "the unpacked content", limit: this.limit };
            return Poll::Ready(Err(this.error.set(error)));
        }
        this.left -= read;
        Poll::Ready(Ok(()))
    }
}
