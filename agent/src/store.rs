//! The store of plugins in an install root. [`Store`] reads it without running anything, [`LockedStore`] changes it.

mod adopt;
mod apply;
mod displaced;
mod history;
mod journal;
mod list;
mod locked;
mod obstacles;
mod read;
mod remove;
mod repair;
mod stage;
mod switch;

use std::path::{Path, PathBuf};

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{PluginName, Tag},
    },
};

use self::read::ContentCheck;
pub use self::{
    locked::LockedStore,
    read::{ActiveVersion, DamagedVersion, InstalledVersion, PluginEntry},
    stage::StagedVersion,
    switch::StoreChange,
};
use crate::{
    error::StoreError,
    install_root::{
        layout::{self, Layout},
        trust, version_dir,
    },
    smoke::Sandbox,
};

/// The plugins in an install root. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) layout: Layout,
    /// `None` only in tests.
    pub(crate) sandbox: Option<Sandbox>,
}

impl Store {
    /// Returns the store at `root`, which need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if other users could change it.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        trust::root(&root)?;
        Ok(Self { layout: Layout { root }, sandbox: Some(Sandbox::default()) })
    }

    /// Returns the same store with another sandbox for smoke tests.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox: Some(sandbox), ..self }
    }

    /// The same store without smoke tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn without_smoke_test(self) -> Self {
        Self { sandbox: None, ..self }
    }

    /// Returns the path of the install root.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// Lists the installed plugins by name. A broken install is listed with what is wrong with it.
    pub fn list(&self) -> Result<Vec<PluginEntry>, StoreError> {
        list::entries(&self.layout)
    }

    /// Lists the names of the installed plugins, and reads no executable, receipt or contract.
    pub fn names(&self) -> Result<Vec<PluginName>, StoreError> {
        list::names(&self.layout)
    }

    /// Reads one plugin, `None` if it is not installed. Hashes its active executable only if the modification time of
    /// the file is not the one in the receipt.
    pub fn get(&self, name: &PluginName) -> Result<Option<PluginEntry>, StoreError> {
        trust::directory(&self.layout.plugins())?;
        read::entry(&self.layout.plugin(name), ContentCheck::IfModified)
    }

    /// Reads one plugin as [`Self::get`] does, and hashes its active executable in any case.
    pub fn verify(&self, name: &PluginName) -> Result<Option<PluginEntry>, StoreError> {
        trust::directory(&self.layout.plugins())?;
        read::entry(&self.layout.plugin(name), ContentCheck::Always)
    }

    /// Returns whether a switch to a version needs no download: it is on disk, and it was active here before or has this
    /// layer. A version that was only kept for later is not used after its tag moved.
    pub fn has(&self, name: &PluginName, tag: &Tag, layer: Option<&Digest>) -> bool {
        let plugin = self.layout.plugin(name);
        let Ok(stored) = read::version(&plugin, &plugin.version(tag)) else { return false };
        let is_recorded = stored.receipt.layer.as_ref().zip(layer).is_none_or(|(stored, recorded)| stored == recorded);
        let was_active = || self.get(name).is_ok_and(|entry| entry.is_some_and(|entry| entry.history.contains(tag)));
        is_recorded || was_active()
    }

    /// Returns whether a version is on disk with the content that its receipt says.
    pub fn is_intact(&self, name: &PluginName, tag: &Tag) -> bool {
        let plugin = self.layout.plugin(name);
        let installed = read::version(&plugin, &plugin.version(tag));
        installed.is_ok_and(|installed| version_dir::check_content(&installed.binary, &installed.receipt).is_ok())
    }

    /// Reads the contract of the active version, `None` if there is none on disk.
    ///
    /// # Errors
    /// [`StoreError::Contract`] if the file exists and cannot be read.
    pub fn contract(&self, name: &PluginName) -> Result<Option<Contract>, StoreError> {
        trust::directory(&self.layout.contracts())?;
        read::contract(name, &self.layout.plugin(name).cached_contract())
    }

    /// Reads the contract of a version, `None` if there is none on disk.
    pub fn contract_of(&self, name: &PluginName, tag: &Tag) -> Result<Option<Contract>, StoreError> {
        let plugin = self.layout.plugin(name);
        read::contract(name, &plugin.version(tag).join(layout::CONTRACT))
    }

    /// Returns the path of the active executable.
    pub fn current(&self, name: &PluginName) -> PathBuf {
        self.layout.plugin(name).current()
    }
}
