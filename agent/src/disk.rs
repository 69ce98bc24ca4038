//! The file system as the store uses it: modes explicit whatever the umask, barriers where a rename
//! must not overtake what it makes visible, identity by inode.
//!
//! Knows nothing of plugins.

pub(crate) mod failpoint;
#[cfg(feature = "testing")]
mod trace;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use d8_crds::values::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Mode of directories and executables.
pub(crate) const EXECUTABLE: u32 = 0o755;
/// Mode of other files.
pub(crate) const PLAIN: u32 = 0o644;
/// Mode of locks and of what only this user may read.
pub(crate) const PRIVATE: u32 = 0o600;

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }

    /// Of what `path` names, links not followed; `None` if nothing is there.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        Ok(lstat(path)?.as_ref().map(Self::of))
    }
}

/// Metadata of what `path` names, links not followed; `None` if nothing is there.
pub(crate) fn lstat(path: &Path) -> io::Result<Option<fs::Metadata>> {
    absent(fs::symlink_metadata(path))
}

/// Turns "there is no such file" into `None`.
pub(crate) fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes one directory with mode 0755; `false` if a directory is there already. A link to one is none.
pub(crate) fn make_dir(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(EXECUTABLE).create(path) {
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(EXECUTABLE))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match lstat(path)? {
            Some(metadata) if metadata.is_dir() => Ok(false),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")),
            // Removed between the two calls by a process that gave its lock back.
            None => make_dir(path),
        },
        Err(error) => Err(error),
    }
}

/// Makes a directory and the parents it lacks; those made are added to `made`, the outermost first.
pub(crate) fn make_dirs(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    for _ in 0..100 {
        match make_dir(path) {
            Ok(true) => {
                made.push(path.to_owned());
                return Ok(());
            }
            Ok(false) => return Ok(()),
            // A parent is missing, or was taken away again by a process that had made it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if parent.is_symlink() && !parent.exists() => return Err(error),
                Some(parent) => make_dirs(parent, made)?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("it disappears as fast as it is made"))
}

/// Creates a file that must not exist, with exactly this mode.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Sets the mode of a file.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Writes a file that must not exist and waits until it is on the disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create_new(path, mode)?;
    file.write_all(bytes)?;
    sync_file(&file, path)
}

/// Waits until the file's bytes are on the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    note("sync", path);
    file.sync_all()
}

/// Waits until the names in a directory are on the disk.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    note("sync", path);
    File::open(path)?.sync_all()
}

/// Renames, replacing what is there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    note("rename", to);
    fs::rename(from, to)
}

/// Removes a file or link; that it is not there is fine.
pub(crate) fn unlink(path: &Path) -> io::Result<bool> {
    note("unlink", path);
    Ok(absent(fs::remove_file(path))?.is_some())
}

/// Exchanges two directories in one step; `false` where the system cannot.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs, io::Errno};
        if failpoint::hit("disk.exchange").is_err() {
            return Ok(false);
        }
        note("exchange", other);
        match fs::renameat_with(fs::CWD, one, fs::CWD, other, fs::RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (one, other);
        Ok(false)
    }
}

/// Makes `name` another name of `file` through `temporary` and one rename; where links can't be had, a
/// copy of it with this mode, on the disk before the rename. The caller syncs the directory.
pub(crate) fn place_link(file: &Path, name: &Path, temporary: &Path, mode: u32) -> io::Result<()> {
    unlink(temporary)?;
    link_or_copy(file, temporary, mode)?;
    rename(temporary, name)?;
    // Renamed onto itself (the same inode already) leaves the temporary name.
    unlink(temporary).map(|_| ())
}

/// Makes `name`, which must not exist, a hard link of `file`, or a copy that is on the disk. Says which.
pub(crate) fn link_or_copy(file: &Path, name: &Path, mode: u32) -> io::Result<bool> {
    match hard_link(file, name) {
        Ok(()) => Ok(true),
        Err(error) if no_links(&error) => {
            let mut from = open_regular(file)?;
            let mut to = create_new(name, mode)?;
            io::copy(&mut from, &mut to)?;
            sync_file(&to, name)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives a file another name, which must not exist.
pub(crate) fn hard_link(file: &Path, name: &Path) -> io::Result<()> {
    if failpoint::hit("disk.link").is_err() {
        return Err(rustix::io::Errno::PERM.into());
    }
    fs::hard_link(file, name)
}

/// Whether the error says that this file system (or a hardening of the kernel) gives no hard links.
pub(crate) fn no_links(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV)
    )
}

/// Puts a symbolic link to `target` at `name` through `temporary` and one rename.
pub(crate) fn place_symlink(target: &Path, name: &Path, temporary: &Path) -> io::Result<()> {
    unlink(temporary)?;
    symlink(target, temporary)?;
    rename(temporary, name)
}

/// Opens a regular file for reading; a link or anything else is refused.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Reads a small regular file of at most `limit` bytes; `None` if it is not there.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = absent(open_regular(path))? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(Some(bytes))
}

/// SHA-256 and size of a regular file.
pub(crate) fn digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = open_regular(path)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_sha256(hash.finalize().into()), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

/// A name nobody guesses: 16 hex digits.
pub(crate) fn random_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Removes a file, or a directory with all in it, links not followed; that it is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match lstat(path)? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => absent(fs::remove_dir_all(path)).map(|_| ()),
        Some(_) => unlink(path).map(|_| ()),
    }
}

#[cfg(not(feature = "testing"))]
#[inline]
fn note(_: &str, _: &Path) {}

#[cfg(feature = "testing")]
pub(crate) use trace::note;
#[cfg(feature = "testing")]
pub use trace::{take_trace, trace};
