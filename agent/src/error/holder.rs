//! The process that holds a lock.

use std::fmt;

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockHolder {
    /// A process that wrote its record to the lock.
    Process {
        /// Process id on `host`.
        pid: u32,
        /// Name of the host.
        host: String,
        /// Name of the program.
        program: String,
    },
    /// A program that writes no record, such as the d8 written in Go.
    Foreign,
    /// Another user: the lock cannot be read.
    Unreadable,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, host, program } => write!(f, "{program} (process {pid} on {host})"),
            Self::Foreign => f.write_str("another program, which wrote no record to its lock"),
            Self::Unreadable => f.write_str("another user"),
        }
    }
}
