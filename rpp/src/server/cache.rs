//! Caches layers of a registry on disk, up to a size. One fetch serves all requests for a layer, while it runs
//! and afterwards. The least recently used layers are evicted.
//!
//! The last byte of a layer is sent only after its digest was verified, so a client never receives a wrong layer
//! completely.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use d8_crds::values::digest::Digest;
use futures::{Stream, StreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::{Semaphore, watch};

use super::metrics::Metrics;
use crate::file::{self, read_chunk};

/// Layers that are fetched at the same time.
const CONCURRENT_FETCHES: usize = 8;
/// Prefix of the names of unfinished files.
const UNFINISHED: &str = ".filling-";

/// The bytes of a layer as the registry sends them.
pub(super) type BlobStream = BoxStream<'static, io::Result<Bytes>>;

/// The folder with the layers, and an index of it.
pub(super) struct Cache {
    folder: PathBuf,
    /// Size of all layers, in bytes.
    max_bytes: u64,
    state: Mutex<State>,
    fetches: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Digest, Entry>,
    /// Size of all entries, in bytes.
    total: u64,
    /// Number of uses so far.
    uses: u64,
}

struct Entry {
    blob: CachedBlob,
    /// The value of [`State::uses`] at the last use.
    last_use: u64,
}

/// A layer, complete or being fetched. Cheap to clone; it can still be read after its eviction.
#[derive(Clone)]
pub(super) struct CachedBlob {
    file: Arc<File>,
    size: u64,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone)]
enum Progress {
    /// This many bytes can be read.
    Fetching(u64),
    Complete,
    Failed(Arc<str>),
}

impl Cache {
    /// Opens the folder and indexes the layers in it. Evicts layers beyond the size.
    pub(super) fn open(folder: &Path, max_bytes: u64, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(folder)?;
        let mut state = State::default();
        let mut found: Vec<_> = std::fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        found.sort_by_cached_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
        for entry in found {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
                continue;
            }
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
            let file = File::open(entry.path())?;
            let size = file.metadata()?.len();
            let (_, progress) = watch::channel(Progress::Complete);
            state.insert(digest, CachedBlob { file: Arc::new(file), size, progress });
        }
        let cache = Self {
            folder: folder.to_owned(),
            max_bytes,
            state: Mutex::new(state),
            fetches: Arc::new(Semaphore::new(CONCURRENT_FETCHES)),
            metrics,
        };
        cache.make_room(&mut cache.lock(), 0);
        Ok(Arc::new(cache))
    }

    /// Returns a layer. Fetches it if it is not in the cache; `fetch` opens it at the registry.
    pub(super) fn get(
        self: &Arc<Self>,
        digest: &Digest,
        size: u64,
        fetch: impl FnOnce() -> BoxFuture<'static, io::Result<BlobStream>>,
    ) -> io::Result<CachedBlob> {
        let mut state = self.lock();
        // A file of another size is damaged.
        if let Some(blob) = state.touch(digest).filter(|blob| blob.size == size) {
            self.metrics.cache_hits.inc();
            return Ok(blob);
        }
        self.metrics.cache_misses.inc();
        self.make_room(&mut state, size);
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        let (progress, watching) = watch::channel(Progress::Fetching(0));
        let blob = CachedBlob { file: Arc::new(file.reopen()?), size, progress: watching };
        state.insert(digest.clone(), blob.clone());
        self.metrics.cache_bytes.set(i64::try_from(state.total).unwrap_or(i64::MAX));
        drop(state);
        let (cache, digest, incoming) = (Arc::clone(self), digest.clone(), fetch());
        tokio::spawn(async move { cache.fill(digest, size, file, incoming, &progress).await });
        Ok(blob)
    }

    async fn fill(
        &self,
        digest: Digest,
        size: u64,
        file: NamedTempFile,
        incoming: BoxFuture<'static, io::Result<BlobStream>>,
        progress: &watch::Sender<Progress>,
    ) {
        let result = async {
            // The semaphore is never closed.
            let _permit = self.fetches.acquire().await;
            let file = write(incoming.await?, file, &digest, size, progress).await?;
            let path = self.path(&digest);
            tokio::task::spawn_blocking(move || file.persist(path).map_err(|error| error.error)).await?
        };
        match result.await {
            Ok(_) => {
                progress.send_replace(Progress::Complete);
                // Evicts a layer that is larger than the whole cache.
                self.make_room(&mut self.lock(), 0);
            }
            Err(error) => {
                tracing::error!(%digest, %error, "fetching a layer failed");
                // Later requests fetch it again. The waiting ones get the error after that.
                let mut state = self.lock();
                state.remove(&digest);
                self.make_room(&mut state, 0);
                drop(state);
                progress.send_replace(Progress::Failed(error.to_string().into()));
            }
        }
    }

    /// Evicts the least recently used layers until `more` bytes fit. Layers that are being fetched stay.
    fn make_room(&self, state: &mut State, more: u64) {
        while state.total.saturating_add(more) > self.max_bytes {
            let complete = state.entries.iter().filter(|(_, entry)| entry.blob.is_complete());
            let Some(oldest) = complete.min_by_key(|(_, entry)| entry.last_use).map(|(digest, _)| digest.clone())
            else {
                break;
            };
            state.remove(&oldest);
            self.metrics.cache_evictions.inc();
            if let Err(error) = std::fs::remove_file(self.path(&oldest)) {
                tracing::warn!(digest = %oldest, %error, "removing an evicted layer failed");
            }
        }
        self.metrics.cache_bytes.set(i64::try_from(state.total).unwrap_or(i64::MAX));
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.as_str().trim_start_matches("sha256:"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, digest: Digest, blob: CachedBlob) {
        self.remove(&digest);
        self.uses += 1;
        self.total += blob.size;
        self.entries.insert(digest, Entry { blob, last_use: self.uses });
    }

    fn touch(&mut self, digest: &Digest) -> Option<CachedBlob> {
        let entry = self.entries.get_mut(digest)?;
        self.uses += 1;
        entry.last_use = self.uses;
        Some(entry.blob.clone())
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.remove(digest) {
            self.total -= entry.blob.size;
        }
    }
}

/// Writes the bytes as they arrive. Fails if their length or digest is wrong.
async fn write(
    mut incoming: BlobStream,
    file: NamedTempFile,
    digest: &Digest,
    size: u64,
    progress: &watch::Sender<Progress>,
) -> io::Result<NamedTempFile> {
    let mut hash = Sha256::new();
    let mut written = 0;
    let writer = Arc::new(file.reopen()?);
    while let Some(chunk) = incoming.next().await {
        let chunk = chunk?;
        hash.update(&chunk);
        written += chunk.len() as u64;
        if written > size {
            return Err(io::Error::other(format!("it is longer than the {size} bytes in its manifest")));
        }
        let writer = Arc::clone(&writer);
        tokio::task::spawn_blocking(move || io::Write::write_all(&mut &*writer, &chunk)).await??;
        progress.send_replace(Progress::Fetching(written.min(size.saturating_sub(1))));
    }
    if written != size {
        return Err(io::Error::other(format!("it has {written} of {size} bytes")));
    }
    let found = Digest::from_sha256(hash.finalize().into());
    if found != *digest {
        return Err(io::Error::other(format!("it has digest {found}")));
    }
    Ok(file)
}

impl CachedBlob {
    fn is_complete(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Complete)
    }

    /// Streams the bytes as they arrive.
    pub(super) fn bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, 0), |(mut blob, from)| async move {
            if from == blob.size {
                // An empty layer may have failed, too.
                return blob.available().map(|_| None);
            }
            let mut until = blob.available()?;
            while until <= from {
                // The sender reports the end before it is dropped.
                blob.progress.changed().await.map_err(|_| io::Error::other("the fetch was aborted"))?;
                until = blob.available()?;
            }
            let chunk = read_chunk(&blob.file, from, until, file::CHUNK).await?;
            let next = from + chunk.len() as u64;
            Ok(Some((chunk, (blob, next))))
        })
    }

    /// Returns how many bytes can be read now.
    fn available(&mut self) -> io::Result<u64> {
        match &*self.progress.borrow_and_update() {
            Progress::Fetching(available) => Ok(*available),
            Progress::Complete => Ok(self.size),
            Progress::Failed(why) => Err(io::Error::other(why.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
