//! What root may trust: only paths that no other user can change.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

use crate::{disk, error::StoreError};

/// Permission bits that allow users other than the owner to write.
const OTHERS_WRITE: u32 = 0o022;
const WORLD_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Returns whether this process is root and must check what it trusts.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns why root must not trust a directory or file of a store. Links are not followed.
pub(crate) fn untrusted_reason(metadata: &Metadata) -> Option<String> {
    if is_root() { not_only_roots(metadata) } else { None }
}

/// Refuses a path inside a store that is not a directory, and, as root, one that other users could change. The path
/// need not exist.
pub(crate) fn directory(path: &Path) -> Result<(), StoreError> {
    let Some(metadata) = disk::lstat(path).map_err(StoreError::io("read", path))? else { return Ok(()) };
    let path = path.to_owned();
    if metadata.is_symlink() {
        Err(StoreError::NotADirectory { path, why: "it is a symbolic link, not a directory" })
    } else if !metadata.is_dir() {
        Err(StoreError::NotADirectory { path, why: "it is not a directory" })
    } else {
        untrusted_reason(&metadata).map_or(Ok(()), |why| Err(StoreError::Untrusted { path, why }))
    }
}

/// Refuses, as root, an install root that other users could change, through any directory or link in its path. A
/// sticky directory that all users may write to (`/tmp`) may be in the path, but may not be the root.
pub(crate) fn root(root: &Path) -> Result<(), StoreError> {
    if !root.is_absolute() {
        return Err(StoreError::Root { root: root.to_owned(), why: "it is not an absolute path".to_owned() });
    }
    whole_path(root)
}

/// Refuses, as root, a file that other users could change, through any directory or link in its path.
pub(crate) fn whole_path(file: &Path) -> Result<(), StoreError> {
    if !is_root() {
        return Ok(());
    }
    ancestors(file, file)?;
    match file.canonicalize() {
        Ok(real) if real != file => ancestors(&real, &real),
        _ => Ok(()),
    }
}

/// Checks a path and all directories above it, without following links. Only directories above `root` may be sticky.
fn ancestors(path: &Path, root: &Path) -> Result<(), StoreError> {
    for part in path.ancestors() {
        let Ok(Some(metadata)) = disk::lstat(part) else { continue };
        let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0 && part != root && metadata.uid() == 0;
        if let Some(why) = not_only_roots(&metadata).filter(|_| !sticky) {
            return Err(StoreError::Untrusted { path: part.to_owned(), why });
        }
    }
    Ok(())
}

/// Returns which user other than root can change a file.
fn not_only_roots(metadata: &Metadata) -> Option<String> {
    if metadata.uid() != 0 {
        return Some(format!("it belongs to uid {}, not to root", metadata.uid()));
    }
    // The mode of a link has no effect.
    let bits = if metadata.gid() == 0 { WORLD_WRITE } else { OTHERS_WRITE };
    (!metadata.is_symlink() && metadata.mode() & bits != 0)
        .then(|| format!("users other than root can write to it (mode {:04o})", metadata.mode() & 0o7777))
}
