//! Brings the executable of a version to the disk: downloads, verifies and unpacks the layer in one pass.

pub(crate) mod digest_log;
pub(crate) mod source;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use d8_crds::values::digest::Digest;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio_util::io::StreamReader;

use self::{
    source::{LayerSource, LayerStream},
    writer::Writer,
};
use crate::{
    disk::{self, failpoint},
    error::StoreError,
    progress::{ProgressEvent, ProgressReporter},
    request::Artifact,
};

/// How often a download tells how far it is, in bytes.
const TELL: u64 = 256 * 1024;

/// What came through: the layer's digest and the manifest, as far as they are known.
pub(crate) struct Streamed {
    pub(crate) layer: Digest,
    pub(crate) manifest: Option<Digest>,
    pub(crate) binary: Digest,
    pub(crate) size: u64,
}

pub(crate) async fn sync(path: PathBuf) -> io::Result<()> {
    let synced = tokio::task::spawn_blocking(move || disk::sync_file(&disk::open_regular(&path)?, &path));
    synced.await.map_err(io::Error::other)?
}

/// Fetches the executable and checks the layer's digest against the one expected, if one is. A body that
/// breaks is begun anew; opening one has tries of its own.
pub(crate) async fn bring<S: LayerSource>(
    binary: &Path,
    artifact: &Artifact,
    source: &S,
    watch: &dyn ProgressReporter,
) -> Result<Streamed, StoreError> {
    let mut tries = d8_rpp::Retry::new(&d8_rpp::Timeouts::default());
    let streamed = loop {
        let body = source.open(artifact).await?;
        match stream(binary, artifact, body, watch).await {
            Err(StoreError::Proxy(error)) => tries.again(error).await?,
            done => break done?,
        }
        std::fs::remove_file(binary).map_err(StoreError::io("remove", binary))?;
    };
    match artifact.expect_layer.as_ref().filter(|expected| **expected != streamed.layer) {
        None => Ok(streamed),
        Some(expected) => Err(StoreError::WrongDigest {
            name: artifact.component.clone(),
            tag: artifact.tag.clone(),
            expected: expected.clone(),
            found: streamed.layer,
        }),
    }
}

/// One pass: count, hash, inflate, untar, hash, write.
async fn stream(
    binary: &Path,
    artifact: &Artifact,
    body: LayerStream,
    watch: &dyn ProgressReporter,
) -> Result<Streamed, StoreError> {
    let LayerStream { chunks, size: total, manifest, checked } = body;
    let known = artifact.expect_layer.clone().filter(|_| checked);
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let (mut done, mut told) = (0, 0);
    let component = &artifact.component;
    let tell = |done| watch.event(ProgressEvent::Downloading { name: component, tag: &artifact.tag, done, total });
    tell(0);
    let hashed = chunks.map(|chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        failpoint::hit("stage.streaming")?;
        if known.is_none() {
            hash.lock().unwrap_or_else(PoisonError::into_inner).update(&chunk);
        }
        done += chunk.len() as u64;
        if done - told >= TELL || Some(done) == total {
            told = done;
            tell(done);
        }
        Ok::<_, io::Error>(chunk)
    });
    let mut writer = Writer::create(binary).map_err(StoreError::io("write", binary))?;
    let limits = d8_rpp::layer::Limits::default();
    let unpacked = d8_rpp::layer::unpack(StreamReader::new(hashed), component.executable(), &limits, &mut writer).await;
    match unpacked {
        Ok(_) => {}
        Err(d8_rpp::Error::Sink(source)) => return Err(StoreError::io("write", binary)(source)),
        Err(error) => return Err(error.into()),
    }
    let (digest, size) = writer.finish().await.map_err(StoreError::io("write", binary))?;
    let layer = known.unwrap_or_else(|| {
        let hash = std::mem::take(&mut *hash.lock().unwrap_or_else(PoisonError::into_inner));
        Digest::from_sha256(hash.finalize().into())
    });
    Ok(Streamed { layer, manifest, binary: digest, size })
}
