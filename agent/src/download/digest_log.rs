//! The digest memory: which layer each version had when this store first took it.
//!
//! Append-only, one JSON object a line; a line cut short by a crash counts for nothing.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use d8_crds::values::{digest::Digest, platform::Platform, version::Version};
use serde::{Deserialize, Serialize};

use crate::{disk, error::StoreError, receipt::Receipt, request::Artifact};

/// Largest memory read, in bytes: some 300,000 versions.
const LIMIT: u64 = 64 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    component: String,
    version: String,
    platform: Platform,
    layer: Digest,
}

/// The layer last remembered for a version.
fn recall(file: &Path, component: &str, version: &Version, platform: &Platform) -> io::Result<Option<Digest>> {
    let bytes = disk::read_small(file, LIMIT)?.unwrap_or_default();
    let version = version.to_string();
    let found = bytes.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let line: Line = serde_json::from_slice(line).ok()?;
        (line.component == component && line.version == version && line.platform == *platform).then_some(line.layer)
    });
    Ok(found)
}

/// Refuses a version that is remembered with another layer, unless a person or a pin accepted this one.
///
/// # Errors
/// [`StoreError::Moved`]; a memory that cannot be read.
pub(crate) fn not_moved(
    file: &Path,
    artifact: &Artifact,
    version: &Version,
    layer: &Digest,
    accept: Option<&Digest>,
) -> Result<(), StoreError> {
    let Artifact { component, tag, platform, .. } = artifact;
    if accept == Some(layer) {
        return Ok(());
    }
    let remembered = recall(file, component.name(), version, platform).map_err(StoreError::io("read", file))?;
    remembered.filter(|remembered| remembered != layer).map_or(Ok(()), |remembered| {
        Err(StoreError::Moved { name: component.clone(), tag: tag.clone(), remembered, found: layer.clone() })
    })
}

/// Remembers the layer of an installed version, unless it is remembered so already or not known.
pub(crate) fn remember(file: &Path, version: &Version, receipt: &Receipt) -> io::Result<()> {
    let Some(layer) = &receipt.layer else { return Ok(()) };
    let component = receipt.name.name();
    if recall(file, component, version, &receipt.platform)?.as_ref() == Some(layer) {
        return Ok(());
    }
    let line = Line {
        component: component.to_owned(),
        version: version.to_string(),
        platform: receipt.platform.clone(),
        layer: layer.clone(),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    let new = disk::lstat(file)?.is_none();
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(disk::PLAIN);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let mut to = options.create(true).open(file)?;
    if new {
        use std::os::unix::fs::PermissionsExt as _;
        to.set_permissions(std::fs::Permissions::from_mode(disk::PLAIN))?;
    }
    // A line cut short must not swallow this one.
    let size = to.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        to.read_exact_at(&mut last, size - 1)?;
    }
    if last != [b'\n'] {
        bytes.insert(0, b'\n');
    }
    to.write_all(&bytes)?;
    disk::sync_file(&to, file)?;
    if new && let Some(parent) = file.parent() {
        disk::sync_dir(parent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_what_came_last_and_survives_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("digests.jsonl");
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let linux: Platform = "linux-amd64".parse().unwrap();
        let version = Version::parse("v1.0.0").unwrap();
        let recall = |component| recall(&file, component, &version, &linux).unwrap();
        let remember = |name: &str, layer: &Digest| {
            let receipt = Receipt {
                name: name.parse().unwrap(),
                tag: "v1.0.0".parse().unwrap(),
                platform: linux.clone(),
                layer: Some(layer.clone()),
                manifest: None,
                binary: Digest::of(b""),
                size: 0,
                source: String::new(),
                time: jiff::Timestamp::UNIX_EPOCH,
                verified: crate::receipt::Verified::Digest,
                skipped_cluster_checks: false,
            };
            super::remember(&file, &version, &receipt).unwrap();
        };
        assert_eq!(recall("a"), None);
        remember("a", &one);
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"component\":\"b").unwrap();
        remember("b", &two);
        remember("b", &two);
        assert_eq!(recall("a"), Some(one));
        assert_eq!(recall("b"), Some(two.clone()));
        assert_eq!(recall("c"), None);
        remember("a", &two);
        assert_eq!(recall("a"), Some(two));
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 4);
    }
}
