//! From the source to a complete, verified, tested version in the staging directory.

use std::path::{Path, PathBuf};

use d8_crds::values::{
    name::{PluginName, Tag},
    version::Version,
};

use crate::{
    disk::{self, failpoint},
    download::{self, digest_log, source::LayerSource},
    error::StoreError,
    install_root::version_dir,
    progress::{ProgressEvent, ProgressReporter},
    receipt::{Receipt, Verified},
    request::InstallRequest,
    smoke,
    store::LockedStore,
};

/// A version that is complete, verified, tested and on the disk, and not yet in the store.
#[derive(Debug)]
pub struct StagedVersion {
    pub(super) name: PluginName,
    pub(super) receipt: Receipt,
    pub(super) version: Version,
    pub(super) dir: PathBuf,
    pub(super) force: bool,
}

impl StagedVersion {
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

impl LockedStore {
    /// Streams the bytes of an order into the staging directory, verifies and tests them. May run for
    /// several orders at once. Nothing outside the staging directory is touched, and a failure or a
    /// dropped future leaves nothing there either once the locks are given back.
    ///
    /// # Errors
    /// [`StoreError::Proxy`], [`StoreError::WrongDigest`], [`StoreError::Moved`], [`StoreError::Smoke`],
    /// and what the disk refuses.
    pub async fn stage<S: LayerSource>(
        &self,
        order: InstallRequest,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<StagedVersion, StoreError> {
        self.check(&order.name)?;
        let version = Version::parse(order.tag.as_str())
            .map_err(|_| StoreError::NotAVersion { name: order.name.clone().into(), tag: order.tag.clone() })?;
        if let Some(expected) = &order.expect_layer {
            digest_log::not_moved(
                &self.store.layout.memory(),
                &order.artifact(),
                &version,
                expected,
                order.accept.as_ref(),
            )?;
        }
        let dir = self.staging_dir().join(format!("{}-{}", order.name, disk::random_name()));
        disk::make_dir(&dir).map_err(|error| self.store.refused(error))?;
        let staged = self.fill(&dir, order, version, source, reporter).await;
        if staged.is_err() {
            let _ = disk::remove_tree(&dir);
        }
        staged
    }

    async fn fill<S: LayerSource>(
        &self,
        dir: &Path,
        order: InstallRequest,
        version: Version,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<StagedVersion, StoreError> {
        failpoint::hit("stage.begun").map_err(StoreError::io("write", dir))?;
        let binary = dir.join(order.name.as_str());
        let downloaded = download::download_executable(&binary, &order.artifact(), source, reporter).await?;
        failpoint::hit("stage.streamed").map_err(StoreError::io("write", dir))?;
        digest_log::not_moved(
            &self.store.layout.memory(),
            &order.artifact(),
            &version,
            &downloaded.layer,
            order.accept.as_ref(),
        )?;
        // The disk takes the bytes while they are being tested; the test needs no write descriptor.
        let (synced, tested) =
            tokio::join!(download::sync(binary.clone()), self.test(&binary, &order.name, &order.tag, reporter));
        tested?;
        synced.map_err(StoreError::io("write", &binary))?;
        failpoint::hit("stage.tested").map_err(StoreError::io("write", dir))?;
        let receipt = Receipt {
            layer: Some(downloaded.layer),
            manifest: order.manifest.or(downloaded.manifest),
            binary: downloaded.binary,
            size: downloaded.size,
            verified: if order.expect_layer.is_some() { Verified::Digest } else { Verified::Transport },
            name: order.name.clone().into(),
            tag: order.tag,
            platform: order.platform,
            source: order.source,
            time: order.now,
            skipped_cluster_checks: order.skipped_cluster_checks,
        };
        version_dir::complete(dir, Some(&order.contract), &receipt)?;
        failpoint::hit("stage.complete").map_err(StoreError::io("write", dir))?;
        Ok(StagedVersion { name: order.name, receipt, version, dir: dir.to_owned(), force: order.force })
    }

    /// The smoke test.
    pub(super) async fn test(
        &self,
        binary: &Path,
        name: &PluginName,
        tag: &Tag,
        reporter: &dyn ProgressReporter,
    ) -> Result<(), StoreError> {
        let Some(sandbox) = &self.store.sandbox else { return Ok(()) };
        reporter.report(ProgressEvent::Testing { name: &name.clone().into(), tag });
        sandbox
            .test(binary, name.as_str(), smoke::PLUGIN_TIMEOUT, self.staging_dir())
            .await
            .map(|_| ())
            .map_err(|failure| StoreError::Smoke { name: name.clone().into(), tag: tag.clone(), failure })
    }
}
