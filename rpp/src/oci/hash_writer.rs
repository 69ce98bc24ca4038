//! A writer that computes the digest of a blob.

use std::io::{self, Write};

use d8_crds::values::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Hashes and counts the bytes that are written through it.
pub(crate) struct HashWriter<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> HashWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    /// Returns the writer below, the digest of the bytes, and their number.
    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_sha256(self.hash.finalize().into()), self.count)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
