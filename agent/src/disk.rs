//! The file system as the stores use it: explicit modes whatever the umask, barriers where a rename must not overtake
//! what it makes visible, identity by inode and by checksum.
//!
//! Contains nothing about plugins.

pub(crate) mod failpoint;
pub(crate) mod flock;
mod json_path;
#[cfg(target_os = "linux")]
pub(crate) mod mounts;
#[cfg(feature = "testing")]
mod trace;
mod tree;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use d8_crds::values::digest::Digest;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

pub(crate) use self::{
    json_path::JsonPath,
    tree::{CreatedDirs, make_dir, make_dir_with, make_dirs, remove_tree, rename_tree},
};

/// Mode of directories and executables.
pub(crate) const EXECUTABLE: u32 = 0o755;
/// Mode of other files.
pub(crate) const PLAIN: u32 = 0o644;
/// Mode of locks and of files that only this user may read.
pub(crate) const PRIVATE: u32 = 0o600;

/// Attempts to create something that other processes remove at the same time.
pub(crate) const CREATE_ATTEMPTS: u32 = 100;

/// Identity of a file by device and inode, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }

    /// Returns the identity of the file that a path leads to.
    pub(crate) fn behind(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    /// Returns the identity of a path without following links, `None` if it does not exist.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        Ok(lstat(path)?.as_ref().map(Self::of))
    }
}

/// Returns whether both paths lead to the same file. Links are followed. A path that cannot be read leads to no file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((FileId::behind(one), FileId::behind(other)), (Ok(one), Ok(other)) if one == other)
}

/// Returns whether the system refused an operation for lack of space: a full disk, a quota, or a limit.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Returns where the file system of a file is mounted, if it is mounted so that no program on it runs.
pub fn noexec_mount(file: &Path) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatVfsMountFlags, statvfs};
        // Cheaper than the list of all mounts.
        let refused = statvfs(file).ok()?.f_flag.contains(StatVfsMountFlags::NOEXEC);
        refused.then(|| mounts::of(file)).flatten().map(|mount| mount.path)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}

/// Identity of a file by its content: SHA-256 and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Checksum {
    /// Reads a regular file.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut file = open_regular(path)?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(Self { digest: Digest::from_sha256(hash.finalize().into()), size });
            }
            hash.update(&buffer[..count]);
            size += count as u64;
        }
    }

    /// Returns whether a regular file has this content. Compares the sizes before it reads the file.
    pub(crate) fn matches(&self, path: &Path) -> io::Result<bool> {
        let same_size = lstat(path)?.is_some_and(|metadata| metadata.is_file() && metadata.len() == self.size);
        Ok(same_size && Self::of(path)? == *self)
    }
}

/// Returns the metadata of a path without following links, `None` if it does not exist.
pub(crate) fn lstat(path: &Path) -> io::Result<Option<fs::Metadata>> {
    if_exists(fs::symlink_metadata(path))
}

/// Returns the modification time of a file, if the system has one.
pub(crate) fn modified(metadata: &fs::Metadata) -> Option<Timestamp> {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok())
}

/// Returns the modification time of the file at a path, `None` if it cannot be read.
pub(crate) fn modified_at(path: &Path) -> Option<Timestamp> {
    modified(&lstat(path).ok()??)
}

/// Turns the error "no such file" into `None`.
pub(crate) fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a file that must not exist, with exactly this mode.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Writes a file that must not exist, and syncs it.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create_new(path, mode)?;
    file.write_all(bytes)?;
    sync_file(&file, path)
}

/// Replaces a file in one step by one that is complete and on the disk. `mode`: `None` for what the umask leaves.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", random_name()));
    let write = || {
        // A private file is never open to others, not even while it is empty.
        let mut file = match mode {
            Some(mode) => create_new(&temporary, mode)?,
            None => OpenOptions::new().write(true).create_new(true).open(&temporary)?,
        };
        file.write_all(bytes)?;
        sync_file(&file, &temporary)?;
        rename(&temporary, path)?;
        sync_parent(path)
    };
    write().inspect_err(|_| {
        // The first failure is reported.
        let _ = unlink(&temporary);
    })
}

/// Writes a file that a person named, in one step: a file that is there is replaced only when the new one is complete.
/// Its mode is what the umask leaves.
///
/// # Errors
/// The directory does not exist or cannot be written, or the path is a directory. What was there is unchanged.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, None)
}

/// Waits until the bytes of a file are on the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    record("sync", path);
    file.sync_all()
}

/// Waits until the names in a directory are on the disk.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    record("sync", path);
    File::open(path)?.sync_all()
}

/// Waits until the name of a path is on the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A name in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        parent => parent.map_or(Ok(()), sync_dir),
    }
}

/// Renames a file, replacing the target.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    record("rename", to);
    fs::rename(from, to)
}

/// Renames a file, replacing the target. A directory in place of the target is moved to `aside` first.
pub(crate) fn rename_over(from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
    if lstat(to)?.is_some_and(|found| found.is_dir()) {
        rename(to, aside)?;
    }
    rename(from, to)
}

/// Removes a file or link. Returns whether it existed.
pub(crate) fn unlink(path: &Path) -> io::Result<bool> {
    record("unlink", path);
    Ok(if_exists(fs::remove_file(path))?.is_some())
}

/// Exchanges two directories in one step. Returns `false` if the system does not support it.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs, io::Errno};
        if failpoint::hit("disk.exchange").is_err() {
            return Ok(false);
        }
        record("exchange", other);
        match fs::renameat_with(fs::CWD, one, fs::CWD, other, fs::RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (one, other);
        Ok(false)
    }
}

/// Makes `name` a hard link to `file`, through `temporary` and one rename. Without hard links it becomes a copy with
/// this mode, which is synced before the rename. The caller syncs the directory.
pub(crate) fn place_link(file: &Path, name: &Path, temporary: &Path, mode: u32) -> io::Result<()> {
    unlink(temporary)?;
    link_or_copy(file, temporary, mode)?;
    rename(temporary, name)?;
    // A rename onto the same inode does nothing and leaves the temporary name.
    unlink(temporary).map(|_| ())
}

/// Makes `name`, which must not exist, a hard link to `file` or a synced copy of it. Returns whether it is a link.
pub(crate) fn link_or_copy(file: &Path, name: &Path, mode: u32) -> io::Result<bool> {
    match hard_link(file, name) {
        Ok(()) => Ok(true),
        Err(error) if links_unsupported(&error) => {
            copy(file, name, mode)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Copies a regular file to `name`, which must not exist, with this mode, and syncs it.
pub(crate) fn copy(file: &Path, name: &Path, mode: u32) -> io::Result<()> {
    let mut from = open_regular(file)?;
    let mut to = create_new(name, mode)?;
    io::copy(&mut from, &mut to)?;
    sync_file(&to, name)
}

/// Creates a hard link, whose name must not exist.
pub(crate) fn hard_link(file: &Path, name: &Path) -> io::Result<()> {
    if failpoint::hit("disk.link").is_err() {
        return Err(rustix::io::Errno::PERM.into());
    }
    fs::hard_link(file, name)
}

/// Returns whether the error means that the file system, or a hardened kernel, refuses hard links.
pub(crate) fn links_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV)
    )
}

/// Makes `name` a symbolic link to `target`, through `temporary` and one rename.
pub(crate) fn place_symlink(target: &Path, name: &Path, temporary: &Path) -> io::Result<()> {
    unlink(temporary)?;
    symlink(target, temporary)?;
    rename(temporary, name)
}

/// Moves `name`, which is not a link, to `aside`, and makes `name` a symbolic link to `target`: in one step where the
/// system can exchange names.
pub(crate) fn place_symlink_aside(target: &Path, name: &Path, temporary: &Path, aside: &Path) -> io::Result<()> {
    unlink(aside)?;
    symlink(target, aside)?;
    if exchange(aside, name)? {
        return Ok(());
    }
    unlink(aside)?;
    rename(name, aside)?;
    failpoint::hit("switch.current_aside")?;
    place_symlink(target, name, temporary)
}

/// Opens a regular file for reading. Refuses links and other types.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    use rustix::{fs::OFlags, io::Errno};
    let not_regular = || io::Error::other("it is not a regular file");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => io::Error::other("it is a symbolic link, not a regular file"),
            // A socket.
            Some(Errno::NXIO) => not_regular(),
            _ => error,
        })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Opens a directory. Refuses links and other types.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads a regular file of at most `limit` bytes, `None` if it does not exist.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    if_exists(open_regular(path))?.map(|file| d8_rpp::file::read_at_most(file, limit)).transpose()
}

/// As [`read_small`], and `None` also for what is in place of such a file: another type, or a larger file.
pub(crate) fn read_small_regular(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let usable = lstat(path)?.is_some_and(|found| found.is_file() && found.len() <= limit);
    if usable { read_small(path, limit) } else { Ok(None) }
}

/// Returns a random name: 16 hex digits.
pub(crate) fn random_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(not(feature = "testing"))]
#[inline]
fn record(_: &str, _: &Path) {}

#[cfg(feature = "testing")]
pub(crate) use trace::record;
#[cfg(feature = "testing")]
pub use trace::{take_trace, trace};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        for text in ["first", "second"] {
            replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let occupied = directory.path().join("occupied");
        fs::create_dir(&occupied).unwrap();
        replace_file(&occupied, b"x").unwrap_err();
        replace_file(&directory.path().join("absent/report.html"), b"x").unwrap_err();
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2, "no temporary file is left");
    }
}
