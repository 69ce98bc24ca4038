//! A layer of the cache that is read, complete or while it arrives.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::watch;

use crate::file::{self, read_chunk};

/// A layer, complete or arriving. Cheap to clone; it can still be read after its eviction.
#[derive(Clone)]
pub(in crate::server) struct CachedBlob {
    size: u64,
    progress: watch::Receiver<FetchProgress>,
}

/// How much of a layer can be read.
#[derive(Clone)]
pub(super) enum FetchProgress {
    /// Nothing yet: the fetch has not begun to write.
    Waiting,
    /// This many bytes of the file.
    Arriving(Arc<File>, u64),
    /// The whole file; its digest was verified.
    Complete(Arc<File>),
    /// Nothing more: the fetch failed.
    Failed(Arc<str>),
}

impl CachedBlob {
    pub(super) fn arriving(size: u64, progress: watch::Receiver<FetchProgress>) -> Self {
        Self { size, progress }
    }

    /// # Errors
    /// The file has another size.
    pub(super) fn complete(file: File, size: u64) -> io::Result<Self> {
        check_size(&file, size)?;
        let (_, progress) = watch::channel(FetchProgress::Complete(Arc::new(file)));
        Ok(Self { size, progress })
    }

    /// Streams the bytes as they arrive.
    pub(in crate::server) fn bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, 0), |(mut blob, from)| async move {
            loop {
                match blob.available()? {
                    // An empty layer may have failed, too.
                    Some((_, until)) if from == until && until == blob.size => return Ok(None),
                    Some((file, until)) if from < until => {
                        let chunk = read_chunk(&file, from, until, file::CHUNK).await?;
                        let next = from + chunk.len() as u64;
                        return Ok(Some((chunk, (blob, next))));
                    }
                    // The sender reports the end before it is dropped.
                    _ => blob.progress.changed().await.map_err(|_| io::Error::other("the fetch was aborted"))?,
                }
            }
        })
    }

    /// Returns the file and how many bytes of it can be read now.
    fn available(&mut self) -> io::Result<Option<(Arc<File>, u64)>> {
        match &*self.progress.borrow_and_update() {
            FetchProgress::Waiting => Ok(None),
            FetchProgress::Arriving(file, bytes) => Ok(Some((Arc::clone(file), *bytes))),
            FetchProgress::Complete(file) => check_size(file, self.size).map(|()| Some((Arc::clone(file), self.size))),
            FetchProgress::Failed(why) => Err(io::Error::other(why.to_string())),
        }
    }
}

fn check_size(file: &File, size: u64) -> io::Result<()> {
    let found = file.metadata()?.len();
    if found == size {
        return Ok(());
    }
    let why = format!("the layer has {found} bytes, its manifest says {size}");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}
