//! Holds the lock of the d8 store, and a staging directory.

use std::{path::PathBuf, time::Duration};

use d8_crds::values::name::Component;
use tokio::{task::AbortHandle, time::Instant};

use super::{D8Store, EXECUTABLE};
use crate::{
    disk::{self, CreatedDirs},
    error::StoreError,
    install_root::{
        lock::{self, LockTarget},
        lockfile::{self, LockFile, RENEW_INTERVAL},
        staging::{self, Staging},
        trust,
    },
    progress::ProgressReporter,
};

/// A d8 store with its lock and a staging directory. On drop the lock is released and everything that is not finished is
/// removed.
#[derive(Debug)]
pub struct LockedD8Store {
    pub(super) store: D8Store,
    pub(super) staging: Staging,
    pub(super) made: CreatedDirs,
    /// Version directories that were moved into the store. They are removed again if the change fails.
    pub(super) placed: Vec<PathBuf>,
    lock: Option<LockFile>,
    renewing: AbortHandle,
}

impl D8Store {
    /// Takes the lock, within `timeout` (0: one attempt).
    ///
    /// # Errors
    /// [`StoreError::Locked`] after `timeout`; [`StoreError::Unwritable`]; [`StoreError::Untrusted`].
    pub async fn lock(&self, timeout: Duration, reporter: &dyn ProgressReporter) -> Result<LockedD8Store, StoreError> {
        let root = self.layout.root.clone();
        // Removed also if this fails, after the lock in it.
        let (dir, mut made) = (self.dir(), CreatedDirs::default());
        let target = LockTarget { component: &Component::D8, dir: &dir, root: &root };
        let prepare = || {
            trust::directory(&dir)?;
            disk::make_dirs(&dir, &mut made.0).map_err(|error| StoreError::refused_write(&root, error))
        };
        let lock = target.wait(prepare, Instant::now(), timeout, reporter).await?;
        let renewing = lock::renew(&lock, RENEW_INTERVAL);
        lockfile::sweep(&dir).map_err(StoreError::io("read", &dir))?;
        trust::directory(&dir.join("versions"))?;
        trust::directory(&self.layout.staging())?;
        let staging =
            Staging::create(&self.layout, &mut made.0).map_err(|error| StoreError::refused_write(&root, error))?;
        // A directory with a journal belongs to a plugin. The next command that changes plugins handles it.
        for orphan in staging::find(&self.layout).map_err(StoreError::io("read", self.layout.staging()))?.orphans {
            if disk::lstat(&orphan.dir.join(EXECUTABLE)).is_ok_and(|found| found.is_some_and(|dir| dir.is_dir())) {
                disk::remove_tree(&orphan.dir).map_err(StoreError::io("remove", &orphan.dir))?;
            }
        }
        Ok(LockedD8Store { store: self.clone(), staging, made, placed: Vec::new(), lock: Some(lock), renewing })
    }
}

impl LockedD8Store {
    /// Fails if the lock was lost.
    pub(super) fn check_lock(&self) -> Result<(), StoreError> {
        let path = self.store.dir();
        let held = match &self.lock {
            Some(lock) => lock.is_held().map_err(StoreError::io("read", &path))?,
            None => false,
        };
        if held { Ok(()) } else { Err(StoreError::LockLost { name: Component::D8, path }) }
    }
}

impl Drop for LockedD8Store {
    fn drop(&mut self) {
        self.renewing.abort();
        for placed in std::mem::take(&mut self.placed) {
            // Renamed first: a partly removed directory could look like a version.
            let aside = self.staging.dir().join(disk::random_name());
            let _ = disk::rename(&placed, &aside);
        }
        // The lock is removed after the files that it protects, and its directories after it.
        let _ = disk::remove_tree(self.staging.dir());
        self.lock = None;
    }
}
