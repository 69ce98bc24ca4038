//! `<root>/.staging/<txn>/`: what is not finished, and what is on its way out.
//!
//! The directory carries its owner's flock for as long as the owner lives. Only what bears none is
//! swept, and a journal in it is rolled back first.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    disk::{self, FileId, failpoint},
    install_root::{layout::Layout, lockfile::flock},
};

/// A staging directory of this process; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    /// Holds the flock.
    _lock: File,
    keep: bool,
}

impl Staging {
    /// Makes one. `made` collects the parents that had to be made.
    pub(crate) fn begin(layout: &Layout, made: &mut Vec<PathBuf>) -> io::Result<Self> {
        let parent = layout.staging();
        // Somebody may sweep the directory before it bears the flock, or its empty parent.
        for _ in 0..100 {
            disk::make_dirs(&parent, made)?;
            let dir = parent.join(disk::random_name());
            match disk::make_dir(&dir) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            let Some(lock) = disk::absent(File::open(&dir))? else { continue };
            let id = FileId::of(&lock.metadata()?);
            if flock(&lock)? && FileId::at(&dir)? == Some(id) {
                return Ok(Self { dir, _lock: lock, keep: false });
            }
        }
        Err(io::Error::other("it disappears as fast as it is made"))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the directory, with the journal in it, to the next command.
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
            // Fails, as it should, while somebody else stages.
            let _ = fs::remove_dir(parent);
        }
        let _ = failpoint::hit("release.swept");
    }
}

/// A staging directory whose owner is dead; nobody else touches it while this lives.
pub(crate) struct Orphan {
    pub(crate) dir: PathBuf,
    _lock: File,
}

/// What was found in `.staging/`.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) orphans: Vec<Orphan>,
    /// Directories whose owners live.
    pub(crate) busy: Vec<PathBuf>,
}

/// Looks through `.staging/`.
pub(crate) fn find(layout: &Layout) -> io::Result<Found> {
    let mut found = Found::default();
    let Some(entries) = disk::absent(fs::read_dir(layout.staging()))? else { return Ok(found) };
    for entry in entries {
        let dir = entry?.path();
        let Some(metadata) = disk::lstat(&dir)? else { continue };
        if !metadata.is_dir() {
            disk::unlink(&dir)?;
            continue;
        }
        let Some(lock) = disk::absent(File::open(&dir))? else { continue };
        if !flock(&lock)? {
            found.busy.push(dir);
        } else if FileId::at(&dir)? == Some(FileId::of(&lock.metadata()?)) {
            found.orphans.push(Orphan { dir, _lock: lock });
        }
    }
    Ok(found)
}
