//! Holding the locks of one or several plugins.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use d8_crds::values::name::{Component, PluginName};
use tokio::{task::AbortHandle, time::Instant};

use super::{
    Store,
    layout::{LOCK, Layout},
    lockfile::{self, Attempt, LockFile, RENEW},
    repair,
    staging::Staging,
    trust,
};
use crate::{
    disk,
    error::{Holder, StoreError},
    failpoint,
    progress::{Event, Watch},
};

/// How often a waiter looks again.
const POLL: Duration = Duration::from_millis(100);

/// The right to change these plugins in this store, and a staging directory for it. Dropping it gives
/// the locks back and takes away all that was begun and not finished.
#[derive(Debug)]
pub struct Locked {
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
    pub async fn lock(&self, names: &[PluginName], timeout: Duration, watch: &dyn Watch) -> Result<Locked, StoreError> {
        let begun = Instant::now();
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let mut locks = Locks::default();
        for name in &names {
            locks.take(self, name, begun, timeout, watch).await?;
        }
        for place in store_directories(&self.layout) {
            trust::directory(&place)?;
        }
        let staging = Staging::begin(&self.layout, &mut locks.made).map_err(|error| self.refused(error))?;
        let mut locked = Locked { store: self.clone(), staging, locks };
        locked.repair(begun, timeout, watch).await?;
        failpoint::hit("lock.ready").map_err(StoreError::io("lock", self.root()))?;
        Ok(locked)
    }

    /// What a refused write below the root means.
    pub(super) fn refused(&self, source: io::Error) -> StoreError {
        refused(self.root(), source)
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
        watch: &dyn Watch,
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
        let lock = place.wait(directories, begun, timeout, watch).await?;
        self.renewing.push(renew(&lock, RENEW));
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

/// A directory whose lock is wanted.
pub(crate) struct Place<'a> {
    /// What is in it.
    pub(crate) component: &'a Component,
    /// The directory.
    pub(crate) dir: &'a Path,
    /// The root that it is below.
    pub(crate) root: &'a Path,
}

impl Place<'_> {
    /// Waits for the lock until `timeout` after `begun`. `prepare` makes the directory, each time anew:
    /// it may go with its last user.
    pub(crate) async fn wait(
        &self,
        mut prepare: impl FnMut() -> Result<(), StoreError>,
        begun: Instant,
        timeout: Duration,
        watch: &dyn Watch,
    ) -> Result<LockFile, StoreError> {
        let Self { component, dir, root } = *self;
        let path = dir.join(LOCK);
        let mut told: Option<Holder> = None;
        loop {
            prepare()?;
            let holder = match lockfile::attempt(dir) {
                Ok(Attempt::Taken(lock)) => return Ok(lock),
                Ok(Attempt::Again) => None,
                Ok(Attempt::Held(holder)) => Some(holder),
                // The directory went with its last user.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(refused(root, error)),
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Err(refused(root, error)),
                Err(error) if disk::lstat(&path).is_ok_and(|found| found.is_some_and(|at| !at.is_file())) => {
                    return Err(StoreError::Broken { name: component.clone(), path, why: error.to_string() });
                }
                Err(error) => return Err(StoreError::io("lock", path)(error)),
            };
            let Some(holder) = holder else {
                tokio::task::yield_now().await;
                continue;
            };
            if told.as_ref() != Some(&holder) {
                watch.event(Event::Waiting { name: component, holder: &holder, path: &path });
                told = Some(holder.clone());
            }
            let waited = begun.elapsed();
            if waited >= timeout {
                return Err(StoreError::Locked { name: component.clone(), path, holder, waited });
            }
            tokio::time::sleep(POLL.min(timeout.saturating_sub(waited))).await;
        }
    }
}

/// What a refused write below a root means.
pub(crate) fn refused(root: &Path, source: io::Error) -> StoreError {
    let root = root.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::Unwritable { root, source },
        io::ErrorKind::NotADirectory => {
            StoreError::Root { root, why: "a part of its path is not a directory".to_owned() }
        }
        _ => StoreError::Io { what: "make directories in", path: root, source },
    }
}

/// Renews the lock's time, every so often, for as long as it is held.
pub(crate) fn renew(lock: &LockFile, every: Duration) -> AbortHandle {
    let file = lock.file();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let Some(file) = file.upgrade() else { return };
            if let Err(error) = file.set_modified(SystemTime::now()) {
                tracing::debug!(%error, "the lock's time could not be renewed");
            }
        }
    })
    .abort_handle()
}

impl Locked {
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

    async fn repair(&mut self, begun: Instant, timeout: Duration, watch: &dyn Watch) -> Result<(), StoreError> {
        loop {
            let Some(busy) = repair::all(self, watch)? else { return Ok(()) };
            // Somebody is rolling back a change of our plugins, and will be done soon.
            let waited = begun.elapsed();
            if waited >= timeout {
                let path = self.store.layout.plugin(&busy).lock();
                return Err(StoreError::Locked { name: busy.into(), path, holder: Holder::Unreadable, waited });
            }
            tokio::time::sleep(POLL.min(timeout.saturating_sub(waited))).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_renewed_and_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let Ok(Attempt::Taken(lock)) = lockfile::attempt(folder.path()) else { panic!("not taken") };
        let old = SystemTime::now() - Duration::from_hours(2);
        let file = lock.file().upgrade().unwrap();
        file.set_modified(old).unwrap();
        drop(file);
        let task = renew(&lock, Duration::from_millis(1));
        let renewed = async {
            while fs::metadata(lock.path()).unwrap().modified().unwrap() == old {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("it was not renewed");
        let path = lock.path().to_owned();
        drop(lock);
        assert!(!path.exists());
        // The task does not keep the flock alive: the lock can be had again at once.
        assert!(matches!(lockfile::attempt(folder.path()), Ok(Attempt::Taken(_))));
        task.abort();
    }
}
