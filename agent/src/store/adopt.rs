//! Adopts installs of other tools, mainly the d8 written in Go: the executable stays where it is and gets a version
//! directory with a receipt.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use d8_crds::{
    records::contract::Contract,
    values::{
        name::{PluginName, Tag},
        platform::Platform,
        version::Version,
    },
};
use jiff::Timestamp;

use super::{
    InstalledVersion, LockedStore, history,
    journal::{Placement, SwitchStep},
    read,
    switch::file_id,
};
use crate::{
    disk::{self, Checksum, failpoint},
    error::StoreError,
    install_root::{layout::PluginDir, trust, version_dir},
    receipt::{Receipt, Verified},
    smoke::{self, Subject},
};

impl LockedStore {
    /// Adopts the active executable if another tool installed it, and returns the active version. Returns `None` if
    /// there is none, or if its version is unknown; then it stays as it is. The running executable does not change.
    pub async fn adopt(&mut self, name: &PluginName, now: Timestamp) -> Result<Option<InstalledVersion>, StoreError> {
        let plugin = self.store.layout.plugin(name);
        if let Ok(major) = read::current_major(&plugin) {
            self.adopt_major(&plugin, major, true, now).await?;
        }
        Ok(self.store.get(name)?.and_then(|entry| entry.installed().cloned()))
    }

    /// Adopts the active executable, and the one of `major`, which a switch would replace.
    pub(super) async fn adopt_replaced(
        &mut self,
        name: &PluginName,
        major: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let plugin = self.store.layout.plugin(name);
        let active = read::current_major(&plugin).ok();
        let mut majors: Vec<u64> = active.into_iter().chain([major]).collect();
        majors.dedup();
        for major in majors {
            self.adopt_major(&plugin, major, active == Some(major), now).await?;
        }
        Ok(())
    }

    async fn adopt_major(
        &mut self,
        plugin: &PluginDir,
        major: u64,
        active: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let binary = plugin.major_binary(major);
        let failed = || StoreError::io("adopt", &binary);
        let Some(metadata) = disk::lstat(&binary).map_err(failed())? else { return Ok(()) };
        if !metadata.is_file() || trust::untrusted_reason(&metadata).is_some() {
            return Ok(());
        }
        if !version_dir::is_executable(&metadata) || matches!(smoke::unsupported_format(&binary), Ok(Some(_))) {
            return Ok(());
        }
        if !read::versions(plugin).is_foreign(plugin, major, &metadata) {
            return Ok(());
        }
        // The cached contract belongs to the active version, if that is of the same major.
        let cached = read::contract(&plugin.name, &plugin.cached_contract()).ok().flatten();
        let contract = cached.filter(|contract| active && parse_version(&contract.version, major).is_some());
        let checksum = Checksum::of(&binary).map_err(failed())?;
        let version = match &contract {
            Some(contract) => parse_version(&contract.version, major),
            None => self.reported_version(&binary, checksum.clone(), &plugin.name, major).await,
        };
        let Some((tag, version)) = version else { return Ok(()) };
        let receipt = receipt(plugin, &tag, checksum, now);
        self.place_adopted(plugin, &binary, &version, contract.as_ref(), receipt)?;
        if active {
            history::append(plugin, None, &tag, self.staging_dir()).map_err(failed())?;
        }
        Ok(())
    }

    /// Runs an executable and returns the version in its output.
    async fn reported_version(
        &self,
        binary: &Path,
        content: Checksum,
        name: &PluginName,
        major: u64,
    ) -> Option<(Tag, Version)> {
        let sandbox = self.store.sandbox.as_ref()?;
        let subject = Subject::verified(binary, name.as_str(), content).ok()?;
        let output = sandbox.test(&subject, smoke::PLUGIN_TIMEOUT, self.staging_dir()).await.ok()?;
        output
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '(' | ')' | ':'))
            .filter(|word| word.matches('.').count() >= 2)
            .find_map(|word| parse_version(word, major))
    }

    /// Places a version directory with a link to the executable.
    fn place_adopted(
        &mut self,
        plugin: &PluginDir,
        binary: &Path,
        version: &Version,
        contract: Option<&Contract>,
        mut receipt: Receipt,
    ) -> Result<(), StoreError> {
        let failed = || StoreError::io("adopt", binary);
        failpoint::hit("adopt.begun").map_err(failed())?;
        let staging = self.staging_dir().to_owned();
        let dir = staging.join(format!("{}-{}", plugin.name, disk::random_name()));
        disk::make_dir(&dir).map_err(failed())?;
        let link = dir.join(plugin.name.as_str());
        // A file with another mode may have other names, which must keep it.
        if fs::symlink_metadata(binary).is_ok_and(|metadata| metadata.mode() & 0o7777 == disk::EXECUTABLE) {
            disk::link_or_copy(binary, &link, disk::EXECUTABLE).map(drop).map_err(failed())?;
        } else {
            disk::copy(binary, &link, disk::EXECUTABLE).map_err(failed())?;
        }
        // A copy has another time than the original.
        receipt.modified = disk::modified_at(&link);
        version_dir::complete(&dir, contract, &receipt)?;
        let home = plugin.version(&receipt.tag);
        let step = SwitchStep {
            name: plugin.name.clone(),
            tag: receipt.tag.clone(),
            major: version.major(),
            placement: Some(Placement {
                from: dir.strip_prefix(&staging).unwrap_or(&dir).to_owned(),
                id: file_id(&dir)?,
                // The active executable counts. Another tool replaced the version by force.
                replaces: disk::lstat(&home).map_err(failed())?.is_some(),
            }),
            had_contract: false,
            had_binary: false,
            binary: None,
            current: None,
            current_is_no_link: false,
        };
        self.place_version(&step, plugin, &staging)?;
        failpoint::hit("adopt.placed").map_err(failed())
    }
}

fn receipt(plugin: &PluginDir, tag: &Tag, checksum: Checksum, now: Timestamp) -> Receipt {
    Receipt {
        name: plugin.name.clone().into(),
        tag: tag.clone(),
        platform: Platform::current(),
        layer: None,
        manifest: None,
        binary: checksum.digest,
        size: checksum.size,
        modified: None,
        source: "another tool".to_owned(),
        time: now,
        verified: Verified::Adopted,
        skipped_cluster_checks: false,
        capabilities: None,
    }
}

/// Parses a version of this major. Returns it with its tag in the store.
fn parse_version(text: &str, major: u64) -> Option<(Tag, Version)> {
    let version = Version::parse(text).ok().filter(|version| version.major() == major)?;
    let tag = version.without_build().to_string().parse().ok()?;
    Some((tag, version))
}
