//! Taking over what another tool installed, the Go d8 above all: its binary stays where it is and gets
//! a version directory and a receipt.

use std::path::Path;

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{PluginName, Tag},
        platform::Platform,
        version::Version,
    },
};
use jiff::Timestamp;

use crate::{
    disk::{self, FileId, failpoint},
    error::StoreError,
    install_root::{layout::PluginDir, trust, version_dir},
    receipt::{Receipt, Verified},
    smoke,
    store::{
        InstalledVersion, LockedStore, history,
        journal::{Place, Step},
        read,
    },
};

impl LockedStore {
    /// Takes over the active binary if another tool put it there, and says what is active. `None` if
    /// nothing is, or nobody can tell its version; then it stays as it is. What runs does not change.
    pub async fn adopt(&mut self, name: &PluginName, now: Timestamp) -> Result<Option<InstalledVersion>, StoreError> {
        let plugin = self.store.layout.plugin(name);
        if let Ok(major) = read::current_major(&plugin) {
            self.adopt_major(&plugin, major, true, now).await?;
        }
        Ok(self.store.get(name)?.and_then(|entry| entry.installed().cloned()))
    }

    /// Takes over the active binary, and the one that `major` names and a switch would replace.
    pub(super) async fn adopt_both(&mut self, name: &PluginName, major: u64, now: Timestamp) -> Result<(), StoreError> {
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
        if !metadata.is_file() || trust::trouble(&metadata).is_some() {
            return Ok(());
        }
        let stored = read::stored(plugin)?;
        if read::versions_of(&binary, &metadata, &stored.versions).is_some() {
            return Ok(());
        }
        // Of the active version, if it is of that major; else it says nothing about this binary.
        let cached = read::contract(&plugin.name, &plugin.cached_contract()).ok().flatten();
        let contract = cached.filter(|contract| active && version_of(&contract.version, major).is_some());
        let told = match &contract {
            Some(contract) => version_of(&contract.version, major),
            None => self.ask(&binary, &plugin.name, major).await,
        };
        let Some((tag, version)) = told else { return Ok(()) };
        let (digest, size) = disk::digest(&binary).map_err(failed())?;
        let receipt = receipt(plugin, &tag, digest, size, now);
        self.take_over(plugin, &binary, &version, contract.as_ref(), &receipt)?;
        if active {
            history::activated(plugin, None, &tag, self.staging_dir()).map_err(failed())?;
        }
        Ok(())
    }

    /// Its version in its own words.
    async fn ask(&self, binary: &Path, name: &PluginName, major: u64) -> Option<(Tag, Version)> {
        let sandbox = self.store.sandbox.as_ref()?;
        let output = sandbox.test(binary, name.as_str(), smoke::PLUGIN_TIMEOUT, self.staging_dir()).await.ok()?;
        output
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '(' | ')' | ':'))
            .filter(|word| word.matches('.').count() >= 2)
            .find_map(|word| version_of(word, major))
    }

    fn take_over(
        &mut self,
        plugin: &PluginDir,
        binary: &Path,
        version: &Version,
        contract: Option<&Contract>,
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        let failed = || StoreError::io("adopt", binary);
        failpoint::hit("adopt.begun").map_err(failed())?;
        let staging = self.staging_dir().to_owned();
        let dir = staging.join(format!("{}-{}", plugin.name, disk::random_name()));
        disk::make_dir(&dir).map_err(failed())?;
        let own = dir.join(plugin.name.as_str());
        disk::link_or_copy(binary, &own, disk::EXECUTABLE).map_err(failed())?;
        disk::set_mode(&own, disk::EXECUTABLE).map_err(failed())?;
        version_dir::complete(&dir, contract, receipt)?;
        let home = plugin.version(&receipt.tag);
        let step = Step {
            name: plugin.name.clone(),
            tag: receipt.tag.clone(),
            major: version.major(),
            place: Some(Place {
                from: dir.strip_prefix(&staging).unwrap_or(&dir).to_owned(),
                id: FileId::at(&dir).map_err(failed())?.ok_or_else(|| failed()(std::io::ErrorKind::NotFound.into()))?,
                // What is active now is the truth; the other bytes of that version were replaced by force.
                replaces: disk::lstat(&home).map_err(failed())?.is_some(),
            }),
            had_contract: false,
            had_binary: false,
            binary: None,
            current: None,
        };
        self.place(&step, plugin, &staging)?;
        failpoint::hit("adopt.placed").map_err(failed())
    }
}

fn receipt(plugin: &PluginDir, tag: &Tag, binary: Digest, size: u64, now: Timestamp) -> Receipt {
    Receipt {
        name: plugin.name.clone().into(),
        tag: tag.clone(),
        platform: Platform::current(),
        layer: None,
        manifest: None,
        binary,
        size,
        source: "another tool".to_owned(),
        time: now,
        verified: Verified::Adopted,
        skipped_cluster_checks: false,
    }
}

/// A word as a version of this major and the tag it has on disk.
fn version_of(word: &str, major: u64) -> Option<(Tag, Version)> {
    let version = Version::parse(word).ok().filter(|version| version.major() == major)?;
    let tag = version.without_build().to_string().parse().ok()?;
    Some((tag, version))
}
