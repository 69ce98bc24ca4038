//! The journal of a change: what the change replaces, so that it can be rolled back from memory after a failure, and
//! from the disk after a crash.
//!
//! Everything here may run twice. A rollback restores only what the change itself replaced; changes that other programs
//! made meanwhile stay.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use d8_crds::values::{
    limits::{CONTRACT_BYTES, JOURNAL_BYTES},
    name::{PluginName, Tag},
};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{self, Checksum, FileId, JsonPath, failpoint},
    install_root::layout::{CONTRACT, Layout, PluginDir},
};

/// Name of the journal in a staging directory.
const JOURNAL: &str = "journal.json";

/// The steps of one change, in the order in which they are made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Journal {
    pub(super) steps: Vec<SwitchStep>,
}

/// The switch of one plugin. Relative paths are below the staging directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SwitchStep {
    pub(super) name: PluginName,
    pub(super) tag: Tag,
    pub(super) major: u64,
    /// The staged version that is moved into `versions/`, `None` if the version is already there.
    #[serde(rename = "place")]
    pub(super) placement: Option<Placement>,
    /// Whether there was a cached contract. It is saved as `contract.json`.
    pub(super) had_contract: bool,
    /// Whether `v<major>/<name>` existed. It is saved as `binary`.
    pub(super) had_binary: bool,
    /// The executable that `v<major>/<name>` becomes a link to.
    pub(super) binary: Option<FileId>,
    /// Target of `current` before the switch.
    pub(super) current: Option<JsonPath>,
    /// Whether `current` was a file or a directory, as in a copy that followed links. It is saved as `current`.
    #[serde(default)]
    pub(super) current_is_no_link: bool,
}

/// The move of a staged version into `versions/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Placement {
    /// The staged directory, below `staging/`.
    pub(super) from: PathBuf,
    /// Identity of the staged directory.
    pub(super) id: FileId,
    /// Whether a version with this tag existed.
    pub(super) replaces: bool,
}

impl SwitchStep {
    /// Directory for the replaced files.
    fn saved(&self, staging: &Path) -> PathBuf {
        staging.join(format!("before-{}", self.name))
    }

    fn saved_contract(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("contract.json")
    }

    fn saved_binary(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("binary")
    }

    /// Returns the path of a `current` that was not a link.
    pub(super) fn saved_current(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("current")
    }

    /// Returns the path of a replaced version on systems that cannot exchange directories.
    pub(super) fn saved_version(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("version")
    }

    /// Returns the path of a file that the rollback removes first: it needs a free inode for a moment, and the file system
    /// may have no other one.
    fn reserve(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("reserve")
    }

    /// Saves the files that the step will replace.
    pub(super) fn save(&mut self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        disk::make_dir(&self.saved(staging))?;
        disk::create_new(&self.reserve(staging), disk::PRIVATE)?;
        // Anything else in its place is replaced, and not restored.
        if let Some(contract) = disk::read_small_regular(&plugin.cached_contract(), CONTRACT_BYTES as u64)? {
            disk::write_new(&self.saved_contract(staging), &contract, disk::PLAIN)?;
            self.had_contract = true;
        }
        let binary = plugin.major_binary(self.major);
        if let Some(metadata) = disk::lstat(&binary)?.filter(|metadata| !metadata.is_dir()) {
            match disk::link_or_copy(&binary, &self.saved_binary(staging), disk::EXECUTABLE) {
                Ok(_) => self.had_binary = true,
                Err(error) if metadata.is_file() => return Err(error),
                Err(_) => {}
            }
        }
        let current = plugin.current();
        match disk::lstat(&current)? {
            Some(metadata) if !metadata.is_symlink() => self.current_is_no_link = true,
            Some(_) => self.current = disk::if_exists(fs::read_link(&current))?.map(Into::into),
            None => {}
        }
        disk::sync_dir(&self.saved(staging))
    }

    /// Rolls back the step, in reverse order. May be called at any point of it, and repeatedly.
    fn undo(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        disk::unlink(&self.reserve(staging))?;
        self.undo_current(staging, plugin)?;
        failpoint::hit("undo.current")?;
        self.undo_binary(staging, plugin)?;
        failpoint::hit("undo.major")?;
        self.undo_contract(staging, plugin)?;
        failpoint::hit("undo.contract")?;
        self.undo_placement(staging, plugin)?;
        failpoint::hit("undo.placed")
    }

    fn undo_current(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        if self.current_is_no_link {
            let saved = self.saved_current(staging);
            if disk::lstat(&saved)?.is_none_or(|metadata| metadata.is_symlink()) {
                return Ok(());
            }
            disk::unlink(&plugin.current())?;
            disk::rename(&saved, &plugin.current())?;
            return disk::sync_dir(&plugin.dir);
        }
        let now = fs::read_link(plugin.current()).ok();
        if now != Some(plugin.major_binary(self.major)) || now.as_deref() == self.current.as_deref() {
            return Ok(());
        }
        match &self.current {
            Some(target) => {
                disk::place_symlink(target, &plugin.current(), &staging.join(format!("undo-current-{}", self.name)))?;
            }
            None => {
                disk::unlink(&plugin.current())?;
            }
        }
        disk::sync_dir(&plugin.dir)
    }

    fn undo_binary(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let binary = plugin.major_binary(self.major);
        let Some(now) = FileId::at(&binary)? else { return self.undo_major(plugin) };
        let saved = self.saved_binary(staging);
        if FileId::at(&saved)? == Some(now) || !(self.binary == Some(now) || self.is_copy(staging, plugin)?) {
            return Ok(());
        }
        if self.had_binary {
            let temporary = staging.join(format!("undo-binary-{}", self.name));
            disk::place_link(&saved, &binary, &temporary, disk::EXECUTABLE)?;
        } else {
            disk::unlink(&binary)?;
        }
        disk::sync_dir(&plugin.major(self.major))?;
        self.undo_major(plugin)
    }

    /// Returns whether `v<major>/<name>` is a copy of the new executable, as on file systems without hard links.
    fn is_copy(&self, staging: &Path, plugin: &PluginDir) -> io::Result<bool> {
        let staged = self.placement.as_ref().map(|placement| staging.join(&placement.from).join(self.name.as_str()));
        let now = fs::symlink_metadata(plugin.major_binary(self.major))?;
        for new in [Some(plugin.binary(&self.tag)), staged].into_iter().flatten() {
            let Some(metadata) = disk::lstat(&new)? else { continue };
            if Some(FileId::of(&metadata)) == self.binary {
                return Ok(metadata.len() == now.len()
                    && Checksum::of(&new)? == Checksum::of(&plugin.major_binary(self.major))?);
            }
        }
        Ok(false)
    }

    /// Removes the directory of a major that did not exist before, if it is empty.
    fn undo_major(&self, plugin: &PluginDir) -> io::Result<()> {
        if !self.had_binary && fs::remove_dir(plugin.major(self.major)).is_ok() {
            disk::sync_dir(&plugin.dir)?;
        }
        Ok(())
    }

    fn undo_contract(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let cached = plugin.cached_contract();
        let Some(directory) = cached.parent() else { return Ok(()) };
        let limit = CONTRACT_BYTES as u64;
        let now = disk::read_small_regular(&cached, limit)?;
        // The contract that the switch writes to the cache. Its version may not be in place.
        let mut new = disk::read_small_regular(&plugin.version(&self.tag).join(CONTRACT), limit)?;
        if let Some(placement) = &self.placement
            && FileId::at(&plugin.version(&self.tag))? != Some(placement.id)
        {
            new = disk::read_small_regular(&staging.join(&placement.from).join(CONTRACT), limit)?;
        }
        let other = now.is_none() && disk::lstat(&cached)?.is_some();
        if other || now != new {
            return Ok(());
        }
        if self.had_contract {
            // A link, so that the saved contract still exists if this runs again.
            let temporary = staging.join(format!("undo-contract-{}", self.name));
            disk::place_link(&self.saved_contract(staging), &cached, &temporary, disk::PLAIN)?;
            disk::sync_dir(directory)
        } else if disk::unlink(&cached)? {
            disk::sync_dir(directory)
        } else {
            Ok(())
        }
    }

    fn undo_placement(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let Some(placement) = &self.placement else { return Ok(()) };
        let (home, from) = (plugin.version(&self.tag), staging.join(&placement.from));
        let aside = self.saved_version(staging);
        let placed = FileId::at(&home)? == Some(placement.id);
        let moved_aside = disk::lstat(&aside)?.is_some();
        if placed && placement.replaces && !moved_aside {
            if !disk::exchange(&from, &home)? {
                return Err(io::Error::other("the replaced version cannot be restored"));
            }
        } else if placed {
            disk::rename(&home, &from)?;
        }
        if moved_aside {
            // What is left of a version that was copied aside.
            disk::remove_tree(&home)?;
            disk::rename(&aside, &home)?;
        }
        if disk::lstat(&plugin.versions())?.is_some() {
            disk::sync_dir(&plugin.versions())?;
            if fs::remove_dir(plugin.versions()).is_ok() {
                disk::sync_dir(&plugin.dir)?;
            }
        }
        Ok(())
    }
}

/// Returns whether a path is a single plain name.
fn is_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

impl Journal {
    /// Writes the journal. After a crash from here on the next process that takes one of the locks rolls back the
    /// change.
    pub(super) fn write(&self, staging: &Path) -> io::Result<()> {
        let (path, temporary) = (staging.join(JOURNAL), staging.join("journal.tmp"));
        disk::write_new(&temporary, &serde_json::to_vec(self)?, disk::PLAIN)?;
        disk::rename(&temporary, &path)?;
        disk::sync_dir(staging)?;
        disk::sync_parent(staging)
    }

    /// Removes the journal after the change was made or rolled back.
    pub(super) fn remove(staging: &Path) -> io::Result<()> {
        if disk::unlink(&staging.join(JOURNAL))? { disk::sync_dir(staging) } else { Ok(()) }
    }

    /// Reads the journal in a staging directory, if there is one.
    pub(super) fn read(staging: &Path) -> io::Result<Option<Self>> {
        match disk::read_small(&staging.join(JOURNAL), JOURNAL_BYTES)? {
            Some(bytes) => {
                let journal: Self = serde_json::from_slice(&bytes)?;
                let mut placements = journal.steps.iter().filter_map(|step| step.placement.as_ref());
                if placements.all(|placement| is_name(&placement.from)) {
                    Ok(Some(journal))
                } else {
                    Err(io::Error::other("it names a path outside its own directory"))
                }
            }
            None => Ok(None),
        }
    }

    /// Rolls back all steps, the last one first. Continues after a failure, and returns the first one.
    pub(super) fn undo(&self, staging: &Path, layout: &Layout) -> io::Result<()> {
        let mut first = Ok(());
        for step in self.steps.iter().rev() {
            let undone = step.undo(staging, &layout.plugin(&step.name));
            first = first.and(undone);
        }
        first
    }
}
