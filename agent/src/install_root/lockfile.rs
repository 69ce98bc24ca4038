//! One `install.lock`: the protocol that our processes and the Go d8 share.
//!
//! A lock of ours is a file that bears a record and an flock from the instant it has its name: it is
//! written and flocked under a random name and then `link`ed, which fails if the name is taken. Whoever
//! finds a record whose flock is free knows that its owner is dead. A lock without a record is the
//! Go d8's; it counts until it is an hour old. Nothing is ever taken over in place.

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
    disk::{self, FileId, failpoint},
    error::LockHolder,
    install_root::layout::LOCK,
};

/// After this long a lock that nobody can be asked about is stale.
pub(crate) const FOREIGN_STALE: Duration = Duration::from_hours(1);

/// How often a held lock's time is renewed, so that the Go d8 does not take it for stale.
pub(crate) const RENEW: Duration = Duration::from_mins(10);

/// Largest record read, in bytes.
const RECORD: u64 = 4096;

/// Who holds the lock; the file's only content, on one line.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    pid: u32,
    host: String,
    program: String,
    /// Seconds since 1970, for people.
    since: u64,
}

impl Record {
    /// For people; whoever wrote the record does not get at their terminal.
    fn holder(self) -> LockHolder {
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(64).collect();
        LockHolder::Process { pid: self.pid, host: plain(self.host), program: plain(self.program) }
    }
}

/// A lock that this process holds.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    file: Arc<File>,
    id: FileId,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is ours.
    Taken(LockFile),
    /// Somebody holds it.
    Held(LockHolder),
    /// The world changed meanwhile: try again at once.
    Again,
}

/// Retry once to take `dir/install.lock`. The directory exists.
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
        // Another user's: it can be judged by its age only.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let Some(metadata) = disk::lstat(&path)? else { return Ok(Attempt::Again) };
            return by_age(dir, &path, &metadata, LockHolder::Unreadable);
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let Some(record) = record(&file)? else { return by_age(dir, &path, &metadata, LockHolder::Foreign) };
    if !flock(&file)? {
        return Ok(Attempt::Held(record.holder()));
    }
    // Its owner is dead; or it gave the lock back just now, and then the name is another file's or none.
    set_aside(dir, &path, FileId::of(&metadata))?;
    Ok(Attempt::Again)
}

/// Judges a lock whose owner cannot be asked.
fn by_age(dir: &Path, path: &Path, metadata: &fs::Metadata, holder: LockHolder) -> io::Result<Attempt> {
    // A time in the future is no age.
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    if age < FOREIGN_STALE {
        return Ok(Attempt::Held(holder));
    }
    set_aside(dir, path, FileId::of(metadata))?;
    Ok(Attempt::Again)
}

/// Removes a stale lock without ever removing another one: renamed aside, compared, removed. If it was
/// another one, it gets its name back unless somebody took that meanwhile; its owner then sees that the
/// lock is lost.
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

/// Makes a lock with its record and its flock, and gives it the name that counts.
fn create(dir: &Path, path: &Path) -> io::Result<Attempt> {
    let temporary = temporary(dir);
    let file = disk::create_new(&temporary, disk::PRIVATE)?;
    let given = give_name(&file, &temporary, path);
    // Gone already if a sweeper took it for a leftover before it was flocked.
    let removed = disk::unlink(&temporary);
    match given {
        Ok(true) => removed?,
        Ok(false) => return Ok(Attempt::Again),
        Err(error) if disk::no_links(&error) => return create_in_place(path),
        Err(error) => return Err(error),
    };
    let id = FileId::of(&file.metadata()?);
    Ok(Attempt::Taken(LockFile { path: path.to_owned(), file: Arc::new(file), id }))
}

/// Records, flocks, links. `false` if somebody meddled with the temporary file.
fn give_name(file: &File, temporary: &Path, path: &Path) -> io::Result<bool> {
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

/// Where links can't be had: between creation and record the lock looks like the Go d8's.
fn create_in_place(path: &Path) -> io::Result<Attempt> {
    let file = disk::create_new(path, disk::PRIVATE)?;
    if !flock(&file)? {
        return Ok(Attempt::Again);
    }
    write_record(&file)?;
    let id = FileId::of(&file.metadata()?);
    Ok(Attempt::Taken(LockFile { path: path.to_owned(), file: Arc::new(file), id }))
}

fn write_record(mut file: &File) -> io::Result<()> {
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

/// The record in a lock; `None` if it is not one of ours.
fn record(file: &File) -> io::Result<Option<Record>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    file.take(RECORD).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Retry to get the flock.
pub(crate) fn flock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("{LOCK}.{}", disk::random_name()))
}

/// Removes temporary lock files whose makers are dead. Says how many.
pub(crate) fn sweep(dir: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for found in fs::read_dir(dir)? {
        let found = found?;
        let name = found.file_name();
        if !name.to_str().is_some_and(|name| name.strip_prefix(LOCK).is_some_and(|rest| rest.starts_with('.'))) {
            continue;
        }
        let path = found.path();
        let Some(file) = disk::absent(disk::open_regular(&path))? else { continue };
        if flock(&file)? && disk::unlink(&path)? {
            swept += 1;
        }
    }
    Ok(swept)
}

impl LockFile {
    /// Whether the name is still that of our file.
    pub(crate) fn still_ours(&self) -> io::Result<bool> {
        Ok(FileId::at(&self.path)? == Some(self.id))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For the task that renews the time; it must not keep the flock alive.
    pub(crate) fn file(&self) -> std::sync::Weak<File> {
        Arc::downgrade(&self.file)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.still_ours().unwrap_or(false) {
            let _ = disk::unlink(&self.path);
        }
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}
