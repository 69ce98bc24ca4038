//! Locks of open files, which the system releases when their process ends.

use std::{fs::File, io};

use rustix::{fs::FlockOperation, io::Errno};

/// The file system has no locks, such as NFS without a lock service.
#[derive(Debug, thiserror::Error)]
#[error("its file system does not support locks: {0}")]
pub(crate) struct LocksUnsupported(io::Error);

/// Tries to take the flock.
///
/// # Errors
/// [`LocksUnsupported`], as the inner error, and other errors of the system.
pub(crate) fn flock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error @ (Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, LocksUnsupported(error.into())))
        }
        Err(error) => Err(error.into()),
    }
}
