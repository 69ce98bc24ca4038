//! Layers of a registry on disk, within a bound. One fetch serves all who want a layer, while it goes on
//! and after it; what was used longest ago makes room.
//!
//! The last byte of a layer is not given away before its digest was seen to be right, so that nobody
//! takes a wrong one for whole.

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

use crate::server::metrics::Metrics;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Layers fetched at a time.
const FETCHES: usize = 8;
/// What is being written has this at the front of its name.
const UNFINISHED: &str = ".filling-";

/// The bytes of a layer as the registry sends them.
pub(super) type Incoming = BoxStream<'static, io::Result<Bytes>>;

/// The folder and what is in it.
pub(super) struct Cache {
    folder: PathBuf,
    bound: u64,
    state: Mutex<State>,
    fetches: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Digest, Entry>,
    /// Of all entries, in bytes.
    total: u64,
    /// Counts uses.
    clock: u64,
}

struct Entry {
    blob: Blob,
    used: u64,
}

/// A layer, whole or on its way. Cheap to clone; it can be read on after it made room for others.
#[derive(Clone)]
pub(super) struct Blob {
    file: Arc<File>,
    size: u64,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone)]
enum Progress {
    /// So many bytes can be read.
    Filling(u64),
    Whole,
    Failed(Arc<str>),
}

impl Cache {
    /// Takes over what is there from before, up to the bound.
    pub(super) fn open(folder: &Path, bound: u64, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
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
            let (_, progress) = watch::channel(Progress::Whole);
            state.insert(digest, Blob { file: Arc::new(file), size, progress });
        }
        let cache = Self {
            folder: folder.to_owned(),
            bound,
            state: Mutex::new(state),
            fetches: Arc::new(Semaphore::new(FETCHES)),
            metrics,
        };
        cache.make_room(&mut cache.lock(), 0);
        Ok(Arc::new(cache))
    }

    /// The layer, fetched if it is not here: `fetch` opens it at the registry.
    pub(super) fn get(
        self: &Arc<Self>,
        digest: &Digest,
        size: u64,
        fetch: impl FnOnce() -> BoxFuture<'static, io::Result<Incoming>>,
    ) -> io::Result<Blob> {
        let mut state = self.lock();
        // What was left from before and has another length was damaged.
        if let Some(blob) = state.use_again(digest).filter(|blob| blob.size == size) {
            self.metrics.cache_hits.inc();
            return Ok(blob);
        }
        self.metrics.cache_misses.inc();
        self.make_room(&mut state, size);
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        let (progress, watching) = watch::channel(Progress::Filling(0));
        let blob = Blob { file: Arc::new(file.reopen()?), size, progress: watching };
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
        incoming: BoxFuture<'static, io::Result<Incoming>>,
        progress: &watch::Sender<Progress>,
    ) {
        let result = async {
            // Never closed.
            let _turn = self.fetches.acquire().await;
            let file = write(incoming.await?, file, &digest, size, progress).await?;
            let path = self.path(&digest);
            tokio::task::spawn_blocking(move || file.persist(path).map_err(|error| error.error)).await?
        };
        match result.await {
            Ok(_) => {
                progress.send_replace(Progress::Whole);
                // A layer larger than the whole cache is only passed through.
                self.make_room(&mut self.lock(), 0);
            }
            Err(error) => {
                tracing::error!(%digest, %error, "a layer could not be fetched");
                // Whoever comes from here on fetches it anew; those who wait are told after that.
                let mut state = self.lock();
                state.remove(&digest);
                self.make_room(&mut state, 0);
                drop(state);
                progress.send_replace(Progress::Failed(error.to_string().into()));
            }
        }
    }

    /// Removes what was used longest ago until so many bytes more would fit. What is on its way stays.
    fn make_room(&self, state: &mut State, more: u64) {
        while state.total.saturating_add(more) > self.bound {
            let whole = state.entries.iter().filter(|(_, entry)| entry.blob.is_whole());
            let Some(oldest) = whole.min_by_key(|(_, entry)| entry.used).map(|(digest, _)| digest.clone()) else {
                break;
            };
            state.remove(&oldest);
            self.metrics.cache_evictions.inc();
            if let Err(error) = std::fs::remove_file(self.path(&oldest)) {
                tracing::warn!(digest = %oldest, %error, "a layer could not be removed");
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
    fn insert(&mut self, digest: Digest, blob: Blob) {
        self.remove(&digest);
        self.clock += 1;
        self.total += blob.size;
        self.entries.insert(digest, Entry { blob, used: self.clock });
    }

    fn use_again(&mut self, digest: &Digest) -> Option<Blob> {
        let entry = self.entries.get_mut(digest)?;
        self.clock += 1;
        entry.used = self.clock;
        Some(entry.blob.clone())
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.remove(digest) {
            self.total -= entry.blob.size;
        }
    }
}

/// Writes what comes, as it comes; refuses what has another length or digest.
async fn write(
    mut incoming: Incoming,
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
            return Err(io::Error::other(format!("it is longer than the {size} bytes its manifest says")));
        }
        let writer = Arc::clone(&writer);
        tokio::task::spawn_blocking(move || io::Write::write_all(&mut &*writer, &chunk)).await??;
        progress.send_replace(Progress::Filling(written.min(size.saturating_sub(1))));
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

impl Blob {
    fn is_whole(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Whole)
    }

    /// Its bytes, as they come.
    pub(super) fn bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, 0), |(mut blob, from)| async move {
            if from == blob.size {
                // Of an empty layer, too, it is to be known whether it is one.
                return blob.available().map(|_| None);
            }
            let mut until = blob.available()?;
            while until <= from {
                // The sender goes only after it has said how it ended.
                blob.progress.changed().await.map_err(|_| io::Error::other("fetching it was given up"))?;
                until = blob.available()?;
            }
            let length = usize::try_from(until - from).map_or(CHUNK, |left| left.min(CHUNK));
            let file = Arc::clone(&blob.file);
            let chunk = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt as _;
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, from).map(|()| chunk)
            });
            Ok(Some((Bytes::from(chunk.await??), (blob, from + length as u64))))
        })
    }

    /// How many bytes can be read now.
    fn available(&mut self) -> io::Result<u64> {
        match &*self.progress.borrow_and_update() {
            Progress::Filling(available) => Ok(*available),
            Progress::Whole => Ok(self.size),
            Progress::Failed(why) => Err(io::Error::other(why.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
