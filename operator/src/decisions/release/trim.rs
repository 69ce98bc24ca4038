//! Keeps a status within its size. etcd rejects objects beyond about 1.5 MiB, and every client of the record downloads
//! the whole status.

use std::fmt;

use d8_crds::{
    records::release::CliReleaseStatus,
    values::{limits, version::Version},
};

use super::limits::json_size;

/// Largest status, in bytes of JSON.
const MAX_STATUS: usize = 256 * 1024;
/// Space for conditions and the other fields, in bytes of JSON.
const RESERVE: usize = 8 * 1024;

/// The versions that were left out of a status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TrimmedVersions {
    count: usize,
    newest: Option<String>,
}

impl TrimmedVersions {
    /// Returns whether no version was left out.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for TrimmedVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.newest.as_deref().unwrap_or_default();
        write!(
            f,
            "the record lacks {newest} and older versions ({} in all), because it carries at most 256 KiB and 250 \
             versions; narrow spec.versions, spec.platforms or spec.history",
            self.count
        )
    }
}

/// Drops versions until the status fits: the oldest first, retained ones last.
pub(super) fn trim(status: &mut CliReleaseStatus, retained: impl Fn(&Version) -> bool) -> TrimmedVersions {
    let mut trimmed = TrimmedVersions::default();
    let sizes: Vec<usize> = status.versions.iter().map(|v| json_size(v) + 1).collect();
    let mut total: usize = sizes.iter().sum();
    let mut left = sizes.len();
    let mut drop = vec![false; sizes.len()];
    for spare_retained in [true, false] {
        for n in (0..sizes.len()).rev() {
            if total + RESERVE <= MAX_STATUS && left <= limits::VERSIONS {
                break;
            }
            let is_retained = || Version::parse(&status.versions[n].version).is_ok_and(|version| retained(&version));
            if drop[n] || (spare_retained && is_retained()) {
                continue;
            }
            drop[n] = true;
            total -= sizes[n];
            left -= 1;
            trimmed.count += 1;
        }
    }
    trimmed.newest = drop.iter().position(|dropped| *dropped).map(|n| status.versions[n].version.clone());
    let mut dropped = drop.iter();
    status.versions.retain(|_| !dropped.next().copied().unwrap_or_default());
    trimmed
}

#[cfg(test)]
mod tests {
    use d8_crds::records::release::{Artifact, Fit, ReleaseVersion};

    use super::{
        super::fixtures::{artifact, recorded},
        *,
    };

    fn version(number: usize, platforms: usize) -> ReleaseVersion {
        let artifacts = vec![Artifact { size_bytes: 1 << 30, ..artifact(Some("linux-amd64"), b"") }; platforms];
        ReleaseVersion { artifacts, ..recorded(&format!("v1.{number}.0"), Fit::Fits) }
    }

    #[test]
    fn the_oldest_versions_are_dropped_first_and_retained_ones_last() {
        for (platforms, kept) in [(1, 50), (8, 50), (40, 28)] {
            let versions = (0..50).rev().map(|n| version(n, platforms)).collect();
            let mut status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
            let oldest = Version::parse("v1.0.0").unwrap();
            let trimmed = trim(&mut status, |version| *version == oldest);
            assert_eq!(status.versions.len(), kept, "{platforms} platforms");
            assert_eq!(trimmed.is_empty(), kept == 50);
            assert!(json_size(&status) <= MAX_STATUS);
            assert_eq!(status.versions[0].version, "v1.49.0");
            assert_eq!(status.versions[kept - 1].version, "v1.0.0", "the retained version stays");
        }
    }

    #[test]
    fn the_message_names_the_newest_dropped_version_and_the_fields_to_narrow() {
        let versions = (0..50).rev().map(|n| version(n, 40)).collect();
        let mut status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
        let text = trim(&mut status, |_| false).to_string();
        assert!(text.starts_with("the record lacks v1.21.0 and older versions (22 in all)"), "{text}");
        assert!(text.contains("spec.platforms"), "{text}");
    }
}
