//! What a switch is about to change, in a form that puts it back: from memory after a failure, from the
//! disk after a crash.
//!
//! Owns the state before the switch. Everything here may run twice, and puts back only what the switch
//! itself changed: what another program did meanwhile stays.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use d8_crds::values::name::{PluginName, Tag};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{self, FileId, failpoint},
    install_root::layout::{CONTRACT, Layout, PluginDir},
};

/// The journal's file in a staging directory.
const JOURNAL: &str = "journal.json";

/// Largest journal read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// The steps of one change, in the order in which they are made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Journal {
    pub(super) steps: Vec<Step>,
}

/// One plugin's switch. Paths that are not absolute are below the staging directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) name: PluginName,
    pub(super) tag: Tag,
    pub(super) major: u64,
    /// The staged version that goes into `versions/`; absent if it is there already.
    pub(super) place: Option<Place>,
    /// Whether there was a cached contract; it is saved as `contract.json`.
    pub(super) had_contract: bool,
    /// Whether `v<major>/<name>` existed; it is saved as `binary`.
    pub(super) had_binary: bool,
    /// The executable that `v<major>/<name>` becomes a link of.
    pub(super) binary: Option<FileId>,
    /// Where `current` pointed.
    pub(super) current: Option<PathBuf>,
}

/// A version on its way into `versions/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// Its staged directory.
    pub(super) from: PathBuf,
    /// The same, whatever it is called.
    pub(super) id: FileId,
    /// Whether there was one before it.
    pub(super) replaces: bool,
}

impl Step {
    /// Where the state before is saved.
    fn saved(&self, staging: &Path) -> PathBuf {
        staging.join(format!("before-{}", self.name))
    }

    pub(super) fn saved_contract(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("contract.json")
    }

    pub(super) fn saved_binary(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("binary")
    }

    /// Where a version that was replaced waits, if it could not be exchanged.
    pub(super) fn saved_version(&self, staging: &Path) -> PathBuf {
        self.saved(staging).join("version")
    }

    /// Saves what the step will replace.
    pub(super) fn save(&mut self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        disk::make_dir(&self.saved(staging))?;
        if let Some(contract) = disk::read_small(&plugin.cached_contract(), LIMIT * 4)? {
            disk::write_new(&self.saved_contract(staging), &contract, disk::PLAIN)?;
            self.had_contract = true;
        }
        let binary = plugin.major_binary(self.major);
        if disk::lstat(&binary)?.is_some() {
            disk::link_or_copy(&binary, &self.saved_binary(staging), disk::EXECUTABLE)?;
            self.had_binary = true;
        }
        self.current = disk::absent(fs::read_link(plugin.current()))?;
        disk::sync_dir(&self.saved(staging))
    }

    /// Puts back what the step changed, the last first. May be called at any point of it, and again.
    fn undo(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        self.undo_current(staging, plugin)?;
        failpoint::hit("undo.current")?;
        self.undo_binary(staging, plugin)?;
        failpoint::hit("undo.major")?;
        self.undo_contract(staging, plugin)?;
        failpoint::hit("undo.contract")?;
        self.undo_place(staging, plugin)?;
        failpoint::hit("undo.placed")
    }

    fn undo_current(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let now = disk::absent(fs::read_link(plugin.current()))?;
        if now != Some(plugin.major_binary(self.major)) || now == self.current {
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

    /// Whether `v<major>/<name>` is a copy of the new executable, where links can't be had.
    fn is_copy(&self, staging: &Path, plugin: &PluginDir) -> io::Result<bool> {
        let staged = self.place.as_ref().map(|place| staging.join(&place.from).join(self.name.as_str()));
        let now = fs::symlink_metadata(plugin.major_binary(self.major))?;
        for new in [Some(plugin.binary(&self.tag)), staged].into_iter().flatten() {
            let Some(metadata) = disk::lstat(&new)? else { continue };
            if Some(FileId::of(&metadata)) == self.binary {
                return Ok(metadata.len() == now.len()
                    && disk::digest(&new)? == disk::digest(&plugin.major_binary(self.major))?);
            }
        }
        Ok(false)
    }

    /// The folder of a major that was not there before; one with anything in it stays.
    fn undo_major(&self, plugin: &PluginDir) -> io::Result<()> {
        if !self.had_binary && fs::remove_dir(plugin.major(self.major)).is_ok() {
            disk::sync_dir(&plugin.dir)?;
        }
        Ok(())
    }

    fn undo_contract(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let cached = plugin.cached_contract();
        let Some(folder) = cached.parent() else { return Ok(()) };
        let now = disk::read_small(&cached, LIMIT * 4)?;
        // The contract that the switch puts there, wherever its version is by now.
        let mut new = disk::read_small(&plugin.version(&self.tag).join(CONTRACT), LIMIT * 4)?;
        if let Some(place) = &self.place
            && FileId::at(&plugin.version(&self.tag))? != Some(place.id)
        {
            new = disk::read_small(&staging.join(&place.from).join(CONTRACT), LIMIT * 4)?;
        }
        if now != new {
            return Ok(());
        }
        if self.had_contract {
            // A link, so that the saved one is still there if this runs again.
            let temporary = staging.join(format!("undo-contract-{}", self.name));
            disk::place_link(&self.saved_contract(staging), &cached, &temporary, disk::PLAIN)?;
            disk::sync_dir(folder)
        } else if disk::unlink(&cached)? {
            disk::sync_dir(folder)
        } else {
            Ok(())
        }
    }

    fn undo_place(&self, staging: &Path, plugin: &PluginDir) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let (home, from) = (plugin.version(&self.tag), staging.join(&place.from));
        let aside = self.saved_version(staging);
        let ours = FileId::at(&home)? == Some(place.id);
        let moved_aside = disk::lstat(&aside)?.is_some();
        if ours && place.replaces && !moved_aside {
            if !disk::exchange(&from, &home)? {
                return Err(io::Error::other("the version it replaced can't be put back"));
            }
        } else if ours {
            disk::rename(&home, &from)?;
        }
        if moved_aside && disk::lstat(&home)?.is_none() {
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

/// Whether a path is one plain name.
fn is_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

impl Journal {
    /// Writes the journal; from here on a crash is rolled back by whoever takes one of the locks next.
    pub(super) fn write(&self, staging: &Path) -> io::Result<()> {
        let (path, temporary) = (staging.join(JOURNAL), staging.join("journal.tmp"));
        disk::write_new(&temporary, &serde_json::to_vec(self)?, disk::PLAIN)?;
        disk::rename(&temporary, &path)?;
        disk::sync_dir(staging)?;
        staging.parent().map_or(Ok(()), disk::sync_dir)
    }

    /// Takes the journal away: the change is done, or undone.
    pub(super) fn remove(staging: &Path) -> io::Result<()> {
        if disk::unlink(&staging.join(JOURNAL))? { disk::sync_dir(staging) } else { Ok(()) }
    }

    /// The journal in a staging directory, if there is one.
    pub(super) fn read(staging: &Path) -> io::Result<Option<Self>> {
        match disk::read_small(&staging.join(JOURNAL), LIMIT)? {
            Some(bytes) => {
                let journal: Self = serde_json::from_slice(&bytes)?;
                let places = journal.steps.iter().filter_map(|step| step.place.as_ref());
                if places.clone().all(|place| is_name(&place.from)) {
                    Ok(Some(journal))
                } else {
                    Err(io::Error::other("it names a place outside its own directory"))
                }
            }
            None => Ok(None),
        }
    }

    /// Puts everything back, the last step first. Goes on past a failure and gives the first.
    pub(super) fn undo(&self, staging: &Path, layout: &Layout) -> io::Result<()> {
        let mut first = Ok(());
        for step in self.steps.iter().rev() {
            let undone = step.undo(staging, &layout.plugin(&step.name));
            first = first.and(undone);
        }
        first
    }
}
