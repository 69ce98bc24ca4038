//! Reads what is installed, from links, inodes and receipts. Runs nothing and changes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::Contract,
    values::{
        limits::CONTRACT_BYTES,
        name::{Component, PluginName, Tag},
        version::Version,
    },
};

use crate::{
    disk::{self, FileId},
    error::StoreError,
    install_root::{
        layout::{Layout, PluginDir, RECEIPT},
        trust,
        version_dir::{self, wrong_type},
    },
    receipt::Receipt,
    store::history::history,
};

/// A plugin in the store.
#[derive(Debug, Clone)]
pub struct PluginEntry {
    /// Name of the plugin.
    pub name: PluginName,
    /// Path of its directory.
    pub dir: PathBuf,
    /// The version that runs.
    pub active: ActiveVersion,
    /// The complete versions on disk with the active one, newest first.
    pub versions: Vec<InstalledVersion>,
    /// The version that was active before and is on disk.
    pub previous: Option<Tag>,
    /// The damaged versions on disk.
    pub damaged: Vec<DamagedVersion>,
    /// The tags that were active, oldest first.
    pub history: Vec<Tag>,
}

impl PluginEntry {
    /// Returns the active version, if it has a receipt.
    pub fn installed(&self) -> Option<&InstalledVersion> {
        match &self.active {
            ActiveVersion::Known(installed) => Some(installed),
            ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. } => None,
        }
    }

    /// Finds a complete version on disk.
    pub fn version(&self, tag: &Tag) -> Option<&InstalledVersion> {
        self.versions.iter().find(|installed| installed.tag == *tag)
    }
}

/// The version that `current` leads to.
#[derive(Debug, Clone)]
// The large variant is the common one.
#[allow(clippy::large_enum_variant)]
pub enum ActiveVersion {
    /// A version of this store.
    Known(InstalledVersion),
    /// An executable that another tool installed. Its version is read when it is adopted.
    Unknown {
        /// Major version that it was installed as.
        major: u64,
        /// Path of the executable.
        binary: PathBuf,
    },
    /// Nothing that may be run.
    Broken {
        /// What is wrong with the installation.
        why: String,
    },
}

/// A complete version on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledVersion {
    /// Tag of the version.
    pub tag: Tag,
    /// The tag as a version, for comparisons.
    pub version: Version,
    /// How the version was installed and verified.
    pub receipt: Receipt,
    /// Path of the directory `versions/<tag>`.
    pub dir: PathBuf,
    /// Path of the executable.
    pub binary: PathBuf,
}

/// A path in `versions/` that is not a complete version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedVersion {
    /// Path of the directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Lists the installed plugins by name.
pub(super) fn list(layout: &Layout) -> Result<Vec<PluginEntry>, StoreError> {
    let directory = layout.plugins();
    trust::directory(&directory)?;
    let Some(names) = disk::if_exists(fs::read_dir(&directory)).map_err(StoreError::io("read", &directory))? else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for found in names {
        let found = found.map_err(StoreError::io("read", &directory))?;
        let Some(name) = found.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        entries.extend(entry(&layout.plugin(&name))?);
    }
    entries.sort_by(|a: &PluginEntry, b: &PluginEntry| a.name.cmp(&b.name));
    Ok(entries)
}

/// Reads the directory of a plugin, `None` if the plugin is not installed.
pub(super) fn entry(plugin: &PluginDir) -> Result<Option<PluginEntry>, StoreError> {
    let broken = |why: String| PluginEntry {
        name: plugin.name.clone(),
        dir: plugin.dir.clone(),
        active: ActiveVersion::Broken { why },
        versions: Vec::new(),
        previous: None,
        damaged: Vec::new(),
        history: Vec::new(),
    };
    match disk::lstat(&plugin.dir).map_err(StoreError::io("read", &plugin.dir))? {
        None => return Ok(None),
        Some(metadata) => {
            if let Err(why) = version_dir::check(&metadata, metadata.is_dir(), "directory") {
                return Ok(Some(broken(why)));
            }
        }
    }
    let current = plugin.current();
    if disk::lstat(&current).map_err(StoreError::io("read", &current))?.is_none() {
        return Ok(None);
    }
    let on_disk = versions(plugin)?;
    let active = active(plugin, &on_disk).unwrap_or_else(|why| ActiveVersion::Broken { why });
    let running = match &active {
        ActiveVersion::Known(installed) => Some(&installed.tag),
        _ => None,
    };
    let previous = (on_disk.history.iter().rev())
        .find(|tag| Some(*tag) != running && on_disk.versions.iter().any(|version| version.tag == **tag))
        .cloned();
    Ok(Some(PluginEntry {
        name: plugin.name.clone(),
        dir: plugin.dir.clone(),
        active,
        versions: on_disk.versions,
        previous,
        damaged: on_disk.damaged,
        history: on_disk.history,
    }))
}

/// The content of `versions/`.
#[derive(Debug, Default)]
pub(super) struct VersionsOnDisk {
    /// The complete versions, newest first.
    pub(super) versions: Vec<InstalledVersion>,
    pub(super) damaged: Vec<DamagedVersion>,
    pub(super) history: Vec<Tag>,
}

impl VersionsOnDisk {
    /// Returns the damaged version whose executable is this file.
    pub(super) fn damaged_file(&self, plugin: &PluginDir, metadata: &fs::Metadata) -> Option<&DamagedVersion> {
        let id = FileId::of(metadata);
        let executable = |damaged: &DamagedVersion| FileId::at(&damaged.path.join(plugin.name.as_str()));
        self.damaged.iter().find(|damaged| executable(damaged).is_ok_and(|at| at == Some(id)))
    }
}

/// Reads `versions/`, whether or not a version is active.
pub(super) fn versions(plugin: &PluginDir) -> Result<VersionsOnDisk, StoreError> {
    let directory = plugin.versions();
    let mut on_disk = VersionsOnDisk::default();
    let Some(metadata) = disk::lstat(&directory).map_err(StoreError::io("read", &directory))? else {
        return Ok(on_disk);
    };
    let untrusted =
        if metadata.is_dir() { trust::untrusted_reason(&metadata) } else { Some(wrong_type(&metadata, "directory")) };
    if let Some(why) = untrusted {
        on_disk.damaged.push(DamagedVersion { path: directory, why });
        return Ok(on_disk);
    }
    for found in fs::read_dir(&directory).map_err(StoreError::io("read", &directory))? {
        let found = found.map_err(StoreError::io("read", &directory))?;
        if found.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match version(plugin, &found.path()) {
            Ok(installed) => on_disk.versions.push(installed),
            Err(why) => on_disk.damaged.push(DamagedVersion { path: found.path(), why }),
        }
    }
    on_disk.versions.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| b.tag.cmp(&a.tag)));
    on_disk.damaged.sort_by(|a, b| a.path.cmp(&b.path));
    on_disk.history = history(plugin);
    Ok(on_disk)
}

/// Reads a version directory.
///
/// # Errors
/// What is wrong with it.
pub(super) fn version(plugin: &PluginDir, dir: &Path) -> Result<InstalledVersion, String> {
    let mut found = version_dir::read(dir, plugin.name.as_str())?;
    let receipt = found.receipt.take().ok_or_else(|| format!("{RECEIPT} is missing"))??;
    found.check_size(&receipt)?;
    version_dir::check_contract(dir)?;
    Ok(InstalledVersion { tag: found.tag, version: found.version, receipt, dir: dir.to_owned(), binary: found.binary })
}

/// Returns the version that `current` leads to, or why it may not be run.
fn active(plugin: &PluginDir, on_disk: &VersionsOnDisk) -> Result<ActiveVersion, String> {
    let major = current_major(plugin)?;
    let binary = plugin.major_binary(major);
    let directory = plugin.major(major);
    let metadata = fs::symlink_metadata(&directory).map_err(|_| format!("{} is missing", directory.display()))?;
    version_dir::check(&metadata, metadata.is_dir(), "directory")?;
    let metadata = fs::symlink_metadata(&binary).map_err(|_| format!("{} is missing", binary.display()))?;
    version_dir::check(&metadata, metadata.is_file(), "regular file")?;
    if let Some(installed) = version_of_file(&binary, &metadata, &on_disk.versions) {
        return Ok(ActiveVersion::Known(installed.clone()));
    }
    if let Some(damaged) = on_disk.damaged_file(plugin, &metadata) {
        return Err(format!("{}: {}", damaged.path.display(), damaged.why));
    }
    if rustix::fs::access(&binary, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(format!("{} is not executable", binary.display()));
    }
    Ok(ActiveVersion::Unknown { major, binary })
}

/// Returns the major version that `current` leads to.
pub(super) fn current_major(plugin: &PluginDir) -> Result<u64, String> {
    let target = fs::read_link(plugin.current()).map_err(|_| "current is not a symbolic link".to_owned())?;
    plugin
        .major_of_target(&target)
        .ok_or_else(|| format!("current points to {}, outside of the plugin's directory", target.display()))
}

/// Returns the version that a file belongs to: by its inode, else by the size and SHA-256 in a receipt, because a
/// restored host has other inodes.
pub(super) fn version_of_file<'a>(
    file: &Path,
    metadata: &fs::Metadata,
    versions: &'a [InstalledVersion],
) -> Option<&'a InstalledVersion> {
    let id = FileId::of(metadata);
    if let Some(same) = versions.iter().find(|version| FileId::at(&version.binary).is_ok_and(|at| at == Some(id))) {
        return Some(same);
    }
    let mut same_size = versions.iter().filter(|version| version.receipt.size == metadata.len()).peekable();
    same_size.peek()?;
    let checksum = disk::Checksum::of(file).ok()?;
    same_size.find(|version| version.receipt.executable() == checksum)
}

/// Reads a contract on disk, `None` if there is none.
pub(super) fn contract(name: &PluginName, path: &Path) -> Result<Option<Contract>, StoreError> {
    let damaged = |why: String| StoreError::Contract { name: name.clone(), path: path.to_owned(), why };
    match disk::read_small(path, CONTRACT_BYTES as u64) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Contract::from_cache(&bytes, &Component::Plugin(name.clone()))
            .map(Some)
            .map_err(|error| damaged(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(StoreError::io("read", path)(error)),
        Err(error) => Err(damaged(error.to_string())),
    }
}
