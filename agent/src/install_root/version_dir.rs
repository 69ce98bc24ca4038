//! The files of a version directory: the executable, the receipt, and the contract of a plugin.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::Contract,
    values::{
        limits::{CONTRACT_BYTES, RECEIPT_BYTES},
        name::Tag,
        text::without_type_names,
        version::Version,
    },
};

use super::{
    layout::{CONTRACT, RECEIPT},
    trust,
};
use crate::{disk, error::StoreError, receipt::Receipt};

/// Writes the contract and the receipt next to the executable, and syncs the directory. Refuses a contract that would
/// be too large to be read again.
pub(crate) fn complete(dir: &Path, contract: Option<&Contract>, receipt: &Receipt) -> Result<(), StoreError> {
    if let Some(contract) = contract {
        let (path, json) = (dir.join(CONTRACT), contract.to_json());
        if json.len() > CONTRACT_BYTES {
            let why = format!("it is larger than {CONTRACT_BYTES} bytes");
            return Err(StoreError::io("write", path)(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        disk::write_new(&path, json.as_bytes(), disk::PLAIN).map_err(StoreError::io("write", path))?;
    }
    let path = dir.join(RECEIPT);
    let json = serde_json::to_vec_pretty(receipt).map_err(|error| StoreError::io("write", &path)(error.into()))?;
    disk::write_new(&path, &json, disk::PLAIN).map_err(StoreError::io("write", path))?;
    disk::sync_dir(dir).map_err(StoreError::io("write", dir))
}

/// A version directory whose type, name and executable are valid.
pub(crate) struct VersionDir {
    pub(crate) tag: Tag,
    pub(crate) version: Version,
    pub(crate) binary: PathBuf,
    /// Size of the executable, in bytes.
    pub(crate) size: u64,
    /// The receipt, or why its content is not usable. `None` if there is none.
    pub(crate) receipt: Option<Result<Receipt, String>>,
}

/// Reads a version directory of a component whose executable is named `executable`. Runs and hashes nothing.
///
/// # Errors
/// What is wrong with the directory, its name or its executable, or an unreadable receipt.
pub(crate) fn read(dir: &Path, executable: &str) -> Result<VersionDir, String> {
    let metadata = fs::symlink_metadata(dir).map_err(|error| error.to_string())?;
    check(&metadata, metadata.is_dir(), "directory")?;
    let name = dir.file_name().and_then(|name| name.to_str());
    let tag: Tag = name.and_then(|name| name.parse().ok()).ok_or("its name is not a tag")?;
    let version = Version::parse(tag.as_str()).map_err(|_| "its name is not a version")?;
    let receipt = match disk::read_small(&dir.join(RECEIPT), RECEIPT_BYTES) {
        Ok(None) => None,
        Ok(Some(bytes)) => Some(parse(&bytes, executable, &tag)),
        Err(error) => return Err(format!("{RECEIPT}: {error}")),
    };
    let binary = dir.join(executable);
    let metadata = fs::symlink_metadata(&binary).map_err(|error| format!("{executable}: {error}"))?;
    check(&metadata, metadata.is_file(), "regular file")?;
    if !is_executable(&metadata) {
        return Err(format!("{executable} is not executable"));
    }
    Ok(VersionDir { tag, version, binary, size: metadata.len(), receipt })
}

/// Returns whether anybody may execute the file.
pub(crate) fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

fn parse(bytes: &[u8], executable: &str, tag: &Tag) -> Result<Receipt, String> {
    let receipt: Receipt = serde_json::from_slice(bytes)
        .map_err(|error| format!("{RECEIPT}: {}", without_type_names(&error.to_string())))?;
    if receipt.name.name() != executable || receipt.tag != *tag {
        return Err(format!("{RECEIPT} belongs to {} {}", receipt.name, receipt.tag));
    }
    Ok(receipt)
}

impl VersionDir {
    /// Compares the size of the executable with the receipt.
    pub(crate) fn check_size(&self, receipt: &Receipt) -> Result<(), String> {
        if self.size == receipt.size {
            return Ok(());
        }
        Err(format!("the executable has {} bytes, its receipt says {}", self.size, receipt.size))
    }
}

/// Refuses what is in place of a contract and is not one: another type of file, or a larger file. A version of another
/// tool has no contract. Does not read it.
pub(crate) fn check_contract(dir: &Path) -> Result<(), String> {
    let found = disk::lstat(&dir.join(CONTRACT)).map_err(|error| format!("{CONTRACT}: {error}"))?;
    let Some(metadata) = found else { return Ok(()) };
    check(&metadata, metadata.is_file(), "regular file").map_err(|why| format!("{CONTRACT}: {why}"))?;
    if metadata.len() > CONTRACT_BYTES as u64 {
        return Err(format!("{CONTRACT}: it is larger than {CONTRACT_BYTES} bytes"));
    }
    Ok(())
}

/// Compares the content of an executable on disk with its receipt.
///
/// # Errors
/// [`StoreError::NotStored`] if they differ.
pub(crate) fn check_content(binary: &Path, receipt: &Receipt) -> Result<(), StoreError> {
    let found = disk::Checksum::of(binary).map_err(StoreError::io("read", binary))?;
    if found == receipt.executable() {
        return Ok(());
    }
    let why = format!("the digest of its executable is {}, its receipt says {}", found.digest, receipt.binary);
    Err(StoreError::NotStored { name: receipt.name.clone(), tag: receipt.tag.clone(), why })
}

/// Refuses a file of a wrong type, and, as root, one that other users could change.
pub(crate) fn check(metadata: &fs::Metadata, right_type: bool, expected: &str) -> Result<(), String> {
    if !right_type {
        return Err(wrong_type(metadata, expected));
    }
    trust::untrusted_reason(metadata).map_or(Ok(()), Err)
}

/// Returns the problem of a path that does not have the expected type.
fn wrong_type(metadata: &fs::Metadata, expected: &str) -> String {
    if metadata.is_symlink() {
        format!("it is a symbolic link, not a {expected}")
    } else {
        format!("it is not a {expected}")
    }
}
