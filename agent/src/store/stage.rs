//! Stages versions: downloads, verifies, tests and completes them in the staging directory.

use std::path::{Path, PathBuf};

use d8_crds::values::{
    name::{PluginName, Tag},
    version::Version,
};

use super::LockedStore;
use crate::{
    disk::{self, Checksum, failpoint},
    download::{self, digest_log, source::LayerSource},
    error::StoreError,
    install_root::version_dir,
    progress::{ProgressEvent, ProgressReporter},
    receipt::{Receipt, Verified},
    request::InstallRequest,
    smoke::{self, Subject},
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
    /// Returns the name of the plugin.
    pub fn name(&self) -> &PluginName {
        &self.name
    }

    /// Tag of the version.
    pub fn tag(&self) -> &Tag {
        &self.receipt.tag
    }

    /// Returns the receipt that the version will have.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

impl LockedStore {
    /// Downloads a version into the staging directory, verifies and tests it. May run for several requests at the same
    /// time. Changes nothing outside of the staging directory. After a failure or a dropped future nothing is left
    /// there once the locks are released.
    ///
    /// # Errors
    /// [`StoreError::Proxy`], [`StoreError::WrongDigest`], [`StoreError::Moved`], [`StoreError::Smoke`], and errors of
    /// the disk.
    pub async fn stage<S: LayerSource>(
        &self,
        request: InstallRequest,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<StagedVersion, StoreError> {
        self.check_lock(&request.name)?;
        let version = Version::parse(request.tag.as_str())
            .map_err(|_| StoreError::NotAVersion { name: request.name.clone().into(), tag: request.tag.clone() })?;
        if let Some(expected) = &request.expect_layer {
            let log = self.store.layout.digest_log();
            digest_log::check(&log, &request.artifact(), &version, expected, request.accept.as_ref())?;
        }
        let dir = self.staging_dir().join(format!("{}-{}", request.name, disk::random_name()));
        disk::make_dir(&dir).map_err(|error| StoreError::refused_write(self.store.root(), error))?;
        let staged = self.fill(&dir, request, version, source, reporter).await;
        if staged.is_err() {
            let _ = disk::remove_tree(&dir);
        }
        staged
    }

    async fn fill<S: LayerSource>(
        &self,
        dir: &Path,
        request: InstallRequest,
        version: Version,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<StagedVersion, StoreError> {
        failpoint::hit("stage.begun").map_err(StoreError::io("write", dir))?;
        let (binary, artifact) = (dir.join(request.name.as_str()), request.artifact());
        let downloaded = download::download_executable(&binary, &artifact, source, reporter).await?;
        failpoint::hit("stage.streamed").map_err(StoreError::io("write", dir))?;
        let log = self.store.layout.digest_log();
        digest_log::check(&log, &artifact, &version, &downloaded.layer, request.accept.as_ref())?;
        // The file is synced while it is being tested. Neither needs a write descriptor.
        let (synced, tested) = tokio::join!(
            download::sync(binary.clone()),
            self.smoke_test(&binary, downloaded.executable(), &request.name, &request.tag, reporter)
        );
        tested?;
        synced.map_err(StoreError::io("write", &binary))?;
        failpoint::hit("stage.tested").map_err(StoreError::io("write", dir))?;
        let receipt = Receipt {
            layer: Some(downloaded.layer),
            manifest: request.manifest.or(downloaded.manifest),
            binary: downloaded.binary,
            size: downloaded.size,
            modified: disk::modified_at(&binary),
            verified: if request.expect_layer.is_some() { Verified::Digest } else { Verified::Transport },
            name: request.name.clone().into(),
            tag: request.tag,
            platform: request.platform,
            source: request.source,
            time: request.now,
            skipped_cluster_checks: request.skipped_cluster_checks,
            capabilities: None,
        };
        version_dir::complete(dir, Some(&request.contract), &receipt)?;
        failpoint::hit("stage.complete").map_err(StoreError::io("write", dir))?;
        Ok(StagedVersion { name: request.name, receipt, version, dir: dir.to_owned(), force: request.force })
    }

    /// Runs the smoke test of an executable whose content was verified.
    pub(super) async fn smoke_test(
        &self,
        binary: &Path,
        content: Checksum,
        name: &PluginName,
        tag: &Tag,
        reporter: &dyn ProgressReporter,
    ) -> Result<(), StoreError> {
        let Some(sandbox) = &self.store.sandbox else { return Ok(()) };
        reporter.report(ProgressEvent::Testing { name: &name.clone().into(), tag });
        let subject = Subject::verified(binary, name.as_str(), content).map_err(StoreError::io("read", binary))?;
        sandbox
            .test(&subject, smoke::PLUGIN_TIMEOUT, self.staging_dir())
            .await
            .map(|_| ())
            .map_err(|failure| StoreError::Smoke { name: name.clone().into(), tag: tag.clone(), failure })
    }
}
