//! Switches plugins to other versions: prepares the changes, so that only the disk or a lost lock can stop them, then
//! applies them together (see [`super::apply`]).

use std::{io, path::Path};

use d8_crds::values::{
    limits::CONTRACT_BYTES,
    name::{PluginName, Tag},
    version::Version,
};
use jiff::Timestamp;

use super::{
    InstalledVersion, LockedStore, PluginEntry,
    journal::{Placement, SwitchStep},
    obstacles::MovedPaths,
    read::{self, ContentCheck},
    stage::StagedVersion,
};
use crate::{
    disk::{self, FileId},
    error::StoreError,
    install_root::{
        layout::{CONTRACT, PluginDir},
        trust, version_dir,
    },
    progress::ProgressReporter,
    receipt::Receipt,
    request::Activation,
};

/// A change to one plugin. Dependencies come first in a list of changes.
#[derive(Debug)]
// A list has few changes, and a box would be inconvenient for all callers.
#[allow(clippy::large_enum_variant)]
pub enum StoreChange {
    /// Switch to a staged version.
    Install(StagedVersion),
    /// Switch to a version that is on disk.
    Relink {
        /// Name of the plugin.
        name: PluginName,
        /// Tag of the version.
        tag: Tag,
    },
}

/// A change that is ready to be applied.
pub(super) struct PlannedSwitch {
    pub(super) plugin: PluginDir,
    pub(super) step: SwitchStep,
    pub(super) receipt: Receipt,
    pub(super) version: Version,
    /// Tag of the version that is active now, if it is known.
    pub(super) previous: Option<Tag>,
    /// Whether anything has to be changed.
    pub(super) changes: bool,
}

impl LockedStore {
    /// Makes the changes in this order, all or none: a failure rolls back the changes that were made. An install of
    /// another tool is adopted before it is replaced. A version that is on disk is verified and tested again.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], [`StoreError::Smoke`], [`StoreError::LockLost`], and errors of the disk. The store is
    /// then as it was before.
    pub async fn switch(
        &mut self,
        changes: Vec<StoreChange>,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<Vec<Activation>, StoreError> {
        let mut obstacles = MovedPaths::default();
        let mut planned = Vec::new();
        for change in changes {
            let change = match change {
                StoreChange::Install(staged) => {
                    self.move_obstacles(&staged.name, staged.version.major(), &mut obstacles)?;
                    self.adopt_replaced(&staged.name.clone(), staged.version.major(), now).await?;
                    self.plan_install(staged)?
                }
                StoreChange::Relink { name, tag } => {
                    let major = self.version_on_disk(&name, &tag)?.version.major();
                    self.move_obstacles(&name, major, &mut obstacles)?;
                    self.plan_relink(&name, &tag, now, reporter).await?
                }
            };
            planned.push(change);
        }
        // No await from here on: a dropped future never leaves an incomplete change.
        let activations = self.apply(planned, reporter)?;
        obstacles.keep();
        for activation in &activations {
            self.locks.displaced.forget(&self.store.layout.plugin(&activation.name).dir);
        }
        Ok(activations)
    }

    /// Moves a staged version into the store and leaves what is active as it is, so that a later change needs no
    /// download. It replaces one with other bytes that was never active. Of a plugin that is not installed, nothing is
    /// kept: the next command would take it for what a crash left.
    ///
    /// # Errors
    /// [`StoreError::LockLost`], and errors of the disk.
    pub fn keep(&self, staged: &StagedVersion) -> Result<(), StoreError> {
        let plugin = self.store.layout.plugin(&staged.name);
        let (versions, home) = (plugin.versions(), plugin.version(&staged.receipt.tag));
        let failed = || StoreError::io("write", &home);
        self.check_lock(&staged.name)?;
        trust::directory(&versions)?;
        let Some(entry) = self.store.get(&staged.name)? else { return Ok(()) };
        if disk::lstat(&home).map_err(failed())?.is_some() {
            let wanted = staged.receipt.executable();
            let is_same = read::version(&plugin, &home).is_ok_and(|stored| stored.receipt.executable() == wanted);
            if is_same || entry.history.contains(&staged.receipt.tag) {
                return Ok(());
            }
            disk::rename_tree(&home, &self.staging_dir().join(disk::random_name())).map_err(failed())?;
        }
        for made in &self.locks.made {
            disk::sync_parent(made).map_err(StoreError::io("write", made))?;
        }
        if disk::make_dir(&versions).map_err(failed())? {
            disk::sync_dir(&plugin.dir).map_err(failed())?;
        }
        disk::rename(&staged.dir, &home).map_err(failed())?;
        disk::sync_dir(&versions).map_err(failed())
    }

    /// Switches back to the version that was active before.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`], [`StoreError::NoPrevious`], and those of [`Self::switch`].
    pub async fn rollback(
        &mut self,
        name: &PluginName,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<Activation, StoreError> {
        let entry = self.store.get(name)?.ok_or_else(|| StoreError::NotInstalled { name: name.clone() })?;
        let tag = entry.previous.ok_or_else(|| StoreError::NoPrevious { name: name.clone() })?;
        let mut activations = self.switch(vec![StoreChange::Relink { name: name.clone(), tag }], now, reporter).await?;
        activations.pop().ok_or_else(|| StoreError::NoPrevious { name: name.clone() })
    }

    fn plan_install(&self, staged: StagedVersion) -> Result<PlannedSwitch, StoreError> {
        let plugin = self.store.layout.plugin(&staged.name);
        let entry = read::entry(&plugin, ContentCheck::IfModified)?;
        let home = plugin.version(&staged.receipt.tag);
        let stored = read::version(&plugin, &home).ok();
        // A version on disk is immutable. It is kept if it has the same bytes.
        let same = stored.filter(|stored| {
            let wanted = staged.receipt.executable();
            !staged.force && stored.receipt.executable() == wanted && wanted.matches(&stored.binary).unwrap_or_default()
        });
        let placement = match &same {
            Some(_) => None,
            None => Some(Placement {
                from: staged.dir.strip_prefix(self.staging_dir()).unwrap_or(&staged.dir).to_owned(),
                id: file_id(&staged.dir)?,
                replaces: disk::lstat(&home).map_err(StoreError::io("read", &home))?.is_some(),
            }),
        };
        let binary = same.as_ref().map_or_else(|| staged.dir.join(plugin.name.as_str()), |same| same.binary.clone());
        self.plan(plugin, entry.as_ref(), &binary, placement, staged.receipt, staged.version)
    }

    async fn plan_relink(
        &mut self,
        name: &PluginName,
        tag: &Tag,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<PlannedSwitch, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let installed = self.version_on_disk(name, tag)?;
        self.adopt_replaced(name, installed.version.major(), now).await?;
        let entry = read::entry(&plugin, ContentCheck::IfModified)?;
        let (receipt, version) = (installed.receipt.clone(), installed.version.clone());
        let planned = self.plan(plugin, entry.as_ref(), &installed.binary, None, receipt, version)?;
        if planned.changes {
            version_dir::check_content(&installed.binary, &installed.receipt)?;
            self.smoke_test(&installed.binary, installed.receipt.executable(), name, tag, reporter).await?;
        }
        Ok(planned)
    }

    fn version_on_disk(&self, name: &PluginName, tag: &Tag) -> Result<InstalledVersion, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let dir = plugin.version(tag);
        let missing = |why: String| StoreError::NotStored { name: name.clone().into(), tag: tag.clone(), why };
        if disk::lstat(&dir).map_err(StoreError::io("read", &dir))?.is_none() {
            return Err(missing(format!("{} does not exist", dir.display())));
        }
        read::version(&plugin, &dir).map_err(missing)
    }

    fn plan(
        &self,
        plugin: PluginDir,
        entry: Option<&PluginEntry>,
        binary: &Path,
        placement: Option<Placement>,
        receipt: Receipt,
        version: Version,
    ) -> Result<PlannedSwitch, StoreError> {
        let (tag, major) = (receipt.tag.clone(), version.major());
        self.check_lock(&plugin.name)?;
        for directory in [plugin.versions(), plugin.major(major)] {
            trust::directory(&directory)?;
        }
        let active = entry.and_then(PluginEntry::installed);
        let linked = read::current_major(&plugin) == Ok(major);
        let limit = CONTRACT_BYTES as u64;
        let contract = disk::read_small(&plugin.version(&tag).join(CONTRACT), limit).ok().flatten();
        let cached = disk::read_small(&plugin.cached_contract(), limit).ok().flatten();
        let complete = linked && placement.is_none() && contract == cached;
        let changes = !(complete && active.is_some_and(|active| active.tag == tag));
        let step = SwitchStep {
            name: plugin.name.clone(),
            tag,
            major,
            placement,
            had_contract: false,
            had_binary: false,
            binary: Some(file_id(binary)?),
            current: None,
            current_is_no_link: false,
        };
        let previous = active.map(|active| active.tag.clone());
        Ok(PlannedSwitch { plugin, step, receipt, version, previous, changes })
    }
}

/// Returns the identity of a path that must exist.
pub(super) fn file_id(path: &Path) -> Result<FileId, StoreError> {
    let found = FileId::at(path).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    found.map_err(StoreError::io("read", path))
}
