//! Holding the locks of one or several plugins.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use d8_crds::values::name::{Component, PluginName};
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    disk::{self, failpoint},
    error::{LockHolder, StoreError},
    install_root::{
        layout::Layout,
        lock::{self, Place},
        lockfile::{LockFile, RENEW},
        staging::Staging,
        trust,
    },
    progress::ProgressReporter,
    store::{Store, repair},
};

/// The right to change these plugins in this store, and a staging directory for it. Dropping it gives
/// the locks back and takes away all that was begun and not finished.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) store: Store,
    pub(super) staging: Staging,
    /// Given back after the staging directory is gone.
    pub(super) locks: Locks,
}

/// The locks held, and what had to be made for them.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: BTreeMap<PluginName, LockFile>,
    renewing: Vec<AbortHandle>,
    /// Directories made, the outermost first; those still empty at the end go again.
    pub(super) made: Vec<PathBuf>,
}

impl Store {
    /// Takes the locks of these plugins, in name order, all or none, within `timeout` for all together
    /// (0: one try). Then puts in order what a crash left behind.
    ///
    /// # Errors
    /// [`StoreError::Locked`] after `timeout`; [`StoreError::Unwritable`]; [`StoreError::Untrusted`].
    pub async fn lock(
        &self,
        names: &[PluginName],
        timeout: Duration,
        reporter: &dyn ProgressReporter,
    ) -> Result<LockedStore, StoreError> {
        let begun = Instant::now();
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let mut locks = Locks::default();
        for name in &names {
            locks.take(self, name, begun, timeout, reporter).await?;
        }
        for place in store_directories(&self.layout) {
            trust::directory(&place)?;
        }
        let staging = Staging::begin(&self.layout, &mut locks.made).map_err(|error| self.refused(error))?;
        let mut locked = LockedStore { store: self.clone(), staging, locks };
        locked.repair(begun, timeout, reporter).await?;
        failpoint::hit("lock.ready").map_err(StoreError::io("lock", self.root()))?;
        Ok(locked)
    }

    /// What a refused write below the root means.
    pub(super) fn refused(&self, source: io::Error) -> StoreError {
        lock::refused(self.root(), source)
    }
}

/// The directories of a store that a change writes to, beside those of plugins.
fn store_directories(layout: &Layout) -> Vec<PathBuf> {
    let contracts = layout.contracts();
    let cache = contracts.parent().map(Path::to_owned);
    [layout.staging(), contracts].into_iter().chain(cache).collect()
}

impl Locks {
    async fn take(
        &mut self,
        store: &Store,
        name: &PluginName,
        begun: Instant,
        timeout: Duration,
        reporter: &dyn ProgressReporter,
    ) -> Result<(), StoreError> {
        let plugin = store.layout.plugin(name);
        let component = Component::Plugin(name.clone());
        let broken = |path: PathBuf, why: String| StoreError::Broken { name: component.clone(), path, why };
        let directories = || {
            self.directories(store, &plugin.dir).map_err(|error| match error {
                StoreError::Root { .. } if disk::lstat(&plugin.dir).is_ok_and(|found| found.is_some()) => {
                    broken(plugin.dir.clone(), "it is not a directory".to_owned())
                }
                error => error,
            })
        };
        let place = Place { component: &component, dir: &plugin.dir, root: store.root() };
        let lock = place.wait(directories, begun, timeout, reporter).await?;
        self.renewing.push(lock::renew(&lock, RENEW));
        self.held.insert(name.clone(), lock);
        Ok(())
    }

    /// Makes `<root>/plugins/<name>` and refuses what may not be one.
    fn directories(&mut self, store: &Store, dir: &Path) -> Result<(), StoreError> {
        trust::directory(&store.layout.plugins())?;
        disk::make_dirs(dir, &mut self.made).map_err(|error| store.refused(error))?;
        trust::directory(dir)
    }
}

impl LockedStore {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The plugins that may be changed.
    pub fn names(&self) -> impl Iterator<Item = &PluginName> {
        self.locks.held.keys()
    }

    /// Where what is not finished goes.
    pub(super) fn staging_dir(&self) -> &Path {
        self.staging.dir()
    }

    /// Refuses to go on unless the lock of `name` is still ours.
    pub(super) fn check(&self, name: &PluginName) -> Result<(), StoreError> {
        let path = self.store.layout.plugin(name).lock();
        let ours = match self.locks.held.get(name) {
            Some(lock) => lock.still_ours().map_err(StoreError::io("read", &path))?,
            None => false,
        };
        if ours { Ok(()) } else { Err(StoreError::LockLost { name: name.clone().into(), path }) }
    }

    async fn repair(
        &mut self,
        begun: Instant,
        timeout: Duration,
        reporter: &dyn ProgressReporter,
    ) -> Result<(), StoreError> {
        loop {
            let Some(busy) = repair::all(self, reporter)? else { return Ok(()) };
            // Somebody is rolling back a change of our plugins, and will be done soon.
            let waited = begun.elapsed();
            if waited >= timeout {
                let path = self.store.layout.plugin(&busy).lock();
                return Err(StoreError::Locked { name: busy.into(), path, holder: LockHolder::Unreadable, waited });
            }
            tokio::time::sleep(lock::POLL.min(timeout.saturating_sub(waited))).await;
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        for task in &self.renewing {
            task.abort();
        }
        let dirs: Vec<PathBuf> =
            self.held.values().filter_map(|lock| lock.path().parent().map(PathBuf::from)).collect();
        self.held.clear();
        let _ = failpoint::hit("release.unlocked");
        // A plugin's directory without anything in it, and what was made on the way and not used.
        for dir in dirs.iter().chain(self.made.iter().rev()) {
            let _ = fs::remove_dir(dir);
        }
    }
}
