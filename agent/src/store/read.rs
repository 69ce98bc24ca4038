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
use jiff::Timestamp;

use crate::{
    disk::{self, FileId},
    error::StoreError,
    install_root::{
        layout::{CONTRACT, PluginDir, RECEIPT},
        version_dir,
    },
    receipt::{Receipt, Verified},
    smoke,
    store::history,
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
    /// Nothing that may be run. `current` may be missing, too.
    Broken {
        /// What is wrong with the installation, with the path.
        why: String,
        /// Tag of the version that was active, as far as links and the history show it.
        tag: Option<Tag>,
    },
}

/// Whether reading a plugin hashes its active executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentCheck {
    /// Only if its modification time is not the one in the receipt.
    IfModified,
    /// In any case: it finds a change that left the modification time as it was.
    Always,
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

/// Reads the directory of a plugin, `None` if the plugin is not installed.
pub(super) fn entry(plugin: &PluginDir, check: ContentCheck) -> Result<Option<PluginEntry>, StoreError> {
    let Some(metadata) = disk::lstat(&plugin.dir).map_err(StoreError::io("read", &plugin.dir))? else {
        return Ok(None);
    };
    if let Err(why) = version_dir::check(&metadata, metadata.is_dir(), "directory") {
        return Ok(Some(broken(plugin, &plugin.dir, &why)));
    }
    let current = plugin.current();
    match disk::lstat(&current) {
        Ok(None) if !history::was_active(plugin) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Ok(Some(broken(plugin, &current, &error))),
    }
    let on_disk = versions(plugin);
    let active = active(plugin, &on_disk, check)
        .unwrap_or_else(|why| ActiveVersion::Broken { why, tag: tag_before_damage(plugin, &on_disk) });
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

/// Returns the entry of a plugin whose directory cannot be read.
fn broken(plugin: &PluginDir, path: &Path, why: &dyn std::fmt::Display) -> PluginEntry {
    PluginEntry {
        name: plugin.name.clone(),
        dir: plugin.dir.clone(),
        active: ActiveVersion::Broken { why: format!("{}: {why}", path.display()), tag: None },
        versions: Vec::new(),
        previous: None,
        damaged: Vec::new(),
        history: Vec::new(),
    }
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
    /// Returns the complete version whose executable is this file.
    fn version_of_file(&self, metadata: &fs::Metadata) -> Option<&InstalledVersion> {
        let id = FileId::of(metadata);
        self.versions.iter().find(|version| FileId::at(&version.binary).is_ok_and(|at| at == Some(id)))
    }

    /// Returns the damaged version whose executable is this file.
    fn damaged_file(&self, plugin: &PluginDir, metadata: &fs::Metadata) -> Option<&DamagedVersion> {
        let id = FileId::of(metadata);
        let executable = |damaged: &DamagedVersion| FileId::at(&damaged.path.join(plugin.name.as_str()));
        self.damaged.iter().find(|damaged| executable(damaged).is_ok_and(|at| at == Some(id)))
    }

    /// Returns the version whose executable has the content of this file, by size and SHA-256: a restored host has other
    /// inodes.
    fn version_of_content(&self, file: &Path, metadata: &fs::Metadata) -> Option<&InstalledVersion> {
        let mut same_size = self.versions.iter().filter(|version| version.receipt.size == metadata.len()).peekable();
        same_size.peek()?;
        let checksum = disk::Checksum::of(file).ok()?;
        same_size.find(|version| version.receipt.executable() == checksum)
    }

    /// Returns the version whose executable was replaced at `v<major>/<name>`, while its contract stayed in the cache.
    /// Another tool that installs a version replaces the contract, too.
    fn version_of_contract(&self, plugin: &PluginDir, major: u64) -> Option<&InstalledVersion> {
        let read = |path: &Path| disk::read_small(path, CONTRACT_BYTES as u64).ok().flatten();
        let cached = read(&plugin.cached_contract())?;
        let of_major = self.versions.iter().filter(|version| version.version.major() == major);
        of_major.into_iter().find(|version| read(&version.dir.join(CONTRACT)).as_ref() == Some(&cached))
    }

    /// Returns whether another tool installed the file `v<major>/<name>`: it belongs to no version on disk, damaged or
    /// not.
    pub(super) fn is_foreign(&self, plugin: &PluginDir, major: u64, metadata: &fs::Metadata) -> bool {
        let unreadable = self.damaged.iter().any(|damaged| damaged.path == plugin.versions());
        !unreadable
            && self.version_of_file(metadata).is_none()
            && self.damaged_file(plugin, metadata).is_none()
            && self.version_of_content(&plugin.major_binary(major), metadata).is_none()
            && self.version_of_contract(plugin, major).is_none()
    }
}

/// Reads `versions/`, whether or not a version is active.
pub(super) fn versions(plugin: &PluginDir) -> VersionsOnDisk {
    let mut on_disk = VersionsOnDisk::default();
    let directory = plugin.versions();
    match read_versions(plugin, &directory, &mut on_disk) {
        Ok(()) => {}
        Err(why) => on_disk.damaged.push(DamagedVersion { path: directory, why }),
    }
    on_disk.versions.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| b.tag.cmp(&a.tag)));
    on_disk.damaged.sort_by(|a, b| a.path.cmp(&b.path));
    on_disk
}

fn read_versions(plugin: &PluginDir, directory: &Path, on_disk: &mut VersionsOnDisk) -> Result<(), String> {
    let unreadable = |error: io::Error| error.to_string();
    let Some(metadata) = disk::lstat(directory).map_err(unreadable)? else { return Ok(()) };
    version_dir::check(&metadata, metadata.is_dir(), "directory")?;
    for found in fs::read_dir(directory).map_err(unreadable)? {
        let found = found.map_err(unreadable)?;
        if found.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match version(plugin, &found.path()) {
            Ok(installed) => on_disk.versions.push(installed),
            Err(why) => on_disk.damaged.push(DamagedVersion { path: found.path(), why }),
        }
    }
    on_disk.history = history::history(plugin);
    Ok(())
}

/// Reads a version directory.
///
/// # Errors
/// What is wrong with it.
pub(super) fn version(plugin: &PluginDir, dir: &Path) -> Result<InstalledVersion, String> {
    let mut found = version_dir::read(dir, plugin.name.as_str())?;
    let receipt = found.receipt.take().ok_or_else(|| format!("{RECEIPT} is missing"))??;
    found.check_size(&receipt)?;
    check_contract(plugin, dir, receipt.verified)?;
    Ok(InstalledVersion { tag: found.tag, version: found.version, receipt, dir: dir.to_owned(), binary: found.binary })
}

/// Checks that the contract of a version can be read. Only a version of another tool may have none.
fn check_contract(plugin: &PluginDir, dir: &Path, verified: Verified) -> Result<(), String> {
    version_dir::check_contract(dir)?;
    match contract(&plugin.name, &dir.join(CONTRACT)) {
        Ok(Some(_)) => Ok(()),
        Ok(None) if verified == Verified::Adopted => Ok(()),
        Ok(None) => Err(format!("{CONTRACT} is missing")),
        Err(StoreError::Contract { why, .. }) => Err(format!("{CONTRACT}: {why}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the version that `current` leads to, or why it may not be run.
fn active(plugin: &PluginDir, on_disk: &VersionsOnDisk, check: ContentCheck) -> Result<ActiveVersion, String> {
    let major = current_major(plugin)?;
    let (directory, binary) = (plugin.major(major), plugin.major_binary(major));
    metadata_of(&directory, fs::Metadata::is_dir, "directory")?;
    let metadata = metadata_of(&binary, fs::Metadata::is_file, "regular file")?;
    if let Some(installed) = on_disk.version_of_file(&metadata) {
        check_unchanged(installed, &binary, &metadata, check)?;
        return Ok(ActiveVersion::Known(installed.clone()));
    }
    if let Some(installed) = on_disk.version_of_content(&binary, &metadata) {
        return Ok(ActiveVersion::Known(installed.clone()));
    }
    if let Some(damaged) = on_disk.damaged_file(plugin, &metadata) {
        return Err(format!("{}: {}", damaged.path.display(), damaged.why));
    }
    if let Some(installed) = on_disk.version_of_contract(plugin, major) {
        return Err(changed(&binary, &installed.tag));
    }
    if rustix::fs::access(&binary, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(format!("{}: it is not executable", binary.display()));
    }
    if let Ok(Some(why)) = smoke::unsupported_format(&binary) {
        return Err(format!("{}: {why}", binary.display()));
    }
    Ok(ActiveVersion::Unknown { major, binary })
}

/// Returns the metadata of a path that must have a type.
fn metadata_of(path: &Path, right_type: fn(&fs::Metadata) -> bool, expected: &str) -> Result<fs::Metadata, String> {
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let metadata = match disk::lstat(path) {
        Ok(Some(metadata)) => metadata,
        Ok(None) => return Err(at(&"it is missing")),
        Err(error) => return Err(at(&error)),
    };
    version_dir::check(&metadata, right_type(&metadata), expected).map_err(|why| at(&why))?;
    Ok(metadata)
}

/// Compares the active executable with its receipt. Its size was compared before.
fn check_unchanged(
    installed: &InstalledVersion,
    binary: &Path,
    metadata: &fs::Metadata,
    check: ContentCheck,
) -> Result<(), String> {
    let is_modified = installed
        .receipt
        .modified
        .is_some_and(|recorded| !disk::modified(metadata).is_some_and(|modified| is_same_time(modified, recorded)));
    if !is_modified && check == ContentCheck::IfModified {
        return Ok(());
    }
    match disk::Checksum::of(binary) {
        Ok(checksum) if checksum == installed.receipt.executable() => Ok(()),
        Ok(_) => Err(changed(binary, &installed.tag)),
        Err(error) => Err(format!("{}: {error}", binary.display())),
    }
}

/// Returns whether both are the same modification time. Archives and some file systems keep whole seconds only.
fn is_same_time(modified: Timestamp, recorded: Timestamp) -> bool {
    let same_second = modified.as_second() == recorded.as_second();
    modified == recorded || (same_second && modified.subsec_nanosecond() == 0)
}

fn changed(binary: &Path, tag: &Tag) -> String {
    format!("{}: its content was changed after {tag} was installed", binary.display())
}

/// Returns the version that a damaged installation had, as far as links and the history show it.
fn tag_before_damage(plugin: &PluginDir, on_disk: &VersionsOnDisk) -> Option<Tag> {
    let major = current_major(plugin).ok();
    let linked = major.and_then(|major| {
        let metadata = disk::lstat(&plugin.major_binary(major)).ok()??;
        let whole = on_disk.version_of_file(&metadata).map(|installed| installed.tag.clone());
        whole.or_else(|| on_disk.damaged_file(plugin, &metadata)?.path.file_name()?.to_str()?.parse().ok())
    });
    let of_major = |tag: &&Tag| {
        let version = Version::parse(tag.as_str());
        version.is_ok_and(|version| major.is_none_or(|major| version.major() == major))
    };
    linked.or_else(|| on_disk.history.last().filter(of_major).cloned())
}

/// Returns the major version that `current` leads to.
pub(super) fn current_major(plugin: &PluginDir) -> Result<u64, String> {
    let current = plugin.current();
    let target = fs::read_link(&current).map_err(|error| {
        let why = if error.kind() == io::ErrorKind::NotFound { "it is missing" } else { "it is not a symbolic link" };
        format!("{}: {why}", current.display())
    })?;
    plugin.major_of_target(&target).ok_or_else(|| {
        format!("{}: it points to {}, outside of the plugin's directory", current.display(), target.display())
    })
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
