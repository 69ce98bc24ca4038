//! The command on the PATH: what it is, and whether it may become a link to a store.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use d8_crds::values::version::Version;

use crate::d8_store::{EXECUTABLE, package_owner::PackageDatabases};

/// What stands on the PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEntry {
    /// A link that leads into a store of d8, whoever's: it is left alone.
    Linked {
        /// The link.
        path: PathBuf,
        /// The store's directory, `<root>/cli`.
        store: PathBuf,
    },
    /// A file, or a link to a file that nobody manages: it may become a link.
    Plain {
        /// It.
        path: PathBuf,
        /// Other users run it, too: it must not depend on anyone's home.
        shared: bool,
    },
    /// It is not ours to replace.
    Managed {
        /// It.
        path: PathBuf,
        /// Who manages it, or whose it is.
        by: String,
    },
}

/// The path by which this program was started: `argv[0]` where it is a path, else what the PATH finds.
/// Where neither leads to `executable` (a program can be told any `argv[0]`), that itself.
pub fn invocation_path(argv0: &OsStr, path: Option<&OsStr>, directory: &Path, executable: &Path) -> PathBuf {
    let leads_here = |place: &PathBuf| place.canonicalize().is_ok_and(|real| real == executable);
    let word = Path::new(argv0);
    let found = if word.components().count() > 1 || word.is_absolute() {
        Some(directory.join(word)).filter(leads_here)
    } else {
        let folders = path.map(std::env::split_paths).into_iter().flatten();
        folders.map(|folder| directory.join(folder).join(word)).find(leads_here)
    };
    found.unwrap_or_else(|| executable.to_owned())
}

impl PathEntry {
    /// Looks at a command on the PATH. `home`: of the user who asks; `databases`: who owns files.
    pub fn of(path: &Path, home: Option<&Path>, databases: &PackageDatabases) -> Self {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(store) = store_of(&real) {
            return Self::Linked { path: path.to_owned(), store: store.to_owned() };
        }
        let managed = |by: String| Self::Managed { path: path.to_owned(), by };
        for place in [path, &real] {
            if let Some(by) = databases.owner(place) {
                return managed(by);
            }
        }
        let uid = rustix::process::geteuid().as_raw();
        if real != path
            && let Some(owner) = home_of_another(&real, uid)
        {
            return managed(format!("the user with uid {owner}"));
        }
        let own = |home: &Path| home.canonicalize().is_ok_and(|home| real.starts_with(home));
        Self::Plain { path: path.to_owned(), shared: !home.is_some_and(own) && others_can_run(&real) }
    }

    /// The store that it leads into.
    pub fn store(&self) -> Option<&Path> {
        match self {
            Self::Linked { store, .. } => Some(store),
            Self::Plain { .. } | Self::Managed { .. } => None,
        }
    }

    /// The command.
    pub fn path(&self) -> &Path {
        let (Self::Linked { path, .. } | Self::Plain { path, .. } | Self::Managed { path, .. }) = self;
        path
    }
}

/// The store's directory if this canonical path is a version in one: `<dir>/versions/<tag>/d8`. A store
/// that lost its `current` is one all the same: a version in it must never be taken for a plain file.
pub(super) fn store_of(real: &Path) -> Option<&Path> {
    if real.file_name()? != EXECUTABLE {
        return None;
    }
    let version = real.parent()?;
    let versions = version.parent()?;
    let dir = versions.parent()?;
    let named = versions.file_name()? == "versions" && dir.file_name()? == "cli";
    (named && Version::parse(version.file_name()?.to_str()?).is_ok()).then_some(dir)
}

/// The owner of the nearest private directory above a file that is neither this user's nor root's.
fn home_of_another(file: &Path, uid: u32) -> Option<u32> {
    let owners = file.ancestors().skip(1).filter_map(|place| fs::metadata(place).ok()).map(|place| place.uid());
    let mut others = owners.filter(|owner| *owner != 0 && *owner != uid);
    others.next()
}

/// Whether a user other than the owner gets at the file and may run it.
fn others_can_run(file: &Path) -> bool {
    file.ancestors().all(open_to_all)
}

fn open_to_all(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
}

/// The outermost directory on the way to a place that users other than its owner cannot pass. What is not
/// there yet will be made so that they can.
pub fn inaccessible_ancestor(place: &Path) -> Option<PathBuf> {
    let there = place.ancestors().filter(|part| fs::symlink_metadata(part).is_ok());
    there.filter(|part| !open_to_all(part)).last().map(Path::to_owned)
}
