//! The command on the PATH becomes a link to the store: in one rename, with the file it was kept.

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

/// What the link on the PATH is called before its rename.
const LINK_PREFIX: &str = ".d8-link-";

/// How the command on the PATH becomes a link to the store.
#[derive(Debug, Clone)]
pub struct PathMigration {
    /// The command, a plain file.
    pub path: PathBuf,
    /// The tag to store its file under before it is replaced; `None` for a development build.
    pub seed: Option<Tag>,
}

impl PathMigration {
    /// `seed`: the running version; `None` for a development build. `None` if there is nothing to migrate.
    pub fn of(entry: &PathEntry, seed: Option<Tag>) -> Option<Self> {
        match entry {
            PathEntry::Plain { path, .. } => Some(Self { path: path.clone(), seed }),
            PathEntry::Linked { .. } | PathEntry::Managed { .. } => None,
        }
    }
}

/// A link to the store that lies ready beside the command it will replace.
pub(super) struct PathLink {
    command: PathBuf,
    ready: PathBuf,
    /// The file is stored nowhere else.
    only_copy: bool,
}

impl PathLink {
    /// Makes it, which shows that the directory can be written to.
    pub(super) fn prepare(store: &D8Store, migration: &PathMigration) -> Result<Self, StoreError> {
        let (command, only_copy) = (&migration.path, migration.seed.is_none());
        let folder = command.parent().unwrap_or(Path::new("/"));
        sweep(folder, &store.current());
        let ready = folder.join(format!("{LINK_PREFIX}{}", disk::random_name()));
        match symlink(store.current(), &ready) {
            Ok(()) => Ok(Self { command: command.to_owned(), ready, only_copy }),
            Err(source) => Err(StoreError::EntryUnwritable { path: command.to_owned(), source }),
        }
    }

    /// Keeps the file under its name with `.old` unless something is there, then renames the link over it.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        let failed = |source| StoreError::EntryUnwritable { path: self.command.clone(), source };
        let kept = self.keep().map_err(failed)?;
        let linked = failpoint::hit("own.backup").and_then(|()| disk::rename(&self.ready, &self.command));
        if let Err(error) = linked {
            if let Some(old) = kept {
                let _ = disk::unlink(&old);
            }
            return Err(failed(error));
        }
        if let Some(folder) = self.command.parent() {
            // It is done; a power loss now would leave the file, which works as well.
            let _ = disk::sync_dir(folder);
        }
        let _ = failpoint::hit("own.linked");
        Ok(kept)
    }

    /// Gives the file a second name; `None` if an older backup has it. The only copy of a file gets
    /// another name then.
    fn keep(&self) -> io::Result<Option<PathBuf>> {
        let more = if self.only_copy { MORE_BACKUPS } else { 0 };
        for number in 0..=more {
            let mut name = self.command.clone().into_os_string();
            name.push(if number == 0 { ".old".to_owned() } else { format!(".old.{number}") });
            let old = PathBuf::from(name);
            match second_name(&self.command, &old) {
                Ok(()) => return Ok(Some(old)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        if self.only_copy { Err(io::Error::other("too many older backups are there")) } else { Ok(None) }
    }
}

/// How many backups of development builds there may be beside the first.
const MORE_BACKUPS: u32 = 99;

impl Drop for PathLink {
    fn drop(&mut self) {
        let _ = disk::unlink(&self.ready);
    }
}

/// Gives a file a second name, or copies it; of a link, makes another beside it.
fn second_name(file: &Path, name: &Path) -> io::Result<()> {
    match fs::read_link(file) {
        Ok(target) => symlink(target, name),
        Err(_) => disk::link_or_copy(file, name, disk::EXECUTABLE).map(drop),
    }
}

/// Removes the links that a killed command left ready.
fn sweep(folder: &Path, target: &Path) {
    for found in fs::read_dir(folder).into_iter().flatten().flatten() {
        let left = found.file_name().as_encoded_bytes().starts_with(LINK_PREFIX.as_bytes());
        if left && fs::read_link(found.path()).is_ok_and(|to| to == target) {
            let _ = disk::unlink(&found.path());
        }
    }
}
