//! Caches layers of a registry on disk, up to a size. One fetch serves all requests for a layer, while it runs
//! and afterwards. The least recently used layers are evicted.
//!
//! The last byte of a layer is sent only after its digest was verified, so a client never receives a wrong layer
//! completely. A name or a length proves nothing: a file from an earlier process is hashed before its first use, and
//! a length in a manifest evicts nothing before bytes arrive.

mod blob;
mod directory;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use d8_crds::values::digest::Digest;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};

pub(super) use self::blob::CachedBlob;
use self::{blob::FetchProgress, directory::CacheDirectory};
use super::metrics::Metrics;
use crate::{file::FileVersion, oci::hash_writer::HashWriter};

/// Layers that are fetched at the same time.
const CONCURRENT_FETCHES: usize = 8;

/// The bytes of a layer as the registry sends them.
pub(super) type BlobStream = BoxStream<'static, io::Result<Bytes>>;
/// A layer that is being opened at the registry.
type Incoming = BoxFuture<'static, io::Result<BlobStream>>;

/// The directory with the layers, and an index of it.
pub(super) struct Cache {
    directory: CacheDirectory,
    /// Size of all layers, in bytes.
    max_bytes: u64,
    state: Mutex<State>,
    fetches: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    stored: HashMap<Digest, Stored>,
    /// Layers that are being fetched or hashed, by the digest and the size that a manifest declares.
    arriving: HashMap<(Digest, u64), CachedBlob>,
    /// Bytes on disk, of stored and of arriving layers.
    total: u64,
    /// Number of uses so far.
    uses: u64,
}

/// A layer on disk.
struct Stored {
    size: u64,
    /// The file whose content was verified; absent: no file was.
    verified: Option<FileVersion>,
    /// The value of [`State::uses`] at the last use.
    last_use: u64,
}

/// A layer that is being fetched or hashed.
struct Fetch {
    digest: Digest,
    size: u64,
    progress: watch::Sender<FetchProgress>,
    /// A stored file that was not verified yet.
    unverified: Option<File>,
}

impl Cache {
    /// Opens the cache in a directory and indexes the layers in it. Evicts layers beyond the size.
    pub(super) fn open(directory: &Path, max_bytes: u64, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let directory = CacheDirectory::open(directory)?;
        let mut state = State::default();
        for (digest, size) in directory.layers()? {
            state.store(digest, size, None);
        }
        let fetches = Arc::new(Semaphore::new(CONCURRENT_FETCHES));
        let cache = Self { directory, max_bytes, state: Mutex::new(state), fetches, metrics };
        cache.evict(&mut cache.lock());
        Ok(Arc::new(cache))
    }

    /// Returns a layer. Fetches it if it is not in the cache; `fetch` opens it at the registry.
    ///
    /// # Errors
    /// The layer is stored, and `size` is not its size.
    pub(super) fn get(
        self: &Arc<Self>,
        digest: &Digest,
        size: u64,
        fetch: impl FnOnce() -> Incoming,
    ) -> io::Result<CachedBlob> {
        let mut state = self.lock();
        let key = (digest.clone(), size);
        if let Some(blob) = state.arriving.get(&key) {
            self.metrics.cache_hits.inc();
            return Ok(blob.clone());
        }
        let stored = state.touch(digest).and_then(|stored| {
            let file = self.directory.open_layer(digest).ok()?;
            let version = FileVersion::of_file(&file).ok()?;
            Some((file, stored.verified == Some(version)))
        });
        let unverified = match stored {
            Some((file, true)) => {
                self.metrics.cache_hits.inc();
                return CachedBlob::complete(file, size);
            }
            Some((file, false)) => Some(file),
            None => {
                state.forget(digest);
                None
            }
        };
        self.metrics.cache_misses.inc();
        let (progress, watching) = watch::channel(FetchProgress::Waiting);
        let blob = CachedBlob::arriving(size, watching);
        state.arriving.insert(key, blob.clone());
        drop(state);
        let (cache, incoming) = (Arc::clone(self), fetch());
        let fetch = Fetch { digest: digest.clone(), size, progress, unverified };
        tokio::spawn(async move { cache.fill(fetch, incoming).await });
        Ok(blob)
    }

    /// Completes a layer: from a stored file if its content is right, else from the registry.
    async fn fill(&self, mut fetch: Fetch, incoming: Incoming) {
        let result = match self.verify(&mut fetch).await {
            Some(verified) => Ok(verified),
            None => self.fetch(&fetch, incoming).await,
        };
        let Fetch { digest, size, progress, .. } = fetch;
        let mut state = self.lock();
        state.arriving.remove(&(digest.clone(), size));
        if let (Ok((_, version)), Some(stored)) = (&result, state.stored.get_mut(&digest)) {
            stored.verified = Some(*version);
        }
        drop(state);
        // Later requests fetch it again. The waiting ones get the error after that.
        progress.send_replace(match result {
            Ok((file, _)) => FetchProgress::Complete(Arc::new(file)),
            Err(error) => {
                tracing::error!(%digest, %error, "fetching a layer failed");
                FetchProgress::Failed(error.to_string().into())
            }
        });
    }

    /// Hashes the stored file of a layer, if there is one. Returns it if its content is right, else removes it.
    async fn verify(&self, fetch: &mut Fetch) -> Option<(File, FileVersion)> {
        let file = fetch.unverified.take()?;
        // Taken before the file is read: a change in between is then found by the next request.
        if let Ok(version) = FileVersion::of_file(&file)
            && is_layer(&file, &fetch.digest).await
        {
            return Some((file, version));
        }
        tracing::warn!(digest = %fetch.digest, "a cached layer is damaged and is fetched again");
        self.lock().forget(&fetch.digest);
        if let Err(error) = self.directory.remove(&fetch.digest) {
            tracing::warn!(digest = %fetch.digest, %error, "removing a damaged layer failed");
        }
        None
    }

    /// Fetches a layer and stores it, unless it is larger than the whole cache. Returns the verified file.
    async fn fetch(&self, fetch: &Fetch, incoming: Incoming) -> io::Result<(File, FileVersion)> {
        // The semaphore is never closed.
        let _permit = self.fetches.acquire().await;
        let file = self.directory.new_file()?;
        let reading = Arc::new(file.reopen()?);
        let is_kept = fetch.size <= self.max_bytes;
        let mut arrived = 0;
        let mut on_bytes = |until: u64| {
            if is_kept {
                let mut state = self.lock();
                state.total += until - arrived;
                arrived = until;
                self.evict(&mut state);
            }
            let ready = until.min(fetch.size.saturating_sub(1));
            if ready > 0 {
                fetch.progress.send_replace(FetchProgress::Arriving(Arc::clone(&reading), ready));
            }
        };
        let written = write(incoming.await?, Arc::clone(&reading), &fetch.digest, fetch.size, &mut on_bytes).await;
        let kept = match written {
            Ok(()) if is_kept => self.directory.keep(file, &fetch.digest).await.map(Some),
            Ok(()) => Ok(None),
            Err(error) => Err(error),
        };
        let mut state = self.lock();
        state.total -= arrived;
        match kept {
            Ok(Some(())) => state.store(fetch.digest.clone(), fetch.size, None),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        self.evict(&mut state);
        drop(state);
        let version = FileVersion::of_file(&reading)?;
        Ok((reading.try_clone()?, version))
    }

    /// Evicts the least recently used layers until all bytes fit.
    fn evict(&self, state: &mut State) {
        while state.total > self.max_bytes {
            let oldest = state.stored.iter().min_by_key(|(_, stored)| stored.last_use);
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else { break };
            state.forget(&oldest);
            self.metrics.cache_evictions.inc();
            if let Err(error) = self.directory.remove(&oldest) {
                tracing::warn!(digest = %oldest, %error, "removing an evicted layer failed");
            }
        }
        self.metrics.cache_bytes.set(i64::try_from(state.total).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn store(&mut self, digest: Digest, size: u64, verified: Option<FileVersion>) {
        self.forget(&digest);
        self.uses += 1;
        self.total += size;
        self.stored.insert(digest, Stored { size, verified, last_use: self.uses });
    }

    /// Returns a stored layer, and marks it as used.
    fn touch(&mut self, digest: &Digest) -> Option<&Stored> {
        let stored = self.stored.get_mut(digest)?;
        self.uses += 1;
        stored.last_use = self.uses;
        Some(stored)
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(stored) = self.stored.remove(digest) {
            self.total -= stored.size;
        }
    }
}

/// Writes the bytes as they arrive. Fails if their length or digest is wrong.
async fn write(
    mut incoming: BlobStream,
    file: Arc<File>,
    digest: &Digest,
    size: u64,
    on_bytes: &mut impl FnMut(u64),
) -> io::Result<()> {
    let mut hash = Sha256::new();
    let mut written = 0;
    while let Some(chunk) = incoming.next().await {
        let chunk = chunk?;
        hash.update(&chunk);
        written += chunk.len() as u64;
        if written > size {
            return Err(io::Error::other(format!("it is longer than the {size} bytes in its manifest")));
        }
        let writer = Arc::clone(&file);
        tokio::task::spawn_blocking(move || io::Write::write_all(&mut &*writer, &chunk)).await??;
        on_bytes(written);
    }
    if written != size {
        return Err(io::Error::other(format!("it has {written} of {size} bytes")));
    }
    let found = Digest::from_sha256(hash.finalize().into());
    if found != *digest {
        return Err(io::Error::other(format!("it has digest {found}")));
    }
    Ok(())
}

/// Returns whether a file has this digest.
async fn is_layer(file: &File, digest: &Digest) -> bool {
    let Ok(mut file) = file.try_clone() else { return false };
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hash = HashWriter::new(io::sink());
        io::copy(&mut file, &mut hash).map(|_| hash.finish().1)
    });
    matches!(hashed.await, Ok(Ok(found)) if found == *digest)
}

#[cfg(test)]
mod tests;
