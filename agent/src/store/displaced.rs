//! Files and links in place of the directory of a plugin. They have another name while the plugin is locked, and get
//! their own one back unless the plugin is changed. Nothing here deletes one that nobody asked to replace.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::disk::{self, FileId};

/// The files and links that were displaced. On drop they get their names back. One whose name was taken meanwhile keeps
/// the other name.
#[derive(Debug, Default)]
pub(super) struct DisplacedPaths(Vec<DisplacedPath>);

#[derive(Debug)]
struct DisplacedPath {
    dir: PathBuf,
    aside: PathBuf,
}

impl DisplacedPaths {
    /// Gives what is in place of a directory another name, if there is anything, without following links. It has the
    /// other name before this one is removed. Of several processes that wait for the lock, the first one displaces it.
    pub(super) fn displace(&mut self, dir: &Path) -> io::Result<()> {
        let Some(found) = obstacle(dir) else { return Ok(()) };
        // All these processes use the same name, and another file has another name.
        let aside = name_aside(dir, &format!("{:x}", found.ino()));
        match disk::hard_link(dir, &aside) {
            Err(error) if disk::links_unsupported(&error) => return self.displace_by_rename(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(dir, &aside) => {}
            Err(_) if obstacle(dir).is_none() => return Ok(()),
            linked => linked?,
        }
        self.0.push(DisplacedPath { dir: dir.to_owned(), aside });
        // Unlike a rename, this does not affect a directory that another process has just created there.
        match disk::unlink(dir) {
            Err(error) if obstacle(dir).is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// Displaces where there are no hard links. A rename onto a file fails for a directory, so this does not affect one
    /// that another process has just created there either.
    fn displace_by_rename(&mut self, dir: &Path) -> io::Result<()> {
        let aside = name_aside(dir, &disk::random_name());
        disk::create_new(&aside, disk::PRIVATE)?;
        match disk::rename(dir, &aside) {
            Ok(()) => {
                self.0.push(DisplacedPath { dir: dir.to_owned(), aside });
                Ok(())
            }
            Err(error) => {
                disk::unlink(&aside)?;
                if obstacle(dir).is_some() { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Returns whether something was in place of a directory.
    pub(super) fn contains(&self, dir: &Path) -> bool {
        self.0.iter().any(|displaced| displaced.dir == dir)
    }

    /// Deletes what was in place of a directory, as a change replaced it. Returns whether there was anything.
    pub(super) fn forget(&mut self, dir: &Path) -> bool {
        let before = self.0.len();
        self.0.retain(|displaced| displaced.dir != dir || disk::unlink(&displaced.aside).is_err());
        self.0.len() < before
    }
}

impl Drop for DisplacedPaths {
    fn drop(&mut self) {
        for DisplacedPath { dir, aside } in &self.0 {
            // A file cannot replace a directory. Another process that displaced the same file may have been faster.
            let is_free = disk::lstat(dir).is_ok_and(|found| found.is_none());
            if is_free && disk::rename(aside, dir).is_ok() {
                continue;
            }
            if disk::lstat(aside).is_ok_and(|found| found.is_some()) {
                tracing::warn!("{} was in place of {}, which another program uses now", aside.display(), dir.display());
            }
        }
    }
}

/// Returns the metadata of what is at a path, if it is not a directory.
fn obstacle(path: &Path) -> Option<fs::Metadata> {
    disk::lstat(path).ok().flatten().filter(|metadata| !metadata.is_dir())
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((FileId::at(one), FileId::at(other)), (Ok(Some(one)), Ok(Some(other))) if one == other)
}

fn name_aside(dir: &Path, suffix: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.displaced-{suffix}"))
}
