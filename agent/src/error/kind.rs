//! Kinds of errors: stable, for programs.

use super::StoreError;
use crate::{disk, smoke::SmokeFailure};

/// The stable kind of a [`StoreError`]: for exit codes, condition reasons and metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The root is not usable.
    Root,
    /// There is no write access.
    Unwritable,
    /// Other users could change the path.
    Untrusted,
    /// Another process holds the lock.
    Locked,
    /// Another process took the lock.
    LockLost,
    /// The store is damaged.
    Broken,
    /// The cached contract is damaged.
    Contract,
    /// The plugin is not installed, the version is not on disk, or there is no earlier version.
    NotInstalled,
    /// A tag is not a version.
    NotAVersion,
    /// The download failed; [`d8_rpp::Error::kind`] says how.
    Proxy,
    /// The bytes do not have the expected digest.
    WrongDigest,
    /// The bytes do not have the recorded digest.
    Moved,
    /// The executable failed its smoke test.
    Smoke,
    /// The executable was still running at the timeout of its smoke test.
    SmokeTimeout,
    /// The smoke test could not be run.
    SmokeSetup,
    /// The executable is not the file that was verified any more.
    SmokeChanged,
    /// The disk is full, or a limit on file sizes or a quota is reached.
    DiskFull,
    /// Another error of the file system.
    Io,
}

impl StoreErrorKind {
    /// Returns the name of the kind. Never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "Root",
            Self::Unwritable => "Unwritable",
            Self::Untrusted => "Untrusted",
            Self::Locked => "Locked",
            Self::LockLost => "LockLost",
            Self::Broken => "Broken",
            Self::Contract => "Contract",
            Self::NotInstalled => "NotInstalled",
            Self::NotAVersion => "NotAVersion",
            Self::Proxy => "Proxy",
            Self::WrongDigest => "WrongDigest",
            Self::Moved => "Moved",
            Self::Smoke => "Smoke",
            Self::SmokeTimeout => "SmokeTimeout",
            Self::SmokeSetup => "SmokeSetup",
            Self::SmokeChanged => "SmokeChanged",
            Self::DiskFull => "DiskFull",
            Self::Io => "Io",
        }
    }
}

impl StoreError {
    /// Returns the stable kind of this error.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Root { .. } => StoreErrorKind::Root,
            Self::EntryUnwritable { source, .. } if disk::is_full(source) => StoreErrorKind::DiskFull,
            Self::Unwritable { .. } | Self::EntryUnwritable { .. } => StoreErrorKind::Unwritable,
            Self::Untrusted { .. } | Self::NotADirectory { .. } => StoreErrorKind::Untrusted,
            Self::Locked { .. } => StoreErrorKind::Locked,
            Self::LockLost { .. } => StoreErrorKind::LockLost,
            Self::Broken { .. } => StoreErrorKind::Broken,
            Self::Contract { .. } => StoreErrorKind::Contract,
            Self::NotInstalled { .. } | Self::NotStored { .. } | Self::NoPrevious { .. } => {
                StoreErrorKind::NotInstalled
            }
            Self::NotAVersion { .. } => StoreErrorKind::NotAVersion,
            Self::Proxy(_) => StoreErrorKind::Proxy,
            Self::WrongDigest { .. } => StoreErrorKind::WrongDigest,
            Self::Moved { .. } => StoreErrorKind::Moved,
            Self::Smoke { failure: SmokeFailure::Setup { .. } | SmokeFailure::NoExec { .. }, .. } => {
                StoreErrorKind::SmokeSetup
            }
            Self::Smoke { failure: SmokeFailure::Timeout { .. }, .. } => StoreErrorKind::SmokeTimeout,
            Self::Smoke { failure: SmokeFailure::Changed, .. } => StoreErrorKind::SmokeChanged,
            Self::Smoke { .. } => StoreErrorKind::Smoke,
            Self::Io { source, .. } if disk::is_full(source) => StoreErrorKind::DiskFull,
            Self::Io { .. } => StoreErrorKind::Io,
        }
    }
}
