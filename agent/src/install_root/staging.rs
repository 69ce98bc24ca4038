//! Staging directories `<root>/.staging/<id>/`: files that are not finished, and files to be removed.
//!
//! A staging directory is flocked while its owner lives. A directory without a flock is removed, after a journal in it
//! was rolled back.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    disk::{self, FileId, failpoint, flock::flock},
    install_root::layout::Layout,
};

/// Mode of a staging directory: others may not open it, or they could take its flock and block the repair of a change that
/// was interrupted. The tested program, as another user, reaches its files in it.
const TRAVERSABLE: u32 = 0o711;

/// A staging directory of this process. Removed on drop.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    /// The open directory with the flock.
    _lock: File,
    keep: bool,
}

impl Staging {
    /// Creates a staging directory. Adds the created parents to `made`.
    pub(crate) fn create(layout: &Layout, made: &mut Vec<PathBuf>) -> io::Result<Self> {
        let parent = layout.staging();
        // Another process may remove the directory before it is flocked, or its empty parent.
        for _ in 0..disk::CREATE_ATTEMPTS {
            disk::make_dirs(&parent, made)?;
            let dir = parent.join(disk::random_name());
            match disk::make_dir_with(&dir, TRAVERSABLE) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            let Some(lock) = disk::if_exists(disk::open_dir(&dir))? else { continue };
            let id = FileId::of(&lock.metadata()?);
            if flock(&lock)? && FileId::at(&dir)? == Some(id) {
                return Ok(Self { dir, _lock: lock, keep: false });
            }
        }
        Err(io::Error::other("another process removes it as fast as it is created"))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps the directory with its journal for the next command.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.keep {
            let _ = disk::remove_tree(&self.dir);
        }
        if let Some(parent) = self.dir.parent() {
            // Fails while another process has a staging directory.
            let _ = fs::remove_dir(parent);
        }
        let _ = failpoint::hit("release.swept");
    }
}

/// A staging directory whose owner has ended. No other process uses it while this exists.
pub(crate) struct OrphanedStaging {
    pub(crate) dir: PathBuf,
    _lock: File,
}

/// The staging directories of a root.
#[derive(Default)]
pub(crate) struct StagingDirs {
    pub(crate) orphans: Vec<OrphanedStaging>,
    /// Directories whose owners are running.
    pub(crate) busy: Vec<PathBuf>,
}

/// Lists the staging directories.
pub(crate) fn find(layout: &Layout) -> io::Result<StagingDirs> {
    let mut found = StagingDirs::default();
    let Some(entries) = disk::if_exists(fs::read_dir(layout.staging()))? else { return Ok(found) };
    for entry in entries {
        let dir = entry?.path();
        let Some(metadata) = disk::lstat(&dir)? else { continue };
        if !metadata.is_dir() {
            disk::unlink(&dir)?;
            continue;
        }
        let lock = match disk::open_dir(&dir) {
            // Of another user, who is the only one that can repair it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.busy.push(dir);
                continue;
            }
            opened => disk::if_exists(opened)?,
        };
        let Some(lock) = lock else { continue };
        if !flock(&lock)? {
            found.busy.push(dir);
        } else if FileId::at(&dir)? == Some(FileId::of(&lock.metadata()?)) {
            found.orphans.push(OrphanedStaging { dir, _lock: lock });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
        process::Command,
    };

    use super::*;

    #[test]
    fn other_users_cannot_take_the_flock_of_a_staging_directory() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let layout = Layout { root: root.path().to_owned() };
        let staging = Staging::create(&layout, &mut Vec::new()).unwrap();
        let mode = fs::metadata(staging.dir()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o711);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        fs::write(staging.dir().join("file"), "x").unwrap();
        let as_nobody = |script: &str| {
            let status =
                Command::new("sh").args(["-c", script, "sh"]).arg(staging.dir()).uid(65534).gid(65534).status();
            status.unwrap().success()
        };
        assert!(!as_nobody("exec 9<\"$1\"") && !as_nobody("ls \"$1\" 2>/dev/null"));
        assert!(as_nobody("cat \"$1/file\" >/dev/null"), "the tested program reaches its files");
    }
}
