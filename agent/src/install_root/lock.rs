//! Waits for the lock of a directory, and renews its time while it is held.

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

/// Time between two attempts to take a lock.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// A directory to lock.
pub(crate) struct LockTarget<'a> {
    /// The component in the directory.
    pub(crate) component: &'a Component,
    /// Path of the directory.
    pub(crate) dir: &'a Path,
    /// The install root above it.
    pub(crate) root: &'a Path,
}

impl LockTarget<'_> {
    /// Waits for the lock until `timeout` after `begun`. `prepare` creates the directory before each attempt: the last
    /// process that used it may have removed it.
    pub(crate) async fn wait(
        &self,
        mut prepare: impl FnMut() -> Result<(), StoreError>,
        begun: Instant,
        timeout: Duration,
        reporter: &dyn ProgressReporter,
    ) -> Result<LockFile, StoreError> {
        let Self { component, dir, root } = *self;
        let path = dir.join(LOCK);
        let mut last_holder: Option<LockHolder> = None;
        loop {
            prepare()?;
            let holder = match lockfile::attempt(dir) {
                Ok(Attempt::Taken(lock)) => return Ok(lock),
                Ok(Attempt::Again) => None,
                Ok(Attempt::Held(holder)) => Some(holder),
                // The last process that used the directory removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(StoreError::refused_write(root, error));
                }
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    return Err(StoreError::refused_write(root, error));
                }
                Err(error) if disk::lstat(&path).is_ok_and(|found| found.is_some_and(|at| !at.is_file())) => {
                    return Err(StoreError::Broken { name: component.clone(), path, why: error.to_string() });
                }
                Err(error) => return Err(StoreError::io("lock", path)(error)),
            };
            let Some(holder) = holder else {
                tokio::task::yield_now().await;
                continue;
            };
            if last_holder.as_ref() != Some(&holder) {
                reporter.report(ProgressEvent::Waiting { name: component, holder: &holder, path: &path });
                last_holder = Some(holder.clone());
            }
            let waited = begun.elapsed();
            if waited >= timeout {
                return Err(StoreError::Locked { name: component.clone(), path, holder, waited });
            }
            tokio::time::sleep(POLL.min(timeout.saturating_sub(waited))).await;
        }
    }
}

/// Renews the time of a lock at this interval while it is held.
pub(crate) fn renew(lock: &LockFile, interval: Duration) -> AbortHandle {
    let file = lock.file();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(file) = file.upgrade() else { return };
            if let Err(error) = file.set_modified(SystemTime::now()) {
                tracing::debug!(%error, "failed to renew the time of the lock");
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
    async fn a_held_lock_is_renewed_and_can_be_released() {
        let directory = tempfile::tempdir().unwrap();
        let Ok(Attempt::Taken(lock)) = lockfile::attempt(directory.path()) else { panic!("not taken") };
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
        // The task does not keep the flock: the lock can be taken again immediately.
        assert!(matches!(lockfile::attempt(directory.path()), Ok(Attempt::Taken(_))));
        task.abort();
    }
}
