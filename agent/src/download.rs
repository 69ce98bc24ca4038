//! Downloads the executable of a version: reads, verifies, unpacks and writes the layer in one pass.

pub(crate) mod digest_log;
pub(crate) mod source;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use d8_crds::values::digest::Digest;
use d8_rpp::{AttemptError, Timeouts, layer, retry};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio_util::io::StreamReader;

use self::{
    source::{LayerSource, LayerStream},
    writer::ExecutableWriter,
};
use crate::{
    disk::{self, Checksum, failpoint},
    error::StoreError,
    progress::{ProgressEvent, ProgressReporter},
    request::Artifact,
};

/// Bytes between two progress events.
const PROGRESS_INTERVAL: u64 = 256 * 1024;

/// An executable that was downloaded, and the layer that it was in.
pub(crate) struct DownloadedExecutable {
    /// SHA-256 of the compressed layer.
    pub(crate) layer: Digest,
    /// Digest of the manifest that names the layer, if the source knows it.
    pub(crate) manifest: Option<Digest>,
    /// SHA-256 of the executable.
    pub(crate) binary: Digest,
    /// Size of the executable, in bytes.
    pub(crate) size: u64,
}

impl DownloadedExecutable {
    /// Returns the identity of the executable.
    pub(crate) fn executable(&self) -> Checksum {
        Checksum { digest: self.binary.clone(), size: self.size }
    }
}

/// Downloads the executable of an artifact to `binary`, which must not exist. Verifies the layer's digest if the
/// artifact has one. Retries a stream that breaks; the source itself retries to open it.
///
/// # Errors
/// [`StoreError::Proxy`], [`StoreError::WrongDigest`], and errors of the disk.
pub(crate) async fn download_executable<S: LayerSource>(
    binary: &Path,
    artifact: &Artifact,
    source: &S,
    reporter: &dyn ProgressReporter,
) -> Result<DownloadedExecutable, StoreError> {
    let attempt = || async move {
        let stream = source.open(artifact).await.map_err(|error| AttemptError::Permanent(error.into()))?;
        let manifest = stream.manifest.clone();
        match unpack(binary, artifact, stream, reporter).await {
            Ok(downloaded) => Ok(downloaded),
            Err(StoreError::Proxy(error)) if error.is_transient() => {
                let removed = fs::remove_file(binary).map_err(StoreError::io("remove", binary));
                removed.map_err(AttemptError::Permanent)?;
                Err(AttemptError::Transient(error.into()))
            }
            // Often the executable is in another layer than the last one.
            Err(StoreError::Proxy(d8_rpp::Error::MissingExecutable { entry, found, names, .. })) => {
                let layers = match &manifest {
                    Some(manifest) => source.count_layers(artifact, manifest).await,
                    None => None,
                };
                let error = d8_rpp::Error::MissingExecutable { entry, found, names, layers };
                Err(AttemptError::Permanent(error.into()))
            }
            Err(error) => Err(AttemptError::Permanent(error)),
        }
    };
    let downloaded = retry(&Timeouts::default(), attempt).await?;
    match artifact.expect_layer.as_ref().filter(|expected| **expected != downloaded.layer) {
        None => Ok(downloaded),
        Some(expected) => Err(StoreError::WrongDigest {
            name: artifact.component.clone(),
            tag: artifact.tag.clone(),
            expected: expected.clone(),
            found: downloaded.layer,
        }),
    }
}

/// Waits until a file is on the disk.
pub(crate) async fn sync(path: PathBuf) -> io::Result<()> {
    let synced = tokio::task::spawn_blocking(move || disk::sync_file(&disk::open_regular(&path)?, &path));
    synced.await.map_err(io::Error::other)?
}

/// Unpacks a stream to `binary` in one pass, and hashes what the source does not hash itself.
async fn unpack(
    binary: &Path,
    artifact: &Artifact,
    stream: LayerStream,
    reporter: &dyn ProgressReporter,
) -> Result<DownloadedExecutable, StoreError> {
    let LayerStream { chunks, size: total, manifest, checksum } = stream;
    let hash = checksum.is_none().then(|| Arc::new(Mutex::new(Sha256::new())));
    let (mut done, mut last_report) = (0, 0);
    let (component, tag) = (&artifact.component, &artifact.tag);
    let report = |done| reporter.report(ProgressEvent::Downloading { name: component, tag, done, total });
    report(0);
    let hashed = chunks.map(|chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        failpoint::hit("stage.streaming")?;
        if let Some(hash) = &hash {
            hash.lock().unwrap_or_else(PoisonError::into_inner).update(&chunk);
        }
        done += chunk.len() as u64;
        if done - last_report >= PROGRESS_INTERVAL || Some(done) == total {
            last_report = done;
            report(done);
        }
        Ok::<_, io::Error>(chunk)
    });
    let mut writer = ExecutableWriter::create(binary).map_err(StoreError::io("write", binary))?;
    let (reader, limits) = (StreamReader::new(hashed), layer::Limits::default());
    match layer::unpack(reader, component.executable(), &limits, &mut writer).await {
        Ok(_) => {}
        Err(d8_rpp::Error::Sink(source)) => return Err(StoreError::io("write", binary)(source)),
        Err(error) => return Err(error.into()),
    }
    let (digest, size) = writer.finish().await.map_err(StoreError::io("write", binary))?;
    let layer = match (&hash, &checksum) {
        (Some(hash), _) => {
            let hash = std::mem::take(&mut *hash.lock().unwrap_or_else(PoisonError::into_inner));
            Some(Digest::from_sha256(hash.finalize().into()))
        }
        (None, checksum) => checksum.as_ref().and_then(|checksum| checksum.digest().cloned()),
    };
    let incomplete = || d8_rpp::Error::Archive { why: "the layer was not read to its end".to_owned() };
    Ok(DownloadedExecutable { layer: layer.ok_or_else(incomplete)?, manifest, binary: digest, size })
}
