//! The lock file `install.lock`: the protocol of this d8 and of the d8 written in Go.
//!
//! This d8 writes and flocks a lock under a random name and then links it to its name, which fails if the name exists.
//! So a lock has its record and its flock from the beginning. A lock with a record and without a flock belongs to a
//! process that has ended. A lock without a record belongs to the d8 written in Go, and counts until it is an hour old.
//! A lock is never taken over in place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{self, FileId, failpoint, flock::flock},
    error::LockHolder,
    install_root::layout::LOCK,
};

/// Age at which a lock is stale if its owner cannot be checked.
pub(crate) const FOREIGN_STALE: Duration = Duration::from_hours(1);

/// How often the time of a held lock is renewed. The d8 written in Go removes older ones as stale.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_mins(10);

/// Size of a record, in bytes.
const RECORD_BYTES: u64 = 4096;

/// The process that holds the lock: the content of the file, one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    pid: u32,
    host: String,
    program: String,
    /// Start of the lock in seconds since 1970, for people.
    since: u64,
}

impl Record {
    /// Converts the record for messages. Removes control characters: another user may have written it.
    fn holder(self) -> LockHolder {
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(64).collect();
        LockHolder::Process { pid: self.pid, host: plain(self.host), program: plain(self.program) }
    }
}

/// A lock that this process holds. Released on drop.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    file: Arc<File>,
    id: FileId,
}

/// The result of an attempt to take a lock.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// This process holds the lock.
    Taken(LockFile),
    /// Another process holds the lock.
    Held(LockHolder),
    /// The lock changed during the attempt. To be retried immediately.
    Again,
}

/// Tries once to take `dir/install.lock`. The directory exists.
pub(crate) fn attempt(dir: &Path) -> io::Result<Attempt> {
    let path = dir.join(LOCK);
    match create(dir, &path) {
        Ok(attempt) => return Ok(attempt),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Again),
        // It belongs to another user. Only its age can be checked.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let Some(metadata) = disk::lstat(&path)? else { return Ok(Attempt::Again) };
            return by_age(dir, &path, &metadata, LockHolder::Unreadable);
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            return Err(io::Error::other("it is a symbolic link, not a lock"));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let Some(record) = read_record(&file)? else { return by_age(dir, &path, &metadata, LockHolder::Foreign) };
    if !flock(&file)? {
        return Ok(Attempt::Held(record.holder()));
    }
    // Its owner has ended, or has just released it. In the second case the name is gone or belongs to another file.
    set_aside(dir, &path, FileId::of(&metadata))?;
    Ok(Attempt::Again)
}

/// Decides by its age whether a lock is held, if its owner cannot be checked.
fn by_age(dir: &Path, path: &Path, metadata: &fs::Metadata, holder: LockHolder) -> io::Result<Attempt> {
    // A time in the future counts as age 0.
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    if age < FOREIGN_STALE {
        return Ok(Attempt::Held(holder));
    }
    set_aside(dir, path, FileId::of(metadata))?;
    Ok(Attempt::Again)
}

/// Removes a stale lock and never another one: renames it, compares it, and removes it. Another lock gets its name back
/// unless the name was taken meanwhile. Its owner then finds that the lock is lost.
fn set_aside(dir: &Path, path: &Path, stale: FileId) -> io::Result<()> {
    if FileId::at(path)? != Some(stale) {
        return Ok(());
    }
    let aside = temporary(dir);
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    if FileId::at(&aside)? != Some(stale) {
        let _ = disk::hard_link(&aside, path);
    }
    disk::unlink(&aside).map(|_| ())
}

/// Creates a lock with its record and its flock, and links it to its name.
fn create(dir: &Path, path: &Path) -> io::Result<Attempt> {
    let temporary = temporary(dir);
    let file = disk::create_new(&temporary, disk::PRIVATE)?;
    let id = FileId::of(&file.metadata()?);
    // Removes the name on drop, if it was linked.
    let lock = LockFile { path: path.to_owned(), file: Arc::new(file), id };
    let linked = write_and_link(&lock.file, &temporary, path);
    // It may be gone: another process may have swept it before it was flocked.
    let removed = disk::unlink(&temporary);
    match linked {
        Ok(true) => removed.map(|_| Attempt::Taken(lock)),
        Ok(false) => Ok(Attempt::Again),
        Err(error) if disk::links_unsupported(&error) => create_in_place(path),
        Err(error) => Err(error),
    }
}

/// Writes the record, takes the flock and links. Returns `false` if another process interfered with the temporary
/// file.
fn write_and_link(file: &File, temporary: &Path, path: &Path) -> io::Result<bool> {
    failpoint::hit("lock.created")?;
    write_record(file)?;
    failpoint::hit("lock.written")?;
    if !flock(file)? {
        return Ok(false);
    }
    failpoint::hit("lock.held")?;
    match disk::hard_link(temporary, path) {
        Ok(()) => {
            failpoint::hit("lock.linked")?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates a lock on a file system without hard links. Until it has its record it looks like a lock of the d8 written
/// in Go.
fn create_in_place(path: &Path) -> io::Result<Attempt> {
    let file = disk::create_new(path, disk::PRIVATE)?;
    let id = FileId::of(&file.metadata()?);
    // Removed again on drop: without its record it would count for an hour.
    let lock = LockFile { path: path.to_owned(), file: Arc::new(file), id };
    if !flock(&lock.file)? {
        return Ok(Attempt::Again);
    }
    write_record(&lock.file)?;
    Ok(Attempt::Taken(lock))
}

/// Writes the record. On a full disk the lock stays empty and counts as one of the d8 written in Go: the command that
/// has it may be the one that frees the space.
fn write_record(file: &File) -> io::Result<()> {
    match try_write_record(file) {
        Err(error) if disk::is_full(&error) => file.set_len(0),
        written => written,
    }
}

fn try_write_record(mut file: &File) -> io::Result<()> {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    let record = Record {
        pid: std::process::id(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        program: program.into_owned(),
        since: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Reads the record in a lock, `None` if it has none.
fn read_record(file: &File) -> io::Result<Option<Record>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("{LOCK}.{}", disk::random_name()))
}

/// Removes temporary lock files whose creators have ended. Returns how many.
pub(crate) fn sweep(dir: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for found in fs::read_dir(dir)? {
        let found = found?;
        let name = found.file_name();
        if !name.to_str().is_some_and(|name| name.strip_prefix(LOCK).is_some_and(|rest| rest.starts_with('.'))) {
            continue;
        }
        swept += usize::from(sweep_one(&found.path())?);
    }
    Ok(swept)
}

/// Removes a temporary lock file, or what is in place of one, unless its creator is running.
fn sweep_one(path: &Path) -> io::Result<bool> {
    let Some(metadata) = disk::lstat(path)? else { return Ok(false) };
    if !metadata.is_file() {
        return disk::remove_tree(path).map(|()| true);
    }
    match disk::if_exists(disk::open_regular(path)) {
        Ok(None) => Ok(false),
        Ok(Some(file)) => Ok(flock(&file)? && disk::unlink(path)?),
        // It belongs to another user. Only its age can be checked, and it is in nobody's way.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let age = metadata.modified()?.elapsed().unwrap_or_default();
            Ok(age > FOREIGN_STALE && disk::unlink(path).unwrap_or(false))
        }
        Err(error) => Err(error),
    }
}

impl LockFile {
    /// Returns whether the name still belongs to this lock.
    pub(crate) fn is_held(&self) -> io::Result<bool> {
        Ok(FileId::at(&self.path)? == Some(self.id))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file for the task that renews its time. A weak reference, so that the task does not keep the flock.
    pub(crate) fn file(&self) -> std::sync::Weak<File> {
        Arc::downgrade(&self.file)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.is_held().unwrap_or(false) {
            let _ = disk::unlink(&self.path);
        }
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}
