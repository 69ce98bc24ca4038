//! The running d8: its executable, its release, the store it belongs to, and the command on the PATH.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use d8_agent::{
    StoreError,
    d8_store::{D8Store, D8Version, PackageDatabases, PathEntry, inaccessible_ancestor, invocation_path},
    is_same_file,
};
use d8_crds::values::{digest::Digest, name::Tag, version::Version};

use crate::{
    context::Context,
    terminal::failure::{Code, Failure},
    version,
};

/// The executable of this process, which stays readable after the file is replaced.
const OWN_IMAGE: &str = "/proc/self/exe";

/// The d8 of this process.
#[derive(Clone)]
pub(crate) struct RunningD8 {
    /// The store, or why there is none. Many commands need none.
    store: Result<D8Store, Failure>,
    /// Path of the executable, with links resolved.
    pub(crate) executable: PathBuf,
    /// The release; `None` for a development build.
    pub(crate) release: Option<(Tag, Version)>,
    /// The executable is in the store.
    from_store: bool,
}

/// The current version of d8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CurrentVersion {
    Release(Tag, Version),
    /// A development build. It is older than every release.
    Development,
}

impl CurrentVersion {
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

impl fmt::Display for CurrentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(tag, _) => tag.fmt(f),
            Self::Development => f.write_str(&version::display()),
        }
    }
}

impl RunningD8 {
    /// Locates the executable and its store. Changes nothing.
    ///
    /// # Errors
    /// The executable has no path.
    pub(crate) fn locate(context: &Context) -> Result<Self, Failure> {
        let executable = std::env::current_exe().and_then(|path| path.canonicalize()).map_err(|error| {
            Failure::new(Code::Failed, "failed to locate the executable of this d8")
                .caused_by(&error)
                .advise("the file was removed or replaced while d8 was running", "run the command again")
        })?;
        let (store, from_store) = match D8Store::containing(&executable) {
            Ok(Some(store)) => (Ok(store), true),
            Ok(None) => (default_root(context).and_then(|root| Ok(D8Store::at(root)?)), false),
            Err(error) => (Err(untrusted_store_failure(&executable, error)), true),
        };
        Ok(Self { store, executable, release: version::release(), from_store })
    }

    /// Returns the store.
    ///
    /// # Errors
    /// There is no home directory, or root must not trust the store.
    pub(crate) fn store(&self) -> Result<&D8Store, Failure> {
        self.store.as_ref().map_err(Clone::clone)
    }

    /// Returns the store, if this d8 runs from one.
    pub(crate) fn own_store(&self) -> Option<&D8Store> {
        self.store.as_ref().ok().filter(|_| self.from_store)
    }

    /// Returns a path to read the running executable from, even if its file was replaced.
    pub(crate) fn image(&self) -> &Path {
        let image = Path::new(OWN_IMAGE);
        if image.exists() { image } else { &self.executable }
    }

    /// Returns whether a path leads to the running executable.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        is_same_file(path, self.image())
    }

    /// Returns the active version of the store, if this d8 runs from it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn active(&self) -> Result<Option<D8Version>, Failure> {
        match &self.store {
            Ok(store) if self.from_store => Ok(store.active()?),
            _ => Ok(None),
        }
    }

    /// Returns the digests of the active version, from its receipt.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn active_digests(&self) -> Result<Vec<Digest>, Failure> {
        Ok(self.active()?.map(|active| active.digests()).unwrap_or_default())
    }

    /// Returns the current version: the active version of the store if this d8 runs from it, else the release of this
    /// build.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn current(&self) -> Result<CurrentVersion, Failure> {
        let release = self.active()?.map(|active| (active.tag, active.version)).or_else(|| self.release.clone());
        Ok(release.map_or(CurrentVersion::Development, |(tag, version)| CurrentVersion::Release(tag, version)))
    }

    /// Returns the command on the PATH that started this d8.
    fn path_entry(&self, context: &Context) -> PathEntry {
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let path = invocation_path(&argv0, std::env::var_os("PATH").as_deref(), &directory, &self.executable);
        PathEntry::of(&path, context.home(), &PackageDatabases::default())
    }

    /// Returns the command on the PATH that started this d8, if a switch may replace it.
    ///
    /// # Errors
    /// A package manager or another user owns it, or other users run it and could not follow the link.
    pub(crate) fn replaceable_path_entry(&self, context: &Context) -> Result<PathEntry, Failure> {
        let entry = self.path_entry(context);
        match &entry {
            PathEntry::Managed { path, by } => {
                Err(Failure::new(Code::Failed, format!("{} is not replaced: it belongs to {by}", path.display()))
                    .advise("its owner does not expect the change and may undo it", self.private_copy_command()))
            }
            PathEntry::Plain { path, shared: true } if !is_root() => Err(Failure::new(
                Code::Failed,
                format!("{} is not linked into a home directory: other users run it", path.display()),
            )
            .advise(
                "root uses a store that all users can read",
                format!("update it for all users: sudo {} cli update", path.display()),
            )
            .advise("you can use a different d8 than the other users", self.private_copy_command())),
            PathEntry::Plain { path, shared: true }
                if let Some(closed) = inaccessible_ancestor(&self.store()?.dir()) =>
            {
                Err(Failure::new(
                    Code::Failed,
                    format!("{} is not linked into {}: other users run it", path.display(), closed.display()),
                )
                .advise(
                    format!("other users cannot access {}", closed.display()),
                    format!("use a root that all users can read: --plugins-dir {}", d8_agent::roots::DEFAULT_ROOT),
                ))
            }
            PathEntry::Plain { .. } | PathEntry::Linked { .. } => Ok(entry),
        }
    }

    fn private_copy_command(&self) -> String {
        let executable = self.executable.display();
        format!("install your own copy, and put ~/.local/bin first in PATH: install -D {executable} ~/.local/bin/d8")
    }

    /// Returns the fallback: the executable that was set, else the newest d8 of the other implementation in the store.
    ///
    /// # Errors
    /// As root, other users can change the executable.
    pub(crate) fn fallback(&self) -> Result<Option<PathBuf>, Failure> {
        let Ok(store) = &self.store else { return Ok(None) };
        match store.fallback()? {
            Some(set) => Ok(Some(set)),
            None => Ok(newest_without_stamp(&store.versions()?, &self.executable)),
        }
    }

    /// Turns an error of the d8 store into a failure that says what to do about missing write access.
    pub(crate) fn store_failure(&self, error: StoreError) -> Failure {
        let StoreError::Unwritable { root, .. } = &error else { return error.into() };
        let failure = Failure::new(Code::Failed, format!("no write access to {}; nothing was changed", root.display()))
            .caused_by(&error);
        if is_root() {
            failure.advise(
                "the file system is mounted read-only",
                "mount it read-write, or choose another root with `--plugins-dir`",
            )
        } else if self.from_store {
            failure
                .advise("an admin manages this d8 for all users", "run the command again with sudo")
                .advise("you can use a different d8 than the other users", self.private_copy_command())
        } else {
            failure.advise(
                "the directory belongs to another user (check HOME), or the file system is mounted read-only",
                format!("ls -ld {} {}", root.display(), root.parent().unwrap_or(root).display()),
            )
        }
    }
}

/// Returns the newest version in a store that is a d8 of the other implementation. A receipt does not show
/// this, because both implementations are published under the same name.
pub(crate) fn newest_without_stamp(versions: &[D8Version], executable: &Path) -> Option<PathBuf> {
    let others = versions.iter().map(|stored| &stored.binary).filter(|binary| *binary != executable);
    others.filter(|binary| !version::has_stamp(binary)).map(Clone::clone).next()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the root of the d8 store if this d8 does not run from one: for root the root that all users share, else the
/// home root.
fn default_root(context: &Context) -> Result<PathBuf, Failure> {
    if is_root() {
        return Ok(context.roots().configured().to_owned());
    }
    context.home_root().ok_or_else(|| {
        Failure::new(Code::Failed, "no home directory to store versions of d8 in")
            .advise("HOME is not set, and /etc/passwd has no home directory for this user", "export HOME=DIR")
    })
}

/// Returns the failure of root when other users can change the store of the running d8.
fn untrusted_store_failure(executable: &Path, error: StoreError) -> Failure {
    let StoreError::Untrusted { .. } = &error else { return error.into() };
    Failure::new(Code::Failed, "this d8 is in a store that users other than root can change")
        .caused_by(&error)
        .advise("the store belongs to another user", "run the command again without sudo")
        .advise(
            "root needs a d8 that only root can change",
            format!("install -D {} /usr/local/bin/d8", executable.display()),
        )
}
