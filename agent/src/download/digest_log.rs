//! The log of digests: the layer that each version had when this store installed it.
//!
//! Append-only, one JSON object per line. A line that a crash truncated is ignored.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use d8_crds::values::{digest::Digest, limits::DIGEST_LOG_BYTES, platform::Platform, version::Version};
use serde::{Deserialize, Serialize};

use crate::{disk, error::StoreError, receipt::Receipt, request::Artifact};

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
struct LogEntry {
    component: String,
    version: String,
    platform: Platform,
    layer: Digest,
}

/// Returns the layer that was recorded last for a version.
fn recorded_layer(file: &Path, component: &str, version: &Version, platform: &Platform) -> io::Result<Option<Digest>> {
    let bytes = disk::read_small(file, DIGEST_LOG_BYTES)?.unwrap_or_default();
    let version = version.to_string();
    let found = bytes.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let line: LogEntry = serde_json::from_slice(line).ok()?;
        (line.component == component && line.version == version && line.platform == *platform).then_some(line.layer)
    });
    Ok(found)
}

/// Refuses a version that is recorded with another layer, unless the caller accepted this one.
///
/// # Errors
/// [`StoreError::Moved`], or a log that cannot be read.
pub(crate) fn check(
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
    let recorded = recorded_layer(file, component.name(), version, platform).map_err(StoreError::io("read", file))?;
    recorded.filter(|recorded| recorded != layer).map_or(Ok(()), |recorded| {
        Err(StoreError::Moved { name: component.clone(), tag: tag.clone(), recorded, found: layer.clone() })
    })
}

/// Records the layer of an installed version, unless it is already recorded or unknown.
pub(crate) fn record(file: &Path, version: &Version, receipt: &Receipt) -> io::Result<()> {
    let Some(layer) = &receipt.layer else { return Ok(()) };
    let component = receipt.name.name();
    if recorded_layer(file, component, version, &receipt.platform)?.as_ref() == Some(layer) {
        return Ok(());
    }
    let line = LogEntry {
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
    // A truncated line must not be joined with this one.
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
    fn the_last_record_counts_and_a_truncated_line_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("digests.jsonl");
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let linux: Platform = "linux-amd64".parse().unwrap();
        let version = Version::parse("v1.0.0").unwrap();
        let recorded = |component| recorded_layer(&file, component, &version, &linux).unwrap();
        let record = |name: &str, layer: &Digest| {
            let receipt = Receipt {
                name: name.parse().unwrap(),
                tag: "v1.0.0".parse().unwrap(),
                platform: linux.clone(),
                layer: Some(layer.clone()),
                manifest: None,
                binary: Digest::of(b""),
                size: 0,
                modified: None,
                source: String::new(),
                time: jiff::Timestamp::UNIX_EPOCH,
                verified: crate::receipt::Verified::Digest,
                skipped_cluster_checks: false,
                capabilities: None,
            };
            super::record(&file, &version, &receipt).unwrap();
        };
        assert_eq!(recorded("a"), None);
        record("a", &one);
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"component\":\"b").unwrap();
        record("b", &two);
        record("b", &two);
        assert_eq!(recorded("a"), Some(one));
        assert_eq!(recorded("b"), Some(two.clone()));
        assert_eq!(recorded("c"), None);
        record("a", &two);
        assert_eq!(recorded("a"), Some(two));
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 4);
    }
}
