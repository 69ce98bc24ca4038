//! What can go wrong in a store, under stable kinds, each with cause and fix.

use std::{fmt, io, path::PathBuf, time::Duration};

use d8_crds::values::{
    digest::Digest,
    name::{Component, PluginName, Tag},
};

pub use d8_rpp::Advice;

use crate::smoke;

/// Why a store could not be read or changed. Nothing on disk was changed when one of these is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The root given cannot hold a store.
    #[error("install root {} can't be used: {why}", root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no write access to the root.
    #[error("no write access to the install root {}", root.display())]
    Unwritable {
        /// The root.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no write access to the directory of the command on the PATH.
    #[error("{} can't be made a link to the store; nothing was changed", path.display())]
    EntryUnwritable {
        /// The command.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A place that somebody else could change, which this user must not trust.
    #[error("{} is not trusted: {why}", path.display())]
    Untrusted {
        /// The place.
        path: PathBuf,
        /// Who could change it.
        why: String,
    },
    /// A place in the store that has to be a directory of its own.
    #[error("{} is not used: {why}", path.display())]
    NotADirectory {
        /// The place.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// Somebody else holds the lock and kept it for as long as was to be waited.
    #[error("{name} is being changed by {holder} (waited {})", Seconds(*waited))]
    Locked {
        /// What is to change.
        name: Component,
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        holder: LockHolder,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock was taken away while the change was under way; it was undone.
    #[error("the lock of {name} was taken away by another program; the change was undone")]
    LockLost {
        /// What is to change.
        name: Component,
        /// The lock file.
        path: PathBuf,
    },
    /// Something in the store is not what it has to be.
    #[error("{name}: {}: {why}", path.display())]
    Broken {
        /// What is to change.
        name: Component,
        /// The place.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The cached contract cannot be read.
    #[error("the cached contract of {name} can't be read: {why}")]
    Contract {
        /// The plugin.
        name: PluginName,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The plugin is not installed.
    #[error("{name} is not installed")]
    NotInstalled {
        /// The plugin.
        name: PluginName,
    },
    /// The version is not on disk, or not whole.
    #[error("{name} {tag} is not on disk: {why}")]
    NotStored {
        /// What is to change.
        name: Component,
        /// The version.
        tag: Tag,
        /// Absent, or what is wrong with it.
        why: String,
    },
    /// No version was active before this one.
    #[error("no earlier version of {name} is on disk")]
    NoPrevious {
        /// The plugin.
        name: PluginName,
    },
    /// The tag is not a version.
    #[error("{name}: {tag} is not a version")]
    NotAVersion {
        /// What is to change.
        name: Component,
        /// The tag.
        tag: Tag,
    },
    /// The bytes could not be had, or were not what the source said they are.
    #[error(transparent)]
    Proxy(#[from] d8_rpp::Error),
    /// The bytes are not those that the record or the manifest names.
    #[error("{name} {tag}: the layer is {found}, expected {expected}; nothing was installed")]
    WrongDigest {
        /// What is to change.
        name: Component,
        /// The version.
        tag: Tag,
        /// What the record or the manifest names.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// This store remembers the version with other bytes.
    #[error("{name} {tag} was {remembered} when this store last saw it, now it is {found}")]
    Moved {
        /// What is to change.
        name: Component,
        /// The version.
        tag: Tag,
        /// The layer this store saw first.
        remembered: Digest,
        /// The layer that came now.
        found: Digest,
    },
    /// The binary did not pass its smoke test.
    #[error("{name} {tag} failed its smoke test: {failure}")]
    Smoke {
        /// What is to change.
        name: Component,
        /// The version.
        tag: Tag,
        /// How.
        failure: smoke::SmokeFailure,
    },
    /// The system refused an operation.
    #[error("can't {what} {}", path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The stable kinds of [`StoreError`]; they become exit codes, condition reasons and metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The root is unusable.
    Root,
    /// No write access.
    Unwritable,
    /// Somebody else could change the place.
    Untrusted,
    /// Held by somebody else.
    Locked,
    /// Lost to somebody else.
    LockLost,
    /// The store is damaged.
    Broken,
    /// The cached contract is damaged.
    Contract,
    /// Not installed, not on disk, or nothing to go back to.
    NotInstalled,
    /// A tag that is no version.
    NotAVersion,
    /// The proxy; [`d8_rpp::Error`] has the kind.
    Proxy,
    /// Other bytes than named.
    WrongDigest,
    /// Other bytes than remembered.
    Moved,
    /// The smoke test: the plugin's own fault.
    Smoke,
    /// The smoke test could not be run.
    SmokeSetup,
    /// No space left, or a file size or quota limit.
    DiskFull,
    /// Any other refusal of the system.
    Io,
}

impl StoreErrorKind {
    /// The kind as a word.
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
            Self::SmokeSetup => "SmokeSetup",
            Self::DiskFull => "DiskFull",
            Self::Io => "Io",
        }
    }
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockHolder {
    /// A process that left its record.
    Process {
        /// The process id, on `host`.
        pid: u32,
        /// The host's name.
        host: String,
        /// The program's name.
        program: String,
    },
    /// A program that leaves no record, such as the Go d8.
    Foreign,
    /// The lock belongs to another user and cannot be read.
    Unreadable,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, host, program } => write!(f, "{program} (process {pid} on {host})"),
            Self::Foreign => f.write_str("another program, which left no record in its lock"),
            Self::Unreadable => f.write_str("another user"),
        }
    }
}

/// A duration for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// The stable kind.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Root { .. } => StoreErrorKind::Root,
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
            Self::Smoke { failure: smoke::SmokeFailure::Setup { .. }, .. } => StoreErrorKind::SmokeSetup,
            Self::Smoke { .. } => StoreErrorKind::Smoke,
            Self::Io { source, .. } if disk_full(source) => StoreErrorKind::DiskFull,
            Self::Io { .. } => StoreErrorKind::Io,
        }
    }

    /// Causes and fixes, the likeliest first.
    pub fn advice(&self) -> Vec<Advice> {
        let pair = |cause: &str, fix: String| vec![Advice { cause: cause.to_owned(), fix }];
        match self {
            Self::Root { .. } => pair(
                "the root given by --plugins-dir or DECKHOUSE_CLI_PATH is used as it is, never replaced",
                "give a directory of your own, or leave it out".to_owned(),
            ),
            Self::Unwritable { .. } => pair(
                "the directory belongs to another user, or the file system is mounted read-only",
                "repeat with sudo, or install for yourself: --plugins-dir ~/.deckhouse-cli".to_owned(),
            ),
            Self::EntryUnwritable { path, .. } => pair(
                "the directory belongs to another user, or the file system is mounted read-only",
                format!(
                    "repeat with sudo, or keep a d8 of your own: install -D {} ~/.local/bin/d8, with ~/.local/bin first \
                     on the PATH",
                    path.display()
                ),
            ),
            Self::Untrusted { path, .. } => pair(
                "whoever can write there could make this user run or overwrite what they like",
                format!("chown root:root {0} && chmod go-w {0}, or give another root by --plugins-dir", path.display()),
            ),
            Self::NotADirectory { path, .. } => pair(
                "whoever can change what it leads to could make this user overwrite what they like",
                format!("put the directory itself at {}; the root above it may be a link", path.display()),
            ),
            Self::Locked { path, holder: LockHolder::Process { .. }, .. } => pair(
                "another d8 is installing, updating or removing it",
                format!("wait for it, or raise --lock-timeout; the lock is {}", path.display()),
            ),
            Self::Locked { path, .. } => pair(
                "another program is changing it, or died while doing so",
                format!(
                    "wait for it; if nothing is running, remove {} (after an hour this is done by itself)",
                    path.display()
                ),
            ),
            Self::LockLost { name, .. } => pair(
                "two programs changed it at once",
                format!("repeat; see what is there: {}", command(name, "plugins list", "cli versions")),
            ),
            Self::Broken { name: Component::Plugin(name), .. } | Self::Contract { name, .. } => {
                pair("the file was changed or damaged", format!("d8 plugins install {name} --force"))
            }
            Self::Broken { path, .. } => {
                pair("the file was changed or damaged", format!("remove {}, then: d8 cli update", path.display()))
            }
            Self::NotInstalled { name } | Self::NotStored { name: Component::Plugin(name), .. } => {
                pair("it was never installed, or was removed", format!("d8 plugins install {name}"))
            }
            Self::NotStored { tag, .. } => pair(
                "it was never installed, or its directory was removed or changed",
                format!("d8 cli update --version {tag}"),
            ),
            Self::NoPrevious { name } => pair(
                "only one version was ever active here, or the earlier ones were pruned",
                format!("d8 plugins install {name} --version <version>"),
            ),
            Self::NotAVersion { name, .. } => pair(
                "only versions such as v1.2.3 can be installed",
                command(name, &format!("plugins why {name}"), "cli versions"),
            ),
            Self::Proxy(error) => error.advice(),
            Self::WrongDigest { .. } => pair(
                "the tag was moved after it was read, or something between here and the registry changed the bytes",
                "repeat; if it stays, tell the cluster's administrator before installing anything".to_owned(),
            ),
            Self::Moved { found, .. } => pair(
                "somebody published other bytes under the same version",
                format!("ask its publisher; {found} is taken once an admin pins it"),
            ),
            Self::Smoke { failure, .. } => vec![failure.advice()],
            Self::Io { source, path, .. } if disk_full(source) => pair(
                "no space is left on the file system, or a limit or quota is reached",
                format!("free some space below {}; what goes first: d8 plugins remove NAME", path.display()),
            ),
            Self::Io { .. } => Vec::new(),
        }
    }
}

/// The command for a plugin, or for d8 itself.
fn command(component: &Component, for_plugin: &str, for_d8: &str) -> String {
    format!("d8 {}", if *component == Component::D8 { for_d8 } else { for_plugin })
}

/// Whether the system refused for lack of space.
fn disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
