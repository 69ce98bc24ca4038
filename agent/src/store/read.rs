//! What is installed. Reads links, inodes and receipts; runs nothing, changes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::Contract,
    values::{
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
    },
    receipt::Receipt,
};

/// Largest contract or receipt that is read, in bytes.
const SMALL: u64 = 1024 * 1024;

/// One plugin's directory.
#[derive(Debug, Clone)]
pub struct PluginEntry {
    /// The plugin.
    pub name: PluginName,
    /// Its directory.
    pub dir: PathBuf,
    /// What runs.
    pub active: ActiveVersion,
    /// What is on disk and whole, newest first, the active version included.
    pub versions: Vec<InstalledVersion>,
    /// What was active before, of what is on disk.
    pub previous: Option<Tag>,
    /// What is in `versions/` and not whole.
    pub damaged: Vec<DamagedVersion>,
    /// The tags that were active here once, oldest first.
    pub history: Vec<Tag>,
}

impl PluginEntry {
    /// The active version, if its receipt is known.
    pub fn installed(&self) -> Option<&InstalledVersion> {
        match &self.active {
            ActiveVersion::Known(installed) => Some(installed),
            ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. } => None,
        }
    }

    /// A version on disk.
    pub fn version(&self, tag: &Tag) -> Option<&InstalledVersion> {
        self.versions.iter().find(|installed| installed.tag == *tag)
    }
}

/// What `current` leads to.
#[derive(Debug, Clone)]
// The large variant is the common one.
#[allow(clippy::large_enum_variant)]
pub enum ActiveVersion {
    /// One of our versions.
    Known(InstalledVersion),
    /// A binary that another tool put there; its version is read when it is adopted.
    Unknown {
        /// The major it was installed as.
        major: u64,
        /// The binary.
        binary: PathBuf,
    },
    /// Nothing that may be run.
    Broken {
        /// What is wrong.
        why: String,
    },
}

/// A version on disk with a good receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledVersion {
    /// The version by its tag.
    pub tag: Tag,
    /// The same, for comparing.
    pub version: Version,
    /// What is known of it.
    pub receipt: Receipt,
    /// `versions/<tag>`.
    pub dir: PathBuf,
    /// The executable in it.
    pub binary: PathBuf,
}

/// Something in `versions/` that is no whole version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedVersion {
    /// Where.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

pub(super) fn list(layout: &Layout) -> Result<Vec<PluginEntry>, StoreError> {
    let folder = layout.plugins();
    trust::directory(&folder)?;
    let Some(names) = disk::absent(fs::read_dir(&folder)).map_err(StoreError::io("read", &folder))? else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for found in names {
        let found = found.map_err(StoreError::io("read", &folder))?;
        let Some(name) = found.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        entries.extend(entry(&layout.plugin(&name))?);
    }
    entries.sort_by(|a: &PluginEntry, b: &PluginEntry| a.name.cmp(&b.name));
    Ok(entries)
}

/// A plugin's directory as it is; `None` if there is no install in it.
pub(crate) fn entry(plugin: &PluginDir) -> Result<Option<PluginEntry>, StoreError> {
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
        Some(metadata) if !metadata.is_dir() => return Ok(Some(broken(not_a(&metadata, "directory")))),
        Some(metadata) => {
            if let Some(why) = trust::trouble(&metadata) {
                return Ok(Some(broken(why)));
            }
        }
    }
    let current = plugin.current();
    if disk::lstat(&current).map_err(StoreError::io("read", &current))?.is_none() {
        return Ok(None);
    }
    let stored = stored(plugin)?;
    let active = active(plugin, &stored.versions).unwrap_or_else(|why| ActiveVersion::Broken { why });
    let running = match &active {
        ActiveVersion::Known(installed) => Some(&installed.tag),
        _ => None,
    };
    let previous = (stored.history.iter().rev())
        .find(|tag| Some(*tag) != running && stored.versions.iter().any(|version| version.tag == **tag))
        .cloned();
    Ok(Some(PluginEntry {
        name: plugin.name.clone(),
        dir: plugin.dir.clone(),
        active,
        versions: stored.versions,
        previous,
        damaged: stored.damaged,
        history: stored.history,
    }))
}

/// What `versions/` holds.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) versions: Vec<InstalledVersion>,
    pub(crate) damaged: Vec<DamagedVersion>,
    pub(crate) history: Vec<Tag>,
}

/// The versions on disk, newest first, whether or not one is active.
pub(crate) fn stored(plugin: &PluginDir) -> Result<Stored, StoreError> {
    let folder = plugin.versions();
    let mut stored = Stored::default();
    let Some(metadata) = disk::lstat(&folder).map_err(StoreError::io("read", &folder))? else { return Ok(stored) };
    let trouble = if metadata.is_dir() { trust::trouble(&metadata) } else { Some(not_a(&metadata, "directory")) };
    if let Some(why) = trouble {
        stored.damaged.push(DamagedVersion { path: folder, why });
        return Ok(stored);
    }
    for found in fs::read_dir(&folder).map_err(StoreError::io("read", &folder))? {
        let found = found.map_err(StoreError::io("read", &folder))?;
        if found.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match version(plugin, &found.path()) {
            Ok(installed) => stored.versions.push(installed),
            Err(why) => stored.damaged.push(DamagedVersion { path: found.path(), why }),
        }
    }
    stored.versions.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| b.tag.cmp(&a.tag)));
    stored.damaged.sort_by(|a, b| a.path.cmp(&b.path));
    stored.history = history(plugin);
    Ok(stored)
}

/// A version directory, if it is whole.
pub(crate) fn version(plugin: &PluginDir, dir: &Path) -> Result<InstalledVersion, String> {
    let metadata = fs::symlink_metadata(dir).map_err(|error| error.to_string())?;
    sound(&metadata, metadata.is_dir(), "directory")?;
    let tag: Tag = dir
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| "its name is no tag".to_owned())?
        .parse()
        .map_err(|_| "its name is no tag".to_owned())?;
    let version = Version::parse(tag.as_str()).map_err(|_| "its name is no version".to_owned())?;
    let bytes = disk::read_small(&dir.join(RECEIPT), SMALL)
        .map_err(|error| format!("{RECEIPT}: {error}"))?
        .ok_or_else(|| format!("{RECEIPT} is missing"))?;
    let receipt: Receipt = serde_json::from_slice(&bytes).map_err(|error| format!("{RECEIPT}: {error}"))?;
    if receipt.name.name() != plugin.name.as_str() || receipt.tag != tag {
        return Err(format!("{RECEIPT} is that of {} {}", receipt.name, receipt.tag));
    }
    let binary = dir.join(plugin.name.as_str());
    let metadata = fs::symlink_metadata(&binary).map_err(|error| format!("{}: {error}", plugin.name))?;
    sound(&metadata, metadata.is_file(), "regular file")?;
    if metadata.len() != receipt.size {
        return Err(format!("the executable has {} bytes, its receipt says {}", metadata.len(), receipt.size));
    }
    Ok(InstalledVersion { tag, version, receipt, dir: dir.to_owned(), binary })
}

/// What `current` leads to, or why it may not be run.
fn active(plugin: &PluginDir, versions: &[InstalledVersion]) -> Result<ActiveVersion, String> {
    let major = current_major(plugin)?;
    let binary = plugin.major_binary(major);
    let folder = plugin.major(major);
    let metadata = fs::symlink_metadata(&folder).map_err(|_| format!("{} is missing", folder.display()))?;
    sound(&metadata, metadata.is_dir(), "directory")?;
    let metadata = fs::symlink_metadata(&binary).map_err(|_| format!("{} is missing", binary.display()))?;
    sound(&metadata, metadata.is_file(), "regular file")?;
    if let Some(installed) = versions_of(&binary, &metadata, versions) {
        return Ok(ActiveVersion::Known(installed.clone()));
    }
    if rustix::fs::access(&binary, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(format!("{} can't be executed", binary.display()));
    }
    Ok(ActiveVersion::Unknown { major, binary })
}

/// The major that `current` names.
pub(crate) fn current_major(plugin: &PluginDir) -> Result<u64, String> {
    let target = fs::read_link(plugin.current()).map_err(|_| "current is not a symbolic link".to_owned())?;
    plugin.major_of_target(&target).ok_or_else(|| format!("current points to {}, outside the plugin", target.display()))
}

/// The version that a file is: the same inode, else the size and SHA-256 of a receipt (a restored host
/// has other inodes).
pub(crate) fn versions_of<'a>(
    file: &Path,
    metadata: &fs::Metadata,
    versions: &'a [InstalledVersion],
) -> Option<&'a InstalledVersion> {
    let id = FileId::of(metadata);
    if let Some(same) = versions.iter().find(|version| FileId::at(&version.binary).is_ok_and(|at| at == Some(id))) {
        return Some(same);
    }
    let mut alike = versions.iter().filter(|version| version.receipt.size == metadata.len()).peekable();
    alike.peek()?;
    let (digest, _) = disk::digest(file).ok()?;
    alike.find(|version| version.receipt.binary == digest)
}

/// The tags that were active, oldest first. What cannot be read is left out: it decides only where
/// `rollback` goes.
pub(crate) fn history(plugin: &PluginDir) -> Vec<Tag> {
    let bytes = disk::read_small(&plugin.history(), SMALL).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect()
}

/// A contract on disk; `None` if there is none.
pub(crate) fn contract(name: &PluginName, path: &Path) -> Result<Option<Contract>, StoreError> {
    let corrupt = |why: String| StoreError::Contract { name: name.clone(), path: path.to_owned(), why };
    match disk::read_small(path, SMALL) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Contract::from_cache(&bytes, &Component::Plugin(name.clone()))
            .map(Some)
            .map_err(|error| corrupt(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(StoreError::io("read", path)(error)),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

/// Refuses what is of another type than it has to be, and what somebody else could change.
fn sound(metadata: &fs::Metadata, right: bool, what: &str) -> Result<(), String> {
    if !right {
        return Err(not_a(metadata, what));
    }
    trust::trouble(metadata).map_or(Ok(()), Err)
}

fn not_a(metadata: &fs::Metadata, what: &str) -> String {
    if metadata.is_symlink() { format!("it is a symbolic link, not a {what}") } else { format!("it is not a {what}") }
}
