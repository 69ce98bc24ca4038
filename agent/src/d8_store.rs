//! The store of d8 itself: `<root>/cli`, which the Go d8 uses too.
//!
//! ```text
//! <root>/cli/versions/<tag>/d8      immutable; receipt.json beside it where d8 brought it in itself
//! <root>/cli/current                -> versions/<tag>/d8, relative
//! <root>/cli/fallback               -> a d8 of another kind, absolute
//! <root>/cli/install.lock           the lock of `crate::store`, while held
//! ```
//! A command on the PATH is a link to `current`. Reading runs nothing; [`D8Store::lock`] gives an
//! [`LockedD8Store`] that changes it. The promise: at every instant the PATH entry leads to a whole d8.

mod locked;
mod package_owner;
mod path_entry;
mod path_link;

use std::{
    fs,
    path::{Path, PathBuf},
};

use d8_crds::values::{digest::Digest, name::Tag, version::Version};

pub use self::{
    locked::{D8Activation, D8InstallRequest, LockedD8Store, TestedVersion},
    package_owner::PackageDatabases,
    path_entry::{PathEntry, inaccessible_ancestor, invocation_path},
    path_link::PathMigration,
};
use crate::{
    disk,
    error::StoreError,
    install_root::{layout, trust},
    receipt::Receipt,
    smoke::Sandbox,
};

/// The executable's name in a version directory.
pub(crate) const EXECUTABLE: &str = "d8";

/// Largest receipt read, in bytes.
const RECEIPT_LIMIT: u64 = 1024 * 1024;

/// The versions of d8 below one root. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct D8Store {
    layout: layout::Layout,
    sandbox: Sandbox,
}

/// A version of d8 on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct D8Version {
    /// Its directory's name.
    pub tag: Tag,
    /// The same, for comparing.
    pub version: Version,
    /// The executable.
    pub binary: PathBuf,
    /// What is known of it; `None` where the Go d8 brought it in.
    pub receipt: Option<Receipt>,
}

impl D8Version {
    /// The digests that pins and moved tags are told by: of its layer, its manifest.
    pub fn digests(&self) -> Vec<Digest> {
        self.receipt.as_ref().map(Receipt::digests).unwrap_or_default()
    }
}

impl D8Store {
    /// The store below `root`, which need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if somebody else could change it.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        trust::root(&root)?;
        Ok(Self { layout: layout::Layout { root }, sandbox: Sandbox::default() })
    }

    /// The same store, whose smoke tests another program plays.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox, ..self }
    }

    /// The store that `executable`, a canonical path, is in; `None` if it is in none.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn holding(executable: &Path) -> Result<Option<Self>, StoreError> {
        path_entry::store_of(executable).and_then(Path::parent).map(Self::at).transpose()
    }

    /// `<root>/cli`.
    pub fn dir(&self) -> PathBuf {
        self.layout.own()
    }

    /// What a command on the PATH is a link to.
    pub fn current(&self) -> PathBuf {
        self.dir().join("current")
    }

    fn version_dir(&self, tag: &Tag) -> PathBuf {
        self.dir().join("versions").join(tag.as_str())
    }

    /// What is on disk, newest first. Directories that are no whole version are left out.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`], or a directory that cannot be read.
    pub fn versions(&self) -> Result<Vec<D8Version>, StoreError> {
        let folder = self.dir().join("versions");
        trust::directory(&self.dir())?;
        trust::directory(&folder)?;
        let Some(found) = disk::absent(fs::read_dir(&folder)).map_err(StoreError::io("read", &folder))? else {
            return Ok(Vec::new());
        };
        let tags = found.flatten().filter_map(|found| found.file_name().to_str()?.parse::<Tag>().ok());
        let mut versions: Vec<D8Version> = tags.filter_map(|tag| self.version(&tag)).collect();
        versions.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| b.tag.cmp(&a.tag)));
        Ok(versions)
    }

    /// One version, if it is whole.
    fn version(&self, tag: &Tag) -> Option<D8Version> {
        let version = Version::parse(tag.as_str()).ok()?;
        let dir = self.version_dir(tag);
        let sound = |metadata: &fs::Metadata| trust::trouble(metadata).is_none();
        let folder = fs::symlink_metadata(&dir).ok()?;
        let binary = dir.join(EXECUTABLE);
        let file = fs::symlink_metadata(&binary).ok()?;
        if !(folder.is_dir() && sound(&folder) && file.is_file() && sound(&file)) {
            return None;
        }
        let read = disk::read_small(&dir.join(layout::RECEIPT), RECEIPT_LIMIT).ok()?;
        let receipt = read.and_then(|bytes| serde_json::from_slice::<Receipt>(&bytes).ok());
        let receipt = receipt.filter(|receipt| receipt.name.name() == EXECUTABLE && receipt.tag == *tag);
        // What does not agree with its receipt was changed by someone.
        if receipt.as_ref().is_some_and(|receipt| receipt.size != file.len()) {
            return None;
        }
        Some(D8Version { tag: tag.clone(), version, binary, receipt })
    }

    /// What `current` names, if it is whole and of this store.
    ///
    /// # Errors
    /// As [`Self::versions`].
    pub fn active(&self) -> Result<Option<D8Version>, StoreError> {
        trust::directory(&self.dir())?;
        let Ok(target) = fs::read_link(self.current()) else { return Ok(None) };
        let relative = self.within(&target);
        let mut parts = relative.iter();
        let (Some(versions), Some(tag), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let ours = versions == "versions" && name == EXECUTABLE;
        let tag = tag.to_str().and_then(|tag| tag.parse().ok()).filter(|_| ours);
        Ok(tag.and_then(|tag| self.version(&tag)))
    }

    /// An absolute target as it is seen from the store's directory, by whichever way it names that.
    fn within(&self, target: &Path) -> PathBuf {
        let (Some(above), true) = (target.ancestors().nth(3), target.is_absolute()) else { return target.to_owned() };
        let same = above == self.dir() || above.canonicalize().ok() == self.dir().canonicalize().ok();
        let inside = target.strip_prefix(above).ok().filter(|_| same && above.exists());
        inside.unwrap_or(target).to_owned()
    }

    /// The version on disk that has this value.
    ///
    /// # Errors
    /// As [`Self::versions`].
    pub fn find(&self, version: &Version) -> Result<Option<D8Version>, StoreError> {
        Ok(self.versions()?.into_iter().find(|stored| stored.version == *version))
    }

    fn fallback_link(&self) -> PathBuf {
        self.dir().join("fallback")
    }

    /// The d8 that commands go to which this one has not, as it was set. Not to be run: [`Self::fallback`].
    pub fn remembered_fallback(&self) -> Option<PathBuf> {
        fs::read_link(self.fallback_link()).ok()
    }

    /// The same, to be run.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if somebody else could have set or changed it.
    pub fn fallback(&self) -> Result<Option<PathBuf>, StoreError> {
        trust::directory(&self.dir())?;
        let Some(path) = self.remembered_fallback() else { return Ok(None) };
        trust::way_to(&path)?;
        Ok(Some(path))
    }
}
