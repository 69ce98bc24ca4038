//! Holds the locks of one or several plugins, and a staging directory.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use d8_crds::values::name::{Component, PluginName};
use tokio::{task::AbortHandle, time::Instant};

use super::{Store, displaced::DisplacedPaths, repair};
use crate::{
    disk::{self, failpoint},
    error::{LockHolder, StoreError},
    install_root::{
        layout::Layout,
        lock::{self, LockTarget},
        lockfile::{LockFile, RENEW_INTERVAL},
        staging::Staging,
        trust,
    },
    progress::ProgressReporter,
};

/// A store with the locks of some plugins and a staging directory. On drop the locks are released and everything that
/// is not finished is removed.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) store: Store,
    pub(super) staging: Staging,
    /// Dropped after the staging directory.
    pub(super) locks: Locks,
}

/// The held locks, and the directories that were created for them.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: BTreeMap<PluginName, LockFile>,
    renewing: Vec<AbortHandle>,
    /// Created directories, the outermost first. Those that are empty at the end are removed.
    pub(super) made: Vec<PathBuf>,
    /// Dropped after the locks, and after the directories that are removed.
    pub(super) displaced: DisplacedPaths,
}

impl Store {
    /// Takes the locks of these plugins, all or none, in the order of their names, within `timeout` for all of them (0:
    /// one attempt). Then repairs what a crash left.
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
        for directory in shared_directories(&self.layout) {
            trust::directory(&directory)?;
        }
        let staging = Staging::create(&self.layout, &mut locks.made)
            .map_err(|error| StoreError::refused_write(self.root(), error))?;
        let mut locked = LockedStore { store: self.clone(), staging, locks };
        locked.repair(begun, timeout, reporter).await?;
        failpoint::hit("lock.ready").map_err(StoreError::io("lock", self.root()))?;
        Ok(locked)
    }
}

/// Returns the directories that a change writes to, in addition to those of the plugins.
fn shared_directories(layout: &Layout) -> Vec<PathBuf> {
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
        let prepare = || {
            self.prepare(store, &plugin.dir).map_err(|error| match error {
                StoreError::Root { .. } if disk::lstat(&plugin.dir).is_ok_and(|found| found.is_some()) => {
                    broken(plugin.dir.clone(), "it is not a directory".to_owned())
                }
                error => error,
            })
        };
        let target = LockTarget { component: &component, dir: &plugin.dir, root: store.root() };
        let lock = target.wait(prepare, begun, timeout, reporter).await?;
        self.renewing.push(lock::renew(&lock, RENEW_INTERVAL));
        self.held.insert(name.clone(), lock);
        Ok(())
    }

    /// Creates `<root>/plugins/<name>` and checks whether it may be used.
    fn prepare(&mut self, store: &Store, dir: &Path) -> Result<(), StoreError> {
        trust::directory(&store.layout.plugins())?;
        let failed = |error| StoreError::refused_write(store.root(), error);
        self.displaced.displace(dir).map_err(failed)?;
        disk::make_dirs(dir, &mut self.made).map_err(failed)?;
        trust::directory(dir)
    }
}

impl LockedStore {
    /// Returns the store that this guard has locked.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the plugins whose locks are held.
    pub fn names(&self) -> impl Iterator<Item = &PluginName> {
        self.locks.held.keys()
    }

    /// Returns whether a file or link was in place of the directory of a plugin. It is put back unless the change is made.
    pub fn has_displaced(&self, name: &PluginName) -> bool {
        self.locks.displaced.contains(&self.store.layout.plugin(name).dir)
    }

    /// Directory for files that are not finished.
    pub(super) fn staging_dir(&self) -> &Path {
        self.staging.dir()
    }

    /// Fails if the lock of `name` was lost.
    pub(super) fn check_lock(&self, name: &PluginName) -> Result<(), StoreError> {
        let path = self.store.layout.plugin(name).lock();
        let held = match self.locks.held.get(name) {
            Some(lock) => lock.is_held().map_err(StoreError::io("read", &path))?,
            None => false,
        };
        if held { Ok(()) } else { Err(StoreError::LockLost { name: name.clone().into(), path }) }
    }

    async fn repair(
        &mut self,
        begun: Instant,
        timeout: Duration,
        reporter: &dyn ProgressReporter,
    ) -> Result<(), StoreError> {
        loop {
            let Some((busy, path)) = repair::all(self, reporter)? else { return Ok(()) };
            // Another process is rolling back a change of this plugin and will finish soon.
            let waited = begun.elapsed();
            if waited >= timeout {
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
        // Removes the directories that are empty: of plugins, and those that were created and not used.
        for dir in dirs.iter().chain(self.made.iter().rev()) {
            let _ = fs::remove_dir(dir);
        }
    }
}
