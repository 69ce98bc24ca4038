//! Removes plugins and old versions: renames them into the staging directory first, and deletes them there afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::name::{PluginName, Tag};

use super::{
    InstalledVersion, LockedStore,
    obstacles::MovedPaths,
    read::{self, ContentCheck},
};
use crate::{
    disk::{self, FileId, failpoint},
    error::StoreError,
    install_root::layout::{LOCK, PluginDir},
    request::Retention,
};

impl LockedStore {
    /// Removes a plugin with its versions, receipts and cached contract. Returns `false` if it was not installed. A
    /// failure moves everything back.
    pub fn remove(&mut self, name: &PluginName) -> Result<bool, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let failed = || StoreError::io("remove", &plugin.dir);
        failpoint::hit("remove.begun").map_err(failed())?;
        let trash = self.create_trash(name)?;
        let mut moved = MovedPaths::default();
        self.move_to_trash(&plugin, &trash, &mut moved)?;
        let replaced = self.locks.displaced.forget(&plugin.dir);
        Ok(moved.keep() || replaced)
    }

    fn move_to_trash(&self, plugin: &PluginDir, trash: &Path, moved: &mut MovedPaths) -> Result<(), StoreError> {
        let failed = || StoreError::io("remove", &plugin.dir);
        // The history, then `current`: without both the plugin is not installed, whatever happens next. Without `current`
        // alone it is damaged.
        self.check_lock(&plugin.name)?;
        if plugin.has_versions() {
            moved.rename(&plugin.history(), &trash.join("history")).map_err(failed())?;
        }
        failpoint::hit("remove.history").map_err(failed())?;
        moved.rename(&plugin.current(), &trash.join("current")).map_err(failed())?;
        failpoint::hit("remove.current").map_err(failed())?;
        moved.rename(&plugin.cached_contract(), &trash.join("cached-contract")).map_err(failed())?;
        failpoint::hit("remove.contract").map_err(failed())?;
        for found in fs::read_dir(&plugin.dir).map_err(failed())? {
            let found = found.map_err(failed())?;
            if found.file_name().to_string_lossy().starts_with(LOCK) {
                continue;
            }
            self.check_lock(&plugin.name)?;
            moved.rename(&found.path(), &trash.join(found.file_name())).map_err(failed())?;
        }
        failpoint::hit("remove.moved").map_err(failed())
    }

    /// Removes old versions and returns their tags, newest first. Keeps the active version, the previous one, those that
    /// `retention` names and those that a directory `v<major>` links to.
    pub fn prune(&mut self, name: &PluginName, retention: &Retention) -> Result<Vec<Tag>, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let Some(entry) = read::entry(&plugin, ContentCheck::IfModified)? else { return Ok(Vec::new()) };
        let failed = || StoreError::io("prune", &plugin.dir);
        let linked = linked_executables(&plugin).map_err(failed())?;
        let active = entry.installed().map(|active| &active.tag);
        let needed = |version: &InstalledVersion| {
            Some(&version.tag) == active
                || Some(&version.tag) == entry.previous.as_ref()
                || retention.pinned.contains(&version.tag)
                || FileId::at(&version.binary).ok().flatten().is_none_or(|id| linked.contains(&id))
        };
        let old: Vec<&InstalledVersion> =
            entry.versions.iter().filter(|version| !needed(version)).skip(retention.others).collect();
        let trash = self.create_trash(name)?;
        let mut removed = Vec::new();
        for version in old {
            self.check_lock(name)?;
            disk::rename_tree(&version.dir, &trash.join(version.tag.as_str())).map_err(failed())?;
            failpoint::hit("prune.moved").map_err(failed())?;
            removed.push(version.tag.clone());
        }
        if !removed.is_empty() {
            disk::sync_dir(&plugin.versions()).map_err(failed())?;
        }
        Ok(removed)
    }

    pub(super) fn create_trash(&self, name: &PluginName) -> Result<PathBuf, StoreError> {
        let trash = self.staging_dir().join(format!("trash-{name}-{}", disk::random_name()));
        disk::make_dir(&trash).map_err(|error| StoreError::refused_write(self.store.root(), error))?;
        Ok(trash)
    }
}

/// Returns the executables that the directories `v<major>` link to.
fn linked_executables(plugin: &PluginDir) -> io::Result<Vec<FileId>> {
    let mut linked = Vec::new();
    for major in plugin.majors()? {
        linked.extend(FileId::at(&plugin.major_binary(major))?);
    }
    Ok(linked)
}
