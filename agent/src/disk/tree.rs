//! Directories and what is in them: created with mode 0755, renamed, and removed.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::{CREATE_ATTEMPTS, EXECUTABLE, copy, failpoint, if_exists, lstat, rename, sync_dir, sync_parent, unlink};

/// Creates one directory with mode 0755. Returns `false` if it exists. A link to a directory is not a directory.
pub(crate) fn make_dir(path: &Path) -> io::Result<bool> {
    make_dir_with(path, EXECUTABLE)
}

/// As [`make_dir`], with another mode.
pub(crate) fn make_dir_with(path: &Path, mode: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match lstat(path)? {
            Some(metadata) if metadata.is_dir() => Ok(false),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")),
            // Another process released its lock and removed the directory between the two calls.
            None => make_dir_with(path, mode),
        },
        Err(error) => Err(error),
    }
}

/// Creates a directory and its missing parents. Adds the created ones to `made`, the outermost first.
pub(crate) fn make_dirs(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    for _ in 0..CREATE_ATTEMPTS {
        match make_dir(path) {
            Ok(true) => {
                made.push(path.to_owned());
                return Ok(());
            }
            Ok(false) => return Ok(()),
            // A parent does not exist, or the process that created it removed it again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if parent.is_symlink() && !parent.exists() => return Err(error),
                Some(parent) => make_dirs(parent, made)?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    match path.parent() {
        Some(parent) if parent.is_dir() => {
            let why = format!("no directory can be created in {}", parent.display());
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        }
        _ => Err(io::Error::other("another process removes it as fast as it is created")),
    }
}

/// Directories that were created, the outermost first. Those that are empty are removed on drop.
#[derive(Debug, Default)]
pub(crate) struct CreatedDirs(pub(crate) Vec<PathBuf>);

impl Drop for CreatedDirs {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Renames a file or a directory. An overlay does not rename the directories of its lower layers: they are copied, and
/// removed once the copy is complete and has its name.
pub(crate) fn rename_tree(from: &Path, to: &Path) -> io::Result<()> {
    match rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let mut temporary = to.as_os_str().to_owned();
            temporary.push(".copied");
            let temporary = PathBuf::from(temporary);
            remove_tree(&temporary)?;
            copy_tree(from, &temporary)?;
            rename(&temporary, to)?;
            sync_parent(to)?;
            failpoint::hit("tree.copied")?;
            remove_tree(from)
        }
        renamed => renamed,
    }
}

/// Copies directories, regular files and links to a path that must not exist. Leaves out everything else.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if metadata.is_file() {
        return copy(from, to, metadata.mode() & 0o777);
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    make_dir(to)?;
    for found in fs::read_dir(from)? {
        let found = found?;
        copy_tree(&found.path(), &to.join(found.file_name()))?;
    }
    sync_dir(to)
}

/// Removes a file, or a directory with its content, without following links. It need not exist.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match lstat(path)? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => if_exists(fs::remove_dir_all(path)).map(|_| ()),
        Some(_) => unlink(path).map(|_| ()),
    }
}
