//! One install root: what is in it, read without running anything, and the way to change it.

mod adopt;
mod history;
mod journal;
mod locked;
mod read;
mod remove;
mod repair;
mod stage;
mod switch;

use std::path::{Path, PathBuf};

use d8_crds::{
    records::contract::Contract,
    values::name::{PluginName, Tag},
};

pub use self::{
    locked::LockedStore,
    read::{ActiveVersion, DamagedVersion, InstalledVersion, PluginEntry},
    stage::StagedVersion,
};
use crate::{
    error::StoreError,
    install_root::{
        layout::{self, Layout},
        trust,
    },
    smoke::Sandbox,
};

/// An install root. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) layout: Layout,
    /// Absent in tests only.
    pub(crate) sandbox: Option<Sandbox>,
}

impl Store {
    /// The store at `root`, which need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if somebody else could change it.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        trust::root(&root)?;
        Ok(Self { layout: Layout { root }, sandbox: Some(Sandbox::default()) })
    }

    /// The same store, whose smoke tests another program plays.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox: Some(sandbox), ..self }
    }

    /// The same store, for tests of what is not the smoke test.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn without_smoke_test(self) -> Self {
        Self { sandbox: None, ..self }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// What is installed, by name. Broken installs are in it and say what is wrong with them.
    pub fn list(&self) -> Result<Vec<PluginEntry>, StoreError> {
        read::list(&self.layout)
    }

    /// One plugin; `None` if it is not installed.
    pub fn get(&self, name: &PluginName) -> Result<Option<PluginEntry>, StoreError> {
        trust::directory(&self.layout.plugins())?;
        read::entry(&self.layout.plugin(name))
    }

    /// The contract of the active version; `None` if there is none on disk.
    ///
    /// # Errors
    /// [`StoreError::Contract`] if it is there and cannot be read.
    pub fn contract(&self, name: &PluginName) -> Result<Option<Contract>, StoreError> {
        trust::directory(&self.layout.contracts())?;
        read::contract(name, &self.layout.plugin(name).cached_contract())
    }

    /// The contract of a version on disk; `None` if there is none.
    pub fn contract_of(&self, name: &PluginName, tag: &Tag) -> Result<Option<Contract>, StoreError> {
        let plugin = self.layout.plugin(name);
        read::contract(name, &plugin.version(tag).join(layout::CONTRACT))
    }

    /// The path by which the active version is run.
    pub fn current(&self, name: &PluginName) -> PathBuf {
        self.layout.plugin(name).current()
    }
}
