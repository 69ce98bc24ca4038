//! The fallback: another d8 that unknown commands are forwarded to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{D8Store, LockedD8Store};
use crate::{disk, error::StoreError, install_root::trust};

impl D8Store {
    fn fallback_link(&self) -> PathBuf {
        self.dir().join("fallback")
    }

    /// Returns the path of the configured fallback. It is not checked; use [`Self::fallback`] to run it.
    pub fn fallback_path(&self) -> Option<PathBuf> {
        fs::read_link(self.fallback_link()).ok()
    }

    /// Returns the configured fallback, checked so that it may be run.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if other users could have configured or changed it.
    pub fn fallback(&self) -> Result<Option<PathBuf>, StoreError> {
        trust::directory(&self.dir())?;
        let Some(path) = self.fallback_path() else { return Ok(None) };
        trust::whole_path(&path)?;
        Ok(Some(path))
    }
}

impl LockedD8Store {
    /// Configures the fallback.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if other users could change it; errors of the disk.
    pub fn set_fallback(&mut self, path: &Path) -> Result<(), StoreError> {
        self.check_lock()?;
        trust::whole_path(path)?;
        let link = self.store.fallback_link();
        let temporary = self.staging.dir().join("fallback");
        disk::place_symlink(path, &link, &temporary).map_err(StoreError::io("write", &link))?;
        disk::sync_dir(&self.store.dir()).map_err(StoreError::io("write", self.store.dir()))?;
        self.made.0.clear();
        Ok(())
    }

    /// Removes the configuration of the fallback. Returns `false` if there was none.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn unset_fallback(&mut self) -> Result<bool, StoreError> {
        self.check_lock()?;
        let link = self.store.fallback_link();
        disk::unlink(&link).map_err(StoreError::io("remove", link))
    }
}
