//! Keeps a status within its size: etcd refuses objects beyond some 1.5 MiB, and every client of the
//! record carries it over the network. No IO.

use std::fmt;

use d8_crds::{
    records::release::CliReleaseStatus,
    values::{limits, version::Version},
};

use super::facts::json_size;

/// Largest status, in bytes of JSON (design: "Records").
pub(crate) const MAX_STATUS: usize = 256 * 1024;
/// What conditions and the rest may still need after the versions are trimmed.
const RESERVE: usize = 8 * 1024;

/// What did not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trimmed {
    count: usize,
    newest: Option<String>,
}

impl Trimmed {
    /// Everything fitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.newest.as_deref().unwrap_or_default();
        write!(
            f,
            "{} versions, {newest} and older, are left out: a record carries 256 KiB and 250 versions; \
             narrow spec.versions, spec.platforms or spec.history",
            self.count
        )
    }
}

/// Drops versions, oldest first and the wanted ones last, until the status fits.
pub(crate) fn trim(status: &mut CliReleaseStatus, wanted: impl Fn(&Version) -> bool) -> Trimmed {
    let mut trimmed = Trimmed::default();
    let sizes: Vec<usize> = status.versions.iter().map(|v| json_size(v) + 1).collect();
    let mut total: usize = sizes.iter().sum();
    let mut left = sizes.len();
    let mut drop = vec![false; sizes.len()];
    for spare_wanted in [true, false] {
        for n in (0..sizes.len()).rev() {
            if total + RESERVE <= MAX_STATUS && left <= limits::VERSIONS {
                break;
            }
            let is_wanted = || Version::parse(&status.versions[n].version).is_ok_and(|version| wanted(&version));
            if drop[n] || (spare_wanted && is_wanted()) {
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
    use d8_crds::records::{
        release::{Artifact, Fit, ReleaseVersion},
        requirements::Requirements,
    };

    use super::*;

    fn version(number: usize, platforms: usize) -> ReleaseVersion {
        let digest = format!("sha256:{}", "0".repeat(64));
        let artifact = Artifact {
            platform: Some("linux-amd64".into()),
            manifest: digest.clone(),
            layer: digest.clone(),
            size_bytes: 1 << 30,
        };
        ReleaseVersion {
            version: format!("v1.{number}.0"),
            digest,
            first_seen: None,
            fit: Fit::Fits,
            reasons: vec![],
            artifacts: vec![artifact; platforms],
            requirements: Requirements::default(),
            description: None,
            env: vec![],
            flags: vec![],
            moved: None,
            withdrawn: None,
        }
    }

    #[test]
    fn the_oldest_go_first_and_the_wanted_last() {
        for (platforms, kept) in [(1, 50), (8, 50), (40, 28)] {
            let versions = (0..50).rev().map(|n| version(n, platforms)).collect();
            let mut status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
            let oldest = Version::parse("v1.0.0").unwrap();
            let trimmed = trim(&mut status, |version| *version == oldest);
            assert_eq!(status.versions.len(), kept, "{platforms} platforms");
            assert_eq!(trimmed.is_empty(), kept == 50);
            assert!(json_size(&status) <= MAX_STATUS);
            assert_eq!(status.versions[0].version, "v1.49.0");
            assert_eq!(status.versions[kept - 1].version, "v1.0.0", "the wanted one is kept");
        }
    }

    #[test]
    fn the_message_names_the_newest_left_out_and_what_to_narrow() {
        let versions = (0..50).rev().map(|n| version(n, 40)).collect();
        let mut status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
        let text = trim(&mut status, |_| false).to_string();
        assert!(text.starts_with("22 versions, v1.21.0 and older,"), "{text}");
        assert!(text.contains("spec.platforms"), "{text}");
    }
}
