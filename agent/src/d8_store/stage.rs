//! Stages and tests versions of d8 in the staging directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
    version::Version,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{D8Version, EXECUTABLE, LockedD8Store};
use crate::{
    disk::{self, Checksum},
    download::{self, digest_log, source::LayerSource},
    error::StoreError,
    install_root::version_dir,
    progress::{ProgressEvent, ProgressReporter},
    receipt::{Receipt, Verified},
    request::Artifact,
    smoke::{D8_TIMEOUT, SmokeFailure, Subject},
};

/// A version of d8 to install. The caller has selected and permitted it: the store evaluates no policies.
#[derive(Debug, Clone)]
pub struct D8InstallRequest {
    /// The layer to download. Its component is d8.
    pub artifact: Artifact,
    /// Digest of the manifest that names the layer, for the receipt.
    pub manifest: Option<Digest>,
    /// Digest of a layer that was accepted although the store has recorded another one for the version.
    pub accept: Option<Digest>,
    /// Host of the proxy, for the receipt.
    pub source: String,
    /// Time for the receipt.
    pub now: Timestamp,
}

/// A version that has passed its smoke test and may become current.
#[derive(Debug)]
pub struct TestedVersion {
    pub(super) tag: Tag,
    pub(super) version: Version,
    /// The staged directory and its receipt, `None` if the version is already in the store.
    pub(super) staged: Option<(PathBuf, Receipt)>,
    /// Output of `d8 --version`, its first 200 characters.
    pub version_output: String,
    /// Capabilities that the executable reports. Empty for a d8 that does not know the command.
    pub capabilities: Vec<String>,
}

impl TestedVersion {
    /// Tag of the version.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Returns whether the executable reports another version than its tag.
    pub fn reports_other_version(&self) -> bool {
        let parse = |word: &str| Version::parse(word.trim_matches(|c: char| !c.is_ascii_alphanumeric())).ok();
        let versions: Vec<Version> = self.version_output.split_whitespace().filter_map(parse).collect();
        !versions.is_empty() && !versions.contains(&self.version)
    }
}

/// Output of `d8 cli capabilities -o json`.
#[derive(Deserialize)]
struct Capabilities {
    capabilities: Vec<String>,
}

impl LockedD8Store {
    /// Downloads a version into the staging directory, verifies and tests it. Changes nothing outside of the staging
    /// directory.
    ///
    /// # Errors
    /// [`StoreError::Proxy`], [`StoreError::WrongDigest`], [`StoreError::Moved`], [`StoreError::Smoke`].
    pub async fn stage<S: LayerSource>(
        &self,
        request: D8InstallRequest,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<TestedVersion, StoreError> {
        let tag = request.artifact.tag.clone();
        let version = parse_version(&tag)?;
        let dir = self.create_dir(&tag)?;
        let binary = dir.join(EXECUTABLE);
        let downloaded = download::download_executable(&binary, &request.artifact, source, reporter).await?;
        let log = self.store.layout.digest_log();
        digest_log::check(&log, &request.artifact, &version, &downloaded.layer, request.accept.as_ref())?;
        let content = downloaded.executable();
        let (synced, tested) =
            tokio::join!(download::sync(binary.clone()), self.smoke_test(&binary, content, &tag, reporter));
        let (version_output, capabilities) = tested?;
        synced.map_err(StoreError::io("write", &binary))?;
        let verified = if request.artifact.expect_layer.is_some() { Verified::Digest } else { Verified::Transport };
        let receipt = Receipt {
            name: Component::D8,
            tag: tag.clone(),
            platform: request.artifact.platform,
            layer: Some(downloaded.layer),
            manifest: request.manifest.or(downloaded.manifest),
            binary: downloaded.binary,
            size: downloaded.size,
            modified: disk::modified_at(&binary),
            source: request.source,
            time: request.now,
            verified,
            skipped_cluster_checks: false,
            capabilities: Some(capabilities.clone()),
        };
        version_dir::complete(&dir, None, &receipt)?;
        Ok(TestedVersion { tag, version, staged: Some((dir, receipt)), version_output, capabilities })
    }

    /// Tests a version on disk again: compares its executable with its receipt, then starts it.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], [`StoreError::Smoke`].
    pub async fn test(&self, stored: &D8Version, reporter: &dyn ProgressReporter) -> Result<TestedVersion, StoreError> {
        let D8Version { tag, version, binary, receipt } = stored;
        let content = match receipt {
            Some(receipt) => {
                version_dir::check_content(binary, receipt)?;
                receipt.executable()
            }
            None => Checksum::of(binary).map_err(StoreError::io("read", binary))?,
        };
        let (version_output, capabilities) = self.smoke_test(binary, content, tag, reporter).await?;
        Ok(TestedVersion { tag: tag.clone(), version: version.clone(), staged: None, version_output, capabilities })
    }

    /// Stages a copy of an executable under a version, such as the running program, and tests it.
    ///
    /// # Errors
    /// [`StoreError::Smoke`], or a file that cannot be read.
    pub async fn stage_copy(
        &self,
        executable: &Path,
        tag: &Tag,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<TestedVersion, StoreError> {
        let version = parse_version(tag)?;
        let (dir, receipt) = self.copy(executable, tag, now)?;
        let (version_output, capabilities) =
            self.smoke_test(&dir.join(EXECUTABLE), receipt.executable(), tag, reporter).await?;
        let staged = Some((dir, receipt));
        Ok(TestedVersion { tag: tag.clone(), version, staged, version_output, capabilities })
    }

    /// Copies an executable to a complete version directory in the staging directory.
    pub(super) fn copy(&self, executable: &Path, tag: &Tag, now: Timestamp) -> Result<(PathBuf, Receipt), StoreError> {
        let dir = self.create_dir(tag)?;
        let binary = dir.join(EXECUTABLE);
        let copy = || {
            let mut from = d8_rpp::file::open_regular(executable)?;
            let mut to = disk::create_new(&binary, disk::EXECUTABLE)?;
            io::copy(&mut from, &mut to)?;
            disk::sync_file(&to, &binary)
        };
        copy().map_err(StoreError::io("write", &binary))?;
        let source = fs::read_link(executable).unwrap_or_else(|_| executable.to_owned());
        let checksum = Checksum::of(&binary).map_err(StoreError::io("read", &binary))?;
        let receipt = Receipt {
            name: Component::D8,
            tag: tag.clone(),
            platform: Platform::current(),
            layer: None,
            manifest: None,
            binary: checksum.digest,
            size: checksum.size,
            modified: disk::modified_at(&binary),
            source: source.display().to_string(),
            time: now,
            verified: Verified::Adopted,
            skipped_cluster_checks: false,
            // The program that runs is not asked.
            capabilities: None,
        };
        version_dir::complete(&dir, None, &receipt)?;
        Ok((dir, receipt))
    }

    /// Creates an empty directory for a version in the staging directory, in its directory for d8.
    fn create_dir(&self, tag: &Tag) -> Result<PathBuf, StoreError> {
        let directory = self.staging.dir().join(EXECUTABLE);
        let dir = directory.join(format!("{tag}-{}", disk::random_name()));
        disk::make_dirs(&dir, &mut Vec::new())
            .map_err(|error| StoreError::refused_write(&self.store.layout.root, error))?;
        Ok(dir)
    }

    /// Runs the smoke test, and asks the executable for its capabilities. An old d8 that does not know the command is
    /// not broken.
    async fn smoke_test(
        &self,
        binary: &Path,
        content: Checksum,
        tag: &Tag,
        reporter: &dyn ProgressReporter,
    ) -> Result<(String, Vec<String>), StoreError> {
        reporter.report(ProgressEvent::Testing { name: &Component::D8, tag });
        let (sandbox, scratch) = (&self.store.sandbox, self.staging.dir());
        let failed = |failure| StoreError::Smoke { name: Component::D8, tag: tag.clone(), failure };
        let subject = Subject::verified(binary, EXECUTABLE, content).map_err(StoreError::io("read", binary))?;
        let version_output = sandbox.test(&subject, D8_TIMEOUT, scratch).await.map_err(failed)?;
        let arguments = ["cli", "capabilities", "-o", "json"];
        let output = match sandbox.output(&subject, &arguments, D8_TIMEOUT, scratch).await {
            Err(SmokeFailure::Changed) => return Err(failed(SmokeFailure::Changed)),
            output => output.unwrap_or_default(),
        };
        let known = serde_json::from_str::<Capabilities>(output.trim());
        Ok((version_output, known.map(|known| known.capabilities).unwrap_or_default()))
    }
}

fn parse_version(tag: &Tag) -> Result<Version, StoreError> {
    Version::parse(tag.as_str()).map_err(|_| StoreError::NotAVersion { name: Component::D8, tag: tag.clone() })
}
