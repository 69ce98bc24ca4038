//! The command on the PATH: its kind, and whether it may be replaced by a link to a store.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use d8_crds::values::version::Version;

use crate::d8_store::{EXECUTABLE, package_owner::PackageDatabases};

/// The command on the PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEntry {
    /// A link into a d8 store of any user. It is not replaced.
    Linked {
        /// Path of the link.
        path: PathBuf,
        /// Path of the store, `<root>/cli`.
        store: PathBuf,
    },
    /// A file, or a link to a file, that no package manager owns. It may be replaced by a link.
    Plain {
        /// Path of the file or the link.
        path: PathBuf,
        /// Whether other users run it. It must not depend on a home directory then.
        shared: bool,
    },
    /// A file of a package manager or of another user. It is not replaced.
    Managed {
        /// Path of the file or the link.
        path: PathBuf,
        /// Name of the package manager or the user.
        by: String,
    },
}

/// Returns the path that this program was started by: `argv[0]` if it is a path, else the file that the PATH finds.
/// Returns `executable` if neither leads to it, because a caller may pass any `argv[0]`.
pub fn invocation_path(argv0: &OsStr, path: Option<&OsStr>, working_dir: &Path, executable: &Path) -> PathBuf {
    let leads_here = |path: &PathBuf| path.canonicalize().is_ok_and(|real| real == executable);
    let name = Path::new(argv0);
    let found = if name.components().count() > 1 || name.is_absolute() {
        Some(working_dir.join(name)).filter(leads_here)
    } else {
        let directories = path.map(std::env::split_paths).into_iter().flatten();
        directories.map(|directory| working_dir.join(directory).join(name)).find(leads_here)
    };
    found.unwrap_or_else(|| executable.to_owned())
}

impl PathEntry {
    /// Reads a command on the PATH. `home` is this user's home directory, `databases` are those of the package
    /// managers.
    pub fn of(path: &Path, home: Option<&Path>, databases: &PackageDatabases) -> Self {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(store) = store_of(&real) {
            return Self::Linked { path: path.to_owned(), store: store.to_owned() };
        }
        let managed = |by: String| Self::Managed { path: path.to_owned(), by };
        for file in [path, &real] {
            if let Some(by) = databases.owner(file) {
                return managed(by);
            }
        }
        let uid = rustix::process::geteuid().as_raw();
        if real != path
            && let Some(owner) = home_of_another(&real, uid)
        {
            return managed(format!("the user with uid {owner}"));
        }
        let in_home = |home: &Path| home.canonicalize().is_ok_and(|home| real.starts_with(home));
        Self::Plain { path: path.to_owned(), shared: !home.is_some_and(in_home) && others_can_run(&real) }
    }

    /// Returns the path of the store that a link leads into.
    pub fn store(&self) -> Option<&Path> {
        match self {
            Self::Linked { store, .. } => Some(store),
            Self::Plain { .. } | Self::Managed { .. } => None,
        }
    }

    /// Returns the path of the command.
    pub fn path(&self) -> &Path {
        let (Self::Linked { path, .. } | Self::Plain { path, .. } | Self::Managed { path, .. }) = self;
        path
    }
}

/// Returns the path of the store if this path without links is a version in it: `<dir>/versions/<tag>/d8`. A store
/// without `current` counts, too: a version in it must never be treated as a plain file.
pub(super) fn store_of(real: &Path) -> Option<&Path> {
    if real.file_name()? != EXECUTABLE {
        return None;
    }
    let version = real.parent()?;
    let versions = version.parent()?;
    let dir = versions.parent()?;
    let in_store = versions.file_name()? == "versions" && dir.file_name()? == "cli";
    (in_store && Version::parse(version.file_name()?.to_str()?).is_ok()).then_some(dir)
}

/// Returns the owner of the nearest directory above a file that belongs neither to this user nor to root.
fn home_of_another(file: &Path, uid: u32) -> Option<u32> {
    let owners = file.ancestors().skip(1).filter_map(|dir| fs::metadata(dir).ok()).map(|dir| dir.uid());
    let mut others = owners.filter(|owner| *owner != 0 && *owner != uid);
    others.next()
}

/// Returns whether users other than the owner can reach the file and run it.
fn others_can_run(file: &Path) -> bool {
    file.ancestors().all(accessible_to_all)
}

fn accessible_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
}

/// Returns the outermost directory in a path that users other than its owner cannot enter. A directory that does not
/// exist yet will be created so that they can.
pub fn inaccessible_ancestor(path: &Path) -> Option<PathBuf> {
    let existing = path.ancestors().filter(|part| fs::symlink_metadata(part).is_ok());
    existing.filter(|part| !accessible_to_all(part)).last().map(Path::to_owned)
}
