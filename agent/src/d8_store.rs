//! The store of d8 itself in an install root: `<root>/cli`, which the d8 written in Go uses, too.
//!
//! ```text
//! <root>/cli/versions/<tag>/d8      immutable; next to it receipt.json, if this d8 installed the version
//! <root>/cli/current                -> versions/<tag>/d8, relative
//! <root>/cli/fallback               -> a d8 of another implementation, absolute
//! <root>/cli/trial, recovery        a switch by the agent that is not proven yet
//! <root>/cli/install.lock           the lock, while it is held
//! ```
//! A command on the PATH is a link to `current`. [`D8Store`] reads the store without running anything,
//! [`LockedD8Store`] changes it. At every instant the command on the PATH leads to a complete d8.

mod activate;
mod fallback;
mod locked;
mod package_owner;
mod path_entry;
mod path_link;
mod stage;
mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
};

use d8_crds::values::{digest::Digest, name::Tag, version::Version};

pub use self::{
    activate::D8Activation,
    locked::LockedD8Store,
    package_owner::PackageDatabases,
    path_entry::{PathEntry, inaccessible_ancestor, invocation_path},
    path_link::PathMigration,
    stage::{D8InstallRequest, TestedVersion},
    trial::{Trial, TrialStart},
};
use crate::{
    disk,
    error::StoreError,
    install_root::{layout::Layout, trust, version_dir},
    receipt::Receipt,
    smoke::Sandbox,
};

/// Name of the executable in a version directory.
pub(crate) const EXECUTABLE: &str = "d8";

/// The versions of d8 in an install root. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct D8Store {
    layout: Layout,
    sandbox: Sandbox,
}

/// A version of d8 on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct D8Version {
    /// Tag of the version: the name of its directory.
    pub tag: Tag,
    /// The tag as a version, for comparisons.
    pub version: Version,
    /// Path of the executable.
    pub binary: PathBuf,
    /// The receipt; `None` if the d8 written in Go installed the version.
    pub receipt: Option<Receipt>,
}

impl D8Version {
    /// Returns the digests that pins and moved tags are compared with: of the layer and of the manifest.
    pub fn digests(&self) -> Vec<Digest> {
        self.receipt.as_ref().map(Receipt::digests).unwrap_or_default()
    }

    /// Returns the capabilities that the version reported when it was installed, if they were recorded.
    pub fn capabilities(&self) -> Option<&[String]> {
        self.receipt.as_ref()?.capabilities.as_deref()
    }
}

impl D8Store {
    /// Returns the store below `root`, which need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if other users could change it.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        trust::root(&root)?;
        Ok(Self { layout: Layout { root }, sandbox: Sandbox::default() })
    }

    /// Returns the same store with another sandbox for smoke tests.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox, ..self }
    }

    /// Returns the store that contains `executable`, a path without links; `None` if it is in no store.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn containing(executable: &Path) -> Result<Option<Self>, StoreError> {
        path_entry::store_of(executable).and_then(Path::parent).map(Self::at).transpose()
    }

    /// Returns the path of the store: `<root>/cli`.
    pub fn dir(&self) -> PathBuf {
        self.layout.d8_store()
    }

    /// Returns the path of `current`, which a command on the PATH links to.
    pub fn current(&self) -> PathBuf {
        self.dir().join("current")
    }

    fn version_dir(&self, tag: &Tag) -> PathBuf {
        self.dir().join("versions").join(tag.as_str())
    }

    /// Lists the complete versions on disk, newest first.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`], or a directory that cannot be read.
    pub fn versions(&self) -> Result<Vec<D8Version>, StoreError> {
        let directory = self.dir().join("versions");
        trust::directory(&self.dir())?;
        trust::directory(&directory)?;
        let Some(found) = disk::if_exists(fs::read_dir(&directory)).map_err(StoreError::io("read", &directory))? else {
            return Ok(Vec::new());
        };
        let tags = found.flatten().filter_map(|found| found.file_name().to_str()?.parse::<Tag>().ok());
        let mut versions: Vec<D8Version> = tags.filter_map(|tag| self.version(&tag)).collect();
        versions.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| b.tag.cmp(&a.tag)));
        Ok(versions)
    }

    /// Reads one version, `None` if it is not complete.
    fn version(&self, tag: &Tag) -> Option<D8Version> {
        let mut found = version_dir::read(&self.version_dir(tag), EXECUTABLE).ok()?;
        // A receipt that cannot be parsed is that of another program.
        let receipt = found.receipt.take().and_then(Result::ok);
        if receipt.as_ref().is_some_and(|receipt| found.check_size(receipt).is_err()) {
            return None;
        }
        Some(D8Version { tag: found.tag, version: found.version, binary: found.binary, receipt })
    }

    /// Returns the version that `current` leads to, if it is complete and in this store.
    ///
    /// # Errors
    /// As [`Self::versions`].
    pub fn active(&self) -> Result<Option<D8Version>, StoreError> {
        trust::directory(&self.dir())?;
        let Ok(target) = fs::read_link(self.current()) else { return Ok(None) };
        let relative = self.relative_target(&target);
        let mut parts = relative.iter();
        let (Some(versions), Some(tag), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let in_store = versions == "versions" && name == EXECUTABLE;
        let tag = tag.to_str().and_then(|tag| tag.parse().ok()).filter(|_| in_store);
        Ok(tag.and_then(|tag| self.version(&tag)))
    }

    /// Makes an absolute target relative to the store's directory, even if it names that directory through a link.
    fn relative_target(&self, target: &Path) -> PathBuf {
        let (Some(above), true) = (target.ancestors().nth(3), target.is_absolute()) else { return target.to_owned() };
        let same = above == self.dir() || disk::is_same_file(above, &self.dir());
        let inside = target.strip_prefix(above).ok().filter(|_| same && above.exists());
        inside.unwrap_or(target).to_owned()
    }

    /// Finds a version on disk.
    ///
    /// # Errors
    /// As [`Self::versions`].
    pub fn find(&self, version: &Version) -> Result<Option<D8Version>, StoreError> {
        Ok(self.versions()?.into_iter().find(|stored| stored.version == *version))
    }
}
