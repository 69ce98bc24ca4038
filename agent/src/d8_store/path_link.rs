//! Replaces the command on the PATH by a link to the store, in one rename, and keeps a backup of the file.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use d8_crds::values::name::Tag;

use crate::{
    d8_store::{D8Store, PathEntry},
    disk::{self, failpoint},
    error::StoreError,
};

/// Prefix of the link's name before it is renamed.
const LINK_PREFIX: &str = ".d8-link-";

/// The replacement of a command on the PATH by a link to the store.
#[derive(Debug, Clone)]
pub struct PathMigration {
    /// Path of the command, a plain file.
    pub path: PathBuf,
    /// Tag that the file is stored under before it is replaced; `None` for a development build.
    pub seed: Option<Tag>,
}

impl PathMigration {
    /// Returns the replacement of a command, `None` if it is not needed. `seed` is the running version, `None` for a
    /// development build.
    pub fn of(entry: &PathEntry, seed: Option<Tag>) -> Option<Self> {
        match entry {
            PathEntry::Plain { path, .. } => Some(Self { path: path.clone(), seed }),
            PathEntry::Linked { .. } | PathEntry::Managed { .. } => None,
        }
    }
}

/// A link to the store, next to the command that it will replace. Removed on drop.
pub(super) struct PathLink {
    command: PathBuf,
    link: PathBuf,
    /// Whether the file is in no store.
    only_copy: bool,
}

impl PathLink {
    /// Creates the link. Fails if the directory is not writable.
    pub(super) fn prepare(store: &D8Store, migration: &PathMigration) -> Result<Self, StoreError> {
        let (command, only_copy) = (&migration.path, migration.seed.is_none());
        let directory = command.parent().unwrap_or(Path::new("/"));
        sweep(directory, &store.current());
        let link = directory.join(format!("{LINK_PREFIX}{}", disk::random_name()));
        match symlink(store.current(), &link) {
            Ok(()) => Ok(Self { command: command.to_owned(), link, only_copy }),
            Err(source) => Err(StoreError::EntryUnwritable { path: command.to_owned(), source }),
        }
    }

    /// Makes a backup of the file, then renames the link over it. Returns the path of the backup, `None` if an older
    /// backup exists.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        let failed = |source| StoreError::EntryUnwritable { path: self.command.clone(), source };
        let backup = self.back_up().map_err(failed)?;
        let linked = failpoint::hit("d8.backup").and_then(|()| disk::rename(&self.link, &self.command));
        if let Err(error) = linked {
            if let Some(backup) = backup {
                let _ = disk::unlink(&backup);
            }
            return Err(failed(error));
        }
        if let Some(directory) = self.command.parent() {
            // The change is made. After a power loss the file may still be there, which also works.
            let _ = disk::sync_dir(directory);
        }
        let _ = failpoint::hit("d8.linked");
        Ok(backup)
    }

    /// Links or copies the file to its name with `.old`. Returns `None` if that exists. A file that is in no store gets
    /// another name then.
    fn back_up(&self) -> io::Result<Option<PathBuf>> {
        let more = if self.only_copy { MORE_BACKUPS } else { 0 };
        for number in 0..=more {
            let mut name = self.command.clone().into_os_string();
            name.push(if number == 0 { ".old".to_owned() } else { format!(".old.{number}") });
            let backup = PathBuf::from(name);
            match link_or_copy(&self.command, &backup) {
                Ok(()) => return Ok(Some(backup)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        if self.only_copy { Err(io::Error::other("there are too many older backups")) } else { Ok(None) }
    }
}

/// Backups of development builds in addition to the first one.
const MORE_BACKUPS: u32 = 99;

impl Drop for PathLink {
    fn drop(&mut self) {
        let _ = disk::unlink(&self.link);
    }
}

/// Links or copies a file. Of a link, creates another one with the same target.
fn link_or_copy(file: &Path, name: &Path) -> io::Result<()> {
    match fs::read_link(file) {
        Ok(target) => symlink(target, name),
        Err(_) => disk::link_or_copy(file, name, disk::EXECUTABLE).map(drop),
    }
}

/// Removes the links that killed commands left.
fn sweep(directory: &Path, target: &Path) {
    for found in fs::read_dir(directory).into_iter().flatten().flatten() {
        let unfinished = found.file_name().as_encoded_bytes().starts_with(LINK_PREFIX.as_bytes());
        if unfinished && fs::read_link(found.path()).is_ok_and(|to| to == target) {
            let _ = disk::unlink(&found.path());
        }
    }
}
