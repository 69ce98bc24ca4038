//! Whom root may trust: only places that nobody else can change.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

use crate::{disk, error::StoreError};

/// Permission bits that let somebody other than the owner write.
const OTHERS_WRITE: u32 = 0o022;
const WORLD_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Whether this process has root's power over files and with it root's duty of care.
fn careful() -> bool {
    rustix::process::geteuid().is_root()
}

/// What is wrong with a directory or file of the store; links are never followed.
pub(crate) fn trouble(metadata: &Metadata) -> Option<String> {
    if careful() { owned_by_root(metadata) } else { None }
}

/// Refuses a directory inside a store that is a link or no directory, and, as root, one that somebody
/// else could change. One that is not there is fine.
pub(crate) fn directory(path: &Path) -> Result<(), StoreError> {
    let Some(metadata) = disk::lstat(path).map_err(StoreError::io("read", path))? else { return Ok(()) };
    let path = path.to_owned();
    if metadata.is_symlink() {
        Err(StoreError::NotADirectory { path, why: "it is a symbolic link, not a directory" })
    } else if !metadata.is_dir() {
        Err(StoreError::NotADirectory { path, why: "it is not a directory" })
    } else {
        trouble(&metadata).map_or(Ok(()), |why| Err(StoreError::Untrusted { path, why }))
    }
}

/// Refuses, as root, a root that somebody else could change, by any directory or link on the way to it.
/// A directory that everybody may write to and that is sticky (`/tmp`) is a way, but no root.
pub(crate) fn root(root: &Path) -> Result<(), StoreError> {
    if !root.is_absolute() {
        return Err(StoreError::Root { root: root.to_owned(), why: "it is not an absolute path".to_owned() });
    }
    way_to(root)
}

/// Refuses, as root, a file that somebody else could change, by any directory or link on the way to it.
pub(crate) fn way_to(file: &Path) -> Result<(), StoreError> {
    if !careful() {
        return Ok(());
    }
    way(file, file)?;
    match file.canonicalize() {
        Ok(real) if real != file => way(&real, &real),
        _ => Ok(()),
    }
}

fn way(path: &Path, root: &Path) -> Result<(), StoreError> {
    for place in path.ancestors() {
        let Ok(Some(metadata)) = disk::lstat(place) else { continue };
        let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0 && place != root && metadata.uid() == 0;
        if let Some(why) = owned_by_root(&metadata).filter(|_| !sticky) {
            return Err(StoreError::Untrusted { path: place.to_owned(), why });
        }
    }
    Ok(())
}

fn owned_by_root(metadata: &Metadata) -> Option<String> {
    if metadata.uid() != 0 {
        return Some(format!("it belongs to uid {}, not to root", metadata.uid()));
    }
    // The mode of a link means nothing.
    let bits = if metadata.gid() == 0 { WORLD_WRITE } else { OTHERS_WRITE };
    (!metadata.is_symlink() && metadata.mode() & bits != 0)
        .then(|| format!("users other than root can write to it (mode {:04o})", metadata.mode() & 0o7777))
}
