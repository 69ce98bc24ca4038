//! From the source to a complete, verified, tested version in the staging directory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{PluginName, Tag},
        version::Version,
    },
};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio_util::io::StreamReader;

use super::{
    Locked,
    layout::{CONTRACT, RECEIPT},
    memory,
    writer::Writer,
};
use crate::{
    disk,
    error::StoreError,
    failpoint,
    order::{Artifact, Order},
    progress::{Event, Watch},
    receipt::{Receipt, Verified},
    smoke,
    source::{Body, Source},
};

/// How often a download tells how far it is, in bytes.
const TELL: u64 = 256 * 1024;

/// A version that is complete, verified, tested and on the disk, and not yet in the store.
#[derive(Debug)]
pub struct Staged {
    pub(super) name: PluginName,
    pub(super) receipt: Receipt,
    pub(super) version: Version,
    pub(super) dir: PathBuf,
    pub(super) force: bool,
}

impl Staged {
    /// The plugin.
    pub fn name(&self) -> &PluginName {
        &self.name
    }

    /// The version.
    pub fn tag(&self) -> &Tag {
        &self.receipt.tag
    }

    /// The receipt it will have.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What came through: the layer's digest and the manifest, as far as they are known.
pub(crate) struct Streamed {
    pub(crate) layer: Digest,
    pub(crate) manifest: Option<Digest>,
    pub(crate) binary: Digest,
    pub(crate) size: u64,
}

impl Locked {
    /// Streams the bytes of an order into the staging directory, verifies and tests them. May run for
    /// several orders at once. Nothing outside the staging directory is touched, and a failure or a
    /// dropped future leaves nothing there either once the locks are given back.
    ///
    /// # Errors
    /// [`StoreError::Source`], [`StoreError::WrongDigest`], [`StoreError::Moved`], [`StoreError::Smoke`],
    /// and what the disk refuses.
    pub async fn stage<S: Source>(&self, order: Order, source: &S, watch: &dyn Watch) -> Result<Staged, StoreError> {
        self.check(&order.name)?;
        let version = Version::parse(order.tag.as_str())
            .map_err(|_| StoreError::NotAVersion { name: order.name.clone().into(), tag: order.tag.clone() })?;
        if let Some(expected) = &order.expect_layer {
            memory::not_moved(
                &self.store.layout.memory(),
                &order.artifact(),
                &version,
                expected,
                order.accept.as_ref(),
            )?;
        }
        let dir = self.staging_dir().join(format!("{}-{}", order.name, disk::random_name()));
        disk::make_dir(&dir).map_err(|error| self.store.refused(error))?;
        let staged = self.fill(&dir, order, version, source, watch).await;
        if staged.is_err() {
            let _ = disk::remove_tree(&dir);
        }
        staged
    }

    async fn fill<S: Source>(
        &self,
        dir: &Path,
        order: Order,
        version: Version,
        source: &S,
        watch: &dyn Watch,
    ) -> Result<Staged, StoreError> {
        failpoint::hit("stage.begun").map_err(StoreError::io("write", dir))?;
        let binary = dir.join(order.name.as_str());
        let streamed = bring(&binary, &order.artifact(), source, watch).await?;
        failpoint::hit("stage.streamed").map_err(StoreError::io("write", dir))?;
        memory::not_moved(
            &self.store.layout.memory(),
            &order.artifact(),
            &version,
            &streamed.layer,
            order.accept.as_ref(),
        )?;
        // The disk takes the bytes while they are being tested; the test needs no write descriptor.
        let (synced, tested) = tokio::join!(sync(binary.clone()), self.test(&binary, &order.name, &order.tag, watch));
        tested?;
        synced.map_err(StoreError::io("write", &binary))?;
        failpoint::hit("stage.tested").map_err(StoreError::io("write", dir))?;
        let receipt = Receipt {
            layer: Some(streamed.layer),
            manifest: order.manifest.or(streamed.manifest),
            binary: streamed.binary,
            size: streamed.size,
            verified: if order.expect_layer.is_some() { Verified::Digest } else { Verified::Transport },
            name: order.name.clone().into(),
            tag: order.tag,
            platform: order.platform,
            source: order.source,
            time: order.now,
            skipped_cluster_checks: order.skipped_cluster_checks,
        };
        complete(dir, Some(&order.contract), &receipt)?;
        failpoint::hit("stage.complete").map_err(StoreError::io("write", dir))?;
        Ok(Staged { name: order.name, receipt, version, dir: dir.to_owned(), force: order.force })
    }

    /// The smoke test.
    pub(super) async fn test(
        &self,
        binary: &Path,
        name: &PluginName,
        tag: &Tag,
        watch: &dyn Watch,
    ) -> Result<(), StoreError> {
        let Some(sandbox) = &self.store.sandbox else { return Ok(()) };
        watch.event(Event::Testing { name: &name.clone().into(), tag });
        sandbox
            .test(binary, name.as_str(), smoke::PLUGIN_TIMEOUT, self.staging_dir())
            .await
            .map(|_| ())
            .map_err(|failure| StoreError::Smoke { name: name.clone().into(), tag: tag.clone(), failure })
    }
}

/// Contract and receipt beside the executable, and all of it on the disk.
pub(crate) fn complete(dir: &Path, contract: Option<&Contract>, receipt: &Receipt) -> Result<(), StoreError> {
    if let Some(contract) = contract {
        let path = dir.join(CONTRACT);
        disk::write_new(&path, contract.to_json().as_bytes(), disk::PLAIN).map_err(StoreError::io("write", path))?;
    }
    let path = dir.join(RECEIPT);
    let json = serde_json::to_vec_pretty(receipt).map_err(|error| StoreError::io("write", &path)(error.into()))?;
    disk::write_new(&path, &json, disk::PLAIN).map_err(StoreError::io("write", path))?;
    disk::sync_dir(dir).map_err(StoreError::io("write", dir))
}

pub(crate) async fn sync(path: PathBuf) -> io::Result<()> {
    let synced = tokio::task::spawn_blocking(move || disk::sync_file(&disk::open_regular(&path)?, &path));
    synced.await.map_err(io::Error::other)?
}

/// Fetches the executable and checks the layer's digest against the one expected, if one is. A body that
/// breaks is begun anew; opening one has tries of its own.
pub(crate) async fn bring<S: Source>(
    binary: &Path,
    artifact: &Artifact,
    source: &S,
    watch: &dyn Watch,
) -> Result<Streamed, StoreError> {
    let mut tries = d8_rpp::Retry::new(&d8_rpp::Timeouts::default());
    let streamed = loop {
        let body = source.open(artifact).await?;
        match stream(binary, artifact, body, watch).await {
            Err(StoreError::Source(error)) => tries.again(error).await?,
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
async fn stream(binary: &Path, artifact: &Artifact, body: Body, watch: &dyn Watch) -> Result<Streamed, StoreError> {
    let Body { chunks, size: total, manifest, checked } = body;
    let known = artifact.expect_layer.clone().filter(|_| checked);
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let (mut done, mut told) = (0, 0);
    let component = &artifact.component;
    let tell = |done| watch.event(Event::Downloading { name: component, tag: &artifact.tag, done, total });
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
