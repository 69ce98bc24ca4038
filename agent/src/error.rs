//! Errors of the stores, under stable kinds, with causes and fixes.

mod advice;
mod holder;
mod kind;

use std::{fmt, io, path::PathBuf, time::Duration};

use d8_crds::values::{
    digest::Digest,
    name::{Component, PluginName, Tag},
};

pub use self::{holder::LockHolder, kind::StoreErrorKind};
pub use d8_rpp::Advice;

use crate::{disk::flock::LocksUnsupported, smoke};

/// Why a store could not be read or changed. If a change returns this error, it has left the store as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The root cannot contain a store.
    #[error("cannot use the install root {}: {why}", root.display())]
    Root {
        /// Path of the root.
        root: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This user has no write access to the root.
    #[error("no write access to the install root {}", root.display())]
    Unwritable {
        /// Path of the root.
        root: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// This user has no write access to the directory of the command on the PATH.
    #[error("cannot replace {} with a link to the store; nothing was changed", path.display())]
    EntryUnwritable {
        /// Path of the command.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// Other users could change a path that root must be able to trust.
    #[error("{} is not trusted: {why}", path.display())]
    Untrusted {
        /// Path of the file or directory.
        path: PathBuf,
        /// Who could change it.
        why: String,
    },
    /// A path in the store is not a directory.
    #[error("cannot use {}: {why}", path.display())]
    NotADirectory {
        /// Path that was expected to be a directory.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// Another process held the lock until the timeout.
    #[error("{name} is being changed by {holder} (waited {})", Seconds(*waited))]
    Locked {
        /// The component to change.
        name: Component,
        /// Path of the lock file.
        path: PathBuf,
        /// The process that holds the lock.
        holder: LockHolder,
        /// How long this process waited.
        waited: Duration,
    },
    /// Another process took the lock during the change. The change was rolled back.
    #[error("another program took the lock of {name}; the change was rolled back")]
    LockLost {
        /// The component to change.
        name: Component,
        /// Path of the lock file.
        path: PathBuf,
    },
    /// A file or directory in the store is damaged.
    #[error("{name}: {}: {why}", path.display())]
    Broken {
        /// The component that the path belongs to.
        name: Component,
        /// Path of the damaged file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The cached contract cannot be read.
    #[error("cannot read the cached contract of {name}: {why}")]
    Contract {
        /// Name of the plugin.
        name: PluginName,
        /// Path of the contract.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The plugin is not installed.
    #[error("{name} is not installed")]
    NotInstalled {
        /// Name of the plugin.
        name: PluginName,
    },
    /// The version is not on disk, or it is damaged.
    #[error("{name} {tag} is not on disk: {why}")]
    NotStored {
        /// The component to change.
        name: Component,
        /// Tag of the version.
        tag: Tag,
        /// Which file is missing or damaged.
        why: String,
    },
    /// No other version was active before.
    #[error("no earlier version of {name} is on disk")]
    NoPrevious {
        /// Name of the plugin.
        name: PluginName,
    },
    /// The tag is not a version.
    #[error("{name}: {tag} is not a version")]
    NotAVersion {
        /// The component to change.
        name: Component,
        /// Tag of the version.
        tag: Tag,
    },
    /// The download failed, or the downloaded layer is not valid.
    #[error(transparent)]
    Proxy(#[from] d8_rpp::Error),
    /// The layer does not have the digest in the record or the manifest.
    #[error("{name} {tag}: the layer is {found}, expected {expected}; nothing was installed")]
    WrongDigest {
        /// The component to change.
        name: Component,
        /// Tag of the version.
        tag: Tag,
        /// Digest by record or manifest.
        expected: Digest,
        /// Digest of the downloaded layer.
        found: Digest,
    },
    /// The store has recorded another layer for the version.
    #[error("{name} {tag} was {recorded} when this store first installed it, now it is {found}")]
    Moved {
        /// The component to change.
        name: Component,
        /// Tag of the version.
        tag: Tag,
        /// Digest of the layer that was installed first.
        recorded: Digest,
        /// Digest of the layer now.
        found: Digest,
    },
    /// The executable failed its smoke test.
    #[error("{name} {tag} failed its smoke test: {failure}")]
    Smoke {
        /// The component to change.
        name: Component,
        /// Tag of the version.
        tag: Tag,
        /// How the test failed.
        failure: smoke::SmokeFailure,
    },
    /// An operation on the file system failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// Path that the operation was for.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Returns a function that adds an operation and a path to an error of the file system.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// Turns the error of a write below a root into a store error.
    pub(crate) fn refused_write(root: impl Into<PathBuf>, source: io::Error) -> Self {
        let root = root.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Unwritable { root, source },
            io::ErrorKind::NotADirectory => {
                Self::Root { root, why: "a part of its path is not a directory".to_owned() }
            }
            io::ErrorKind::Unsupported if !no_locks(&source) => Self::Root { root, why: source.to_string() },
            _ if no_locks(&source) => Self::Io { what: "lock files in", path: root, source },
            _ => Self::Io { what: "write to", path: root, source },
        }
    }
}

/// Returns whether the file system does not support locks.
fn no_locks(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<LocksUnsupported>)
}

/// Shows a duration in whole seconds.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}
