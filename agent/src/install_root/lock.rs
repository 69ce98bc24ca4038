//! Waits for the lock of a directory and keeps it fresh while it is held.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use d8_crds::values::name::Component;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    layout::LOCK,
    lockfile::{self, Attempt, LockFile},
};
use crate::{
    disk,
    error::{LockHolder, StoreError},
    progress::{ProgressEvent, ProgressReporter},
};

/// How often a waiter looks again.
pub(crate) const POLL: Duration = Duration::from_millis(100);

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
        reporter: &dyn ProgressReporter,
    ) -> Result<LockFile, StoreError> {
        let Self { component, dir, root } = *self;
        let path = dir.join(LOCK);
        let mut told: Option<LockHolder> = None;
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
                reporter.report(ProgressEvent::Waiting { name: component, holder: &holder, path: &path });
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

#[cfg(test)]
mod tests {
    use std::fs;

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
