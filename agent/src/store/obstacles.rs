//! Moves paths out of the way of a change, so that they can be moved back: what is removed, and paths of a wrong type,
//! such as a file in place of a directory. Renames never follow a link.

use std::{
    io,
    path::{Path, PathBuf},
};

use d8_crds::values::name::PluginName;

use super::LockedStore;
use crate::{disk, error::StoreError};

impl LockedStore {
    /// Moves what is in place of the directories of a plugin, for a change to a version of `major`, to the staging
    /// directory.
    pub(super) fn move_obstacles(
        &self,
        name: &PluginName,
        major: u64,
        moved: &mut MovedPaths,
    ) -> Result<(), StoreError> {
        let plugin = self.store.layout.plugin(name);
        for path in [plugin.versions(), plugin.major(major)] {
            let failed = || StoreError::io("move", &path);
            if disk::lstat(&path).map_err(failed())?.is_some_and(|metadata| !metadata.is_dir()) {
                self.check_lock(name)?;
                let aside = self.create_trash(name)?.join("obstacle");
                moved.rename(&path, &aside).map_err(failed())?;
            }
        }
        Ok(())
    }
}

/// The paths that were renamed. On drop they are renamed back in reverse order, unless the change was made. A name that
/// was taken meanwhile is left alone.
#[derive(Debug, Default)]
pub(super) struct MovedPaths(Vec<MovedPath>);

#[derive(Debug)]
struct MovedPath {
    from: PathBuf,
    to: PathBuf,
    /// Whether a part of it may be left at `from`: an overlay copies a directory and removes it then.
    is_partly_left: bool,
}

impl MovedPaths {
    /// Renames `from`, if it exists, and waits until that is on the disk.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if disk::lstat(from)?.is_none() {
            return Ok(());
        }
        let was_free = disk::lstat(to)?.is_none();
        let renamed = disk::rename_tree(from, to);
        if renamed.is_ok() || (was_free && disk::lstat(to)?.is_some()) {
            let is_partly_left = renamed.is_err();
            self.0.push(MovedPath { from: from.to_owned(), to: to.to_owned(), is_partly_left });
        }
        renamed?;
        disk::sync_parent(from)
    }

    /// Leaves the paths where they are now, as the change was made. Returns whether there are any.
    pub(super) fn keep(mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

impl Drop for MovedPaths {
    fn drop(&mut self) {
        for MovedPath { from, to, is_partly_left } in self.0.drain(..).rev() {
            if is_partly_left {
                let _ = disk::remove_tree(&from);
            }
            if disk::lstat(&from).is_ok_and(|found| found.is_none()) {
                let _ = disk::rename(&to, &from);
                let _ = disk::sync_parent(&from);
            }
        }
    }
}
