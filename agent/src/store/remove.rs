//! Taking away: a plugin, or the versions of it that nobody needs. What goes is moved out of sight by
//! renames first and deleted from the staging directory afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::name::{PluginName, Tag};

use crate::{
    disk::{self, FileId, failpoint},
    error::StoreError,
    install_root::layout::{LOCK, PluginDir},
    request::Retention,
    store::{InstalledVersion, LockedStore, read},
};

impl LockedStore {
    /// Takes a plugin away with its versions, receipts and cached contract. `false` if there was none.
    /// A failure puts back what was moved.
    pub fn remove(&mut self, name: &PluginName) -> Result<bool, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let failed = || StoreError::io("remove", &plugin.dir);
        failpoint::hit("remove.begun").map_err(failed())?;
        let trash = self.trash(name)?;
        let mut moved = Moved::default();
        match self.move_out(&plugin, &trash, &mut moved) {
            Ok(()) => Ok(!moved.0.is_empty()),
            Err(error) => {
                moved.back();
                Err(error)
            }
        }
    }

    fn move_out(&self, plugin: &PluginDir, trash: &Path, moved: &mut Moved) -> Result<(), StoreError> {
        let failed = || StoreError::io("remove", &plugin.dir);
        // First what makes it an install: from here on it is none, whatever happens.
        self.check(&plugin.name)?;
        moved.out(&plugin.current(), &trash.join("current")).map_err(failed())?;
        failpoint::hit("remove.current").map_err(failed())?;
        moved.out(&plugin.cached_contract(), &trash.join("cached-contract")).map_err(failed())?;
        failpoint::hit("remove.contract").map_err(failed())?;
        for found in fs::read_dir(&plugin.dir).map_err(failed())? {
            let found = found.map_err(failed())?;
            if found.file_name().to_string_lossy().starts_with(LOCK) {
                continue;
            }
            self.check(&plugin.name)?;
            moved.out(&found.path(), &trash.join(found.file_name())).map_err(failed())?;
        }
        failpoint::hit("remove.moved").map_err(failed())
    }

    /// Takes away the versions that need not be kept and says which, newest first: kept are the active
    /// one, the one before it, what is pinned, what a `v<major>` names, and `others` more.
    pub fn prune(&mut self, name: &PluginName, kept: &Retention) -> Result<Vec<Tag>, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let Some(entry) = read::entry(&plugin)? else { return Ok(Vec::new()) };
        let failed = || StoreError::io("prune", &plugin.dir);
        let named = majors(&plugin).map_err(failed())?;
        let active = entry.installed().map(|active| &active.tag);
        let needed = |version: &InstalledVersion| {
            Some(&version.tag) == active
                || Some(&version.tag) == entry.previous.as_ref()
                || kept.pinned.contains(&version.tag)
                || FileId::at(&version.binary).ok().flatten().is_none_or(|id| named.contains(&id))
        };
        let spare: Vec<&InstalledVersion> =
            entry.versions.iter().filter(|version| !needed(version)).skip(kept.others).collect();
        let trash = self.trash(name)?;
        let mut gone = Vec::new();
        for version in spare {
            self.check(name)?;
            disk::rename(&version.dir, &trash.join(version.tag.as_str())).map_err(failed())?;
            failpoint::hit("prune.moved").map_err(failed())?;
            gone.push(version.tag.clone());
        }
        if !gone.is_empty() {
            disk::sync_dir(&plugin.versions()).map_err(failed())?;
        }
        Ok(gone)
    }

    fn trash(&self, name: &PluginName) -> Result<PathBuf, StoreError> {
        let trash = self.staging_dir().join(format!("trash-{name}-{}", disk::random_name()));
        disk::make_dir(&trash).map_err(|error| self.store.refused(error))?;
        Ok(trash)
    }
}

/// The executables that the `v<major>` folders name.
fn majors(plugin: &PluginDir) -> io::Result<Vec<FileId>> {
    let mut named = Vec::new();
    for found in fs::read_dir(&plugin.dir)? {
        let path = found?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix('v').is_some_and(|digits| digits.parse::<u64>().is_ok()) {
            named.extend(FileId::at(&path.join(plugin.name.as_str()))?);
        }
    }
    Ok(named)
}

/// What was renamed, to be renamed back.
#[derive(Default)]
struct Moved(Vec<(PathBuf, PathBuf)>);

impl Moved {
    /// Moves `from`, if it is there, and waits until that is on the disk.
    fn out(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if disk::lstat(from)?.is_none() {
            return Ok(());
        }
        disk::rename(from, to)?;
        self.0.push((from.to_owned(), to.to_owned()));
        from.parent().map_or(Ok(()), disk::sync_dir)
    }

    /// `current` went first and comes back last. What took a name meanwhile keeps it.
    fn back(self) {
        for (from, to) in self.0.into_iter().rev() {
            if disk::lstat(&from).is_ok_and(|found| found.is_none()) {
                let _ = disk::rename(&to, &from);
                let _ = from.parent().map_or(Ok(()), disk::sync_dir);
            }
        }
    }
}
