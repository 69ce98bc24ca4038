//! The temporary home directory of a tested executable.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::UIDS;
use crate::disk;

/// Prefix of the names of the directories.
const PREFIX: &str = "d8-smoke-";

/// Age at which a directory is not in use any more.
const STALE: Duration = Duration::from_hours(1);

/// A home directory that only the tested executable uses. Removed on drop.
pub(super) struct TemporaryHome(PathBuf);

impl TemporaryHome {
    /// Creates a directory in `scratch`, or in the system's temporary directory if `uid` cannot reach `scratch`.
    pub(super) fn create(scratch: &Path, uid: Option<u32>) -> io::Result<Self> {
        let reachable = |path: &Path| {
            path.ancestors().all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.permissions().mode() & 1 != 0))
        };
        let parent = if uid.is_none() || reachable(scratch) {
            scratch.to_owned()
        } else {
            sweep(&std::env::temp_dir());
            std::env::temp_dir()
        };
        let path = parent.join(format!("{PREFIX}{}", disk::random_name()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let home = Self(path);
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o700))?;
        if let Some(uid) = uid {
            std::os::unix::fs::chown(&home.0, Some(uid), Some(uid))?;
        }
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryHome {
    fn drop(&mut self) {
        let _ = disk::remove_tree(&self.0);
    }
}

/// Temporary directories in which every user may create files.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"];

/// Removes the files that an executable left in temporary directories: those that belong to its user id, which no user
/// has. In a mount namespace it can leave none.
pub(super) fn remove_leftovers(uid: u32) {
    for found in SHARED.iter().flat_map(fs::read_dir).flatten().flatten() {
        if UIDS.contains(&uid) && found.metadata().is_ok_and(|metadata| metadata.uid() == uid) {
            let _ = disk::remove_tree(&found.path());
        }
    }
}

/// Removes the directories that killed commands left in the system's temporary directory: those that belong to a user
/// id that no user has. Directories in a staging directory are removed with it.
fn sweep(directory: &Path) {
    for found in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = found.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if found.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && metadata.is_dir()
            && UIDS.contains(&metadata.uid())
            && age > STALE
        {
            let _ = disk::remove_tree(&found.path());
        }
    }
}
