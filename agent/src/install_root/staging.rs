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
            match disk::make_dir(&dir) {
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
        let Some(lock) = disk::if_exists(disk::open_dir(&dir))? else { continue };
        if !flock(&lock)? {
            found.busy.push(dir);
        } else if FileId::at(&dir)? == Some(FileId::of(&lock.metadata()?)) {
            found.orphans.push(OrphanedStaging { dir, _lock: lock });
        }
    }
    Ok(found)
}
