//! The directory of the cache. Only regular files of this process's user in a directory of its own are used; links are
//! not followed, and a pipe is never waited for.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use d8_crds::values::digest::Digest;
use tempfile::NamedTempFile;

use crate::file::open_beneath;

/// Name of the directory in the one that the options name, which others may write to.
const OWN_DIRECTORY: &str = "layers";
/// Prefix of the names of unfinished files.
const UNFINISHED: &str = ".filling-";
/// Mode of the directory. Nobody else reads or writes in it.
const MODE: u32 = 0o700;

/// The directory with the layers.
pub(super) struct CacheDirectory(PathBuf);

impl CacheDirectory {
    /// Opens the directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// It is a link, or it belongs to another user.
    pub(super) fn open(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let path = parent.join(OWN_DIRECTORY);
        match DirBuilder::new().mode(MODE).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let metadata = fs::symlink_metadata(&path)?;
        let refused = |why: &str| Err(io::Error::other(format!("{}: {why}", path.display())));
        if !metadata.is_dir() {
            return refused("it is not a directory; remove it");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return refused("it belongs to another user; remove it, or choose another directory with `--cache`");
        }
        if metadata.mode() & 0o777 != MODE {
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
        }
        Ok(Self(path))
    }

    /// Lists the layers, the least recently changed first, with their sizes. Removes unfinished files.
    pub(super) fn layers(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) {
                fs::remove_file(self.0.join(&*name))?;
                continue;
            }
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
            match self.open_layer(&digest).and_then(|file| file.metadata()) {
                Ok(metadata) => found.push((metadata.mtime(), digest, metadata.len())),
                Err(error) => tracing::warn!(%error, "a file in the cache is ignored"),
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, digest, size)| (digest, size)).collect())
    }

    /// Opens the file of a layer.
    ///
    /// # Errors
    /// It is not a regular file, it belongs to another user, or it has another name as well.
    pub(super) fn open_layer(&self, digest: &Digest) -> io::Result<File> {
        let name = name(digest);
        let file = open_beneath(&self.0, name)?;
        let metadata = file.metadata()?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.nlink() != 1 {
            return Err(io::Error::other(format!("{name}: it belongs to another user or has another name as well")));
        }
        Ok(file)
    }

    /// Creates a file for a layer that arrives.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.0)
    }

    /// Renames a file to the digest of its content.
    pub(super) async fn keep(&self, file: NamedTempFile, digest: &Digest) -> io::Result<()> {
        let path = self.0.join(name(digest));
        tokio::task::spawn_blocking(move || file.persist(path).map(drop).map_err(|error| error.error)).await?
    }

    /// Removes the file of a layer.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<()> {
        fs::remove_file(self.0.join(name(digest)))
    }
}

fn name(digest: &Digest) -> &str {
    digest.as_str().trim_start_matches("sha256:")
}
