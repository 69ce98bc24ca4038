//! The d8 that runs: its executable, its release, the store it belongs to, and the command on the PATH.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use d8_agent::{
    StoreError,
    d8_store::{D8Store, D8Version, PackageDatabases, PathEntry, inaccessible_ancestor, invocation_path},
};
use d8_crds::values::{digest::Digest, name::Tag, version::Version};

use crate::{
    context::Context,
    terminal::failure::{Code, Failure},
    version,
};

/// This d8, its store, and what stands on the PATH.
pub(crate) struct Own {
    /// Or why there is none: many commands need none.
    store: Result<D8Store, Failure>,
    /// The program that runs, links followed.
    pub(crate) executable: PathBuf,
    /// The release that runs; `None`: a development build.
    pub(crate) running: Option<(Tag, Version)>,
    /// It runs from the store.
    from_store: bool,
}

/// The version that counts as the one people have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Current {
    /// A release.
    Release(Tag, Version),
    /// A development build, older than any release.
    Development,
}

impl Current {
    pub(crate) fn version(&self) -> Option<&Version> {
        match self {
            Self::Release(_, version) => Some(version),
            Self::Development => None,
        }
    }

    pub(crate) fn is(&self, version: &Version) -> bool {
        self.version() == Some(version)
    }
}

impl fmt::Display for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(tag, _) => tag.fmt(f),
            Self::Development => f.write_str(&version::display()),
        }
    }
}

impl Own {
    /// Looks where this runs from. Changes nothing.
    ///
    /// # Errors
    /// The running program has no path.
    pub(crate) fn find(context: &Context) -> Result<Self, Failure> {
        let executable = std::env::current_exe().and_then(|path| path.canonicalize()).map_err(|error| {
            Failure::new(Code::Failed, "it cannot be told where this d8 is")
                .caused_by(&error)
                .advise("its file was removed or replaced while it ran", "repeat the command")
        })?;
        let (store, from_store) = match D8Store::holding(&executable) {
            Ok(Some(store)) => (Ok(store), true),
            Ok(None) => (root(context).and_then(|root| Ok(D8Store::at(root)?)), false),
            Err(error) => (Err(of_another(&executable, error)), true),
        };
        Ok(Self { store, executable, running: version::release(), from_store })
    }

    /// The store.
    ///
    /// # Errors
    /// There is none: no home, or one that this user must not trust.
    pub(crate) fn store(&self) -> Result<&D8Store, Failure> {
        self.store.as_ref().map_err(Clone::clone)
    }

    /// The bytes that run, even if their file was replaced meanwhile.
    pub(crate) fn bytes(&self) -> &Path {
        let own = Path::new("/proc/self/exe");
        if own.exists() { own } else { &self.executable }
    }

    /// Whether a path still leads to the program that runs.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        id(path).is_some_and(|found| Some(found) == id(self.bytes()))
    }

    /// What is active in the store that this runs from.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) fn active(&self) -> Result<Option<D8Version>, Failure> {
        match &self.store {
            Ok(store) if self.from_store => Ok(store.active()?),
            _ => Ok(None),
        }
    }

    /// The digests of the active version in its receipt.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) fn active_digests(&self) -> Result<Vec<Digest>, Failure> {
        Ok(self.active()?.map(|active| active.digests()).unwrap_or_default())
    }

    /// What the store's `current` names when this process runs from that store, else this build's own.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) fn current(&self) -> Result<Current, Failure> {
        let release = self.active()?.map(|active| (active.tag, active.version)).or_else(|| self.running.clone());
        Ok(release.map_or(Current::Development, |(tag, version)| Current::Release(tag, version)))
    }

    /// The command that people type.
    pub(crate) fn entry(&self, context: &Context) -> PathEntry {
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let path = invocation_path(&argv0, std::env::var_os("PATH").as_deref(), &directory, &self.executable);
        PathEntry::of(&path, context.home(), &PackageDatabases::default())
    }

    /// The same, if it may be changed.
    ///
    /// # Errors
    /// It belongs to a package manager or to somebody else, or others run it and it would lead into a
    /// home.
    pub(crate) fn changeable(&self, context: &Context) -> Result<PathEntry, Failure> {
        let entry = self.entry(context);
        let by_hand = self.by_hand();
        match &entry {
            PathEntry::Managed { path, by } => {
                Err(Failure::new(Code::Failed, format!("{} is not replaced: it belongs to {by}", path.display()))
                    .advise("what manages the file would not know of the change, or undo it", by_hand))
            }
            PathEntry::Plain { path, shared: true } if !is_root() => Err(Failure::new(
                Code::Failed,
                format!("{} is not made a link into a home: other users run it", path.display()),
            )
            .advise("as root the store is one that all can read", format!("sudo {} cli update", path.display()))
            .advise("or leave theirs alone", by_hand)),
            PathEntry::Plain { path, shared: true }
                if let Some(closed) = inaccessible_ancestor(&self.store()?.dir()) =>
            {
                Err(Failure::new(
                    Code::Failed,
                    format!("{} is not made a link into {}: other users run it", path.display(), closed.display()),
                )
                .advise(
                    format!("{} is closed to others, who would have no d8 then", closed.display()),
                    format!("give a root that all can read: --plugins-dir {}", d8_agent::roots::DEFAULT_ROOT),
                ))
            }
            PathEntry::Plain { .. } | PathEntry::Linked { .. } => Ok(entry),
        }
    }

    /// How to have a d8 that nobody else depends on.
    fn by_hand(&self) -> String {
        let own = self.executable.display();
        format!("keep a d8 of your own: install -D {own} ~/.local/bin/d8, with ~/.local/bin first on the PATH")
    }

    /// The d8 of another kind that commands go to which this one has not: the one that was set, else the
    /// newest in the store.
    ///
    /// # Errors
    /// As root, a place that others can write to.
    pub(crate) fn fallback(&self) -> Result<Option<PathBuf>, Failure> {
        let Ok(store) = &self.store else { return Ok(None) };
        match store.fallback()? {
            Some(set) => Ok(Some(set)),
            None => Ok(newest_other(&store.versions()?, &self.executable)),
        }
    }
}

/// The newest version in the store that is a d8 of another kind. What d8 brought in itself has a receipt,
/// but that says nothing: a Go d8 is published under the same name.
pub(crate) fn newest_other(versions: &[D8Version], executable: &Path) -> Option<PathBuf> {
    let others = versions.iter().map(|stored| &stored.binary).filter(|binary| *binary != executable);
    others.filter(|binary| !version::is_ours(binary)).map(Clone::clone).next()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// As root the root that all users share, else home's.
fn root(context: &Context) -> Result<PathBuf, Failure> {
    if is_root() {
        return Ok(context.roots().configured().to_owned());
    }
    context.own_root().ok_or_else(|| {
        Failure::new(Code::Failed, "there is no home directory to keep versions of d8 in")
            .advise("HOME is not set, and /etc/passwd names none", "export HOME=DIR")
    })
}

/// A store that root must not trust, and that holds the program which runs.
fn of_another(executable: &Path, error: StoreError) -> Failure {
    let StoreError::Untrusted { .. } = &error else { return error.into() };
    Failure::new(Code::Failed, "this d8 is in a store that users other than root can change")
        .caused_by(&error)
        .advise("it is some user's own, who updates it without sudo", "repeat without sudo")
        .advise("or have one that is root's", format!("install -D {} /usr/local/bin/d8", executable.display()))
}

/// What a store's refusal means where d8 itself is concerned.
pub(crate) fn refused(own: &Own, error: StoreError) -> Failure {
    let StoreError::Unwritable { root, .. } = &error else { return error.into() };
    let failure = Failure::new(Code::Failed, format!("no write access to {}; nothing was changed", root.display()))
        .caused_by(&error);
    if is_root() {
        failure.advise("the file system is mounted read-only", "mount it for writing, or give another --plugins-dir")
    } else if own.from_store {
        failure
            .advise("this d8 is one that an administrator manages for all users", "repeat with sudo")
            .advise("or leave theirs alone", own.by_hand())
    } else {
        let look = format!("ls -ld {} {}", root.display(), root.parent().unwrap_or(root).display());
        failure.advise("it belongs to another user (is HOME right?), or the file system is mounted read-only", look)
    }
}
