//! `CliRelease`: the published versions of a component, and which of them fit the cluster.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    records::{
        contract::{EnvVar, Flag},
        requirements::Requirements,
    },
    values::{channel::Channel, limits, platform::Platform, text::printable_to, version::Version},
};

/// Longest time since the last sync of a current record. The operator updates `lastSyncTime` at least once an hour
/// while the proxy answers.
pub const MAX_SYNC_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Which versions of a component to publish. The name of the object is the name of the plugin, or `d8` for
/// d8 itself.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "The published versions of a component, and which of them fit this cluster.",
    kind = "CliRelease",
    plural = "clireleases",
    shortname = "crel",
    category = "d8cli",
    status = "CliReleaseStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct CliReleaseSpec {
    /// Whether to publish pre-releases besides releases.
    pub channel: Channel,
    /// Constraint on the published versions. Absent or empty means any version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Interval between polls of the proxy, 30s to 24h. Absent means 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Number of versions to keep, newest first, 1 to 50. Absent means 20. Versions that a policy pins or a
    /// host runs are kept in addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u8>,
    /// Platforms to record and to consider for `latestFitting`. Absent means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// Stops polls of the proxy. The recorded versions are still checked against the cluster.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl CliRelease {
    /// Returns the recorded version that equals `version`: `v1.2.3` and `1.2.3` are equal.
    pub fn recorded(&self, version: &Version) -> Option<&ReleaseVersion> {
        let numbers = format!("{}.{}.{}", version.major(), version.minor(), version.patch());
        // Parses only what can be equal: numbers in a full version have one form.
        let may_be_equal = |text: &str| text.strip_prefix('v').unwrap_or(text).starts_with(&numbers);
        let is_equal = |text: &str| Version::parse_full(text).is_ok_and(|found| found == *version);
        let versions = &self.status.as_ref()?.versions;
        versions.iter().find(|recorded| may_be_equal(&recorded.version) && is_equal(&recorded.version))
    }
}

/// The published versions and whether they fit the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CliReleaseStatus {
    /// Generation of the spec for which this status was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time of the last response of the proxy. Updated at most hourly while nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// The cluster against which the versions were checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ObservedCluster>,
    /// Newest published release, whether it fits or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// Newest published release that fits the cluster on every platform. Policies are not considered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_fitting: Option<String>,
    /// Published versions, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<ReleaseVersion>,
    /// Published tags that are left out because they are not versions.
    #[serde(skip_serializing_if = "LeftOutTags::is_empty")]
    pub left_out_tags: LeftOutTags,
    /// Conditions of types `Synced` and `Ready`, and `Reconciling` or `Stalled` while they are true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Published tags that are left out. They are never installed, and hide no version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutTags {
    /// Number of the tags.
    pub count: u32,
    /// The first of the tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<LeftOutTag>,
}

/// A published tag that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutTag {
    /// The tag, printable.
    pub tag: String,
    /// Why it is left out.
    pub reason: String,
}

impl LeftOutTags {
    /// Returns whether no tag is left out.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a tag. Beyond [`limits::LEFT_OUT_TAGS`], tags are only counted.
    pub fn add(&mut self, tag: &str, reason: &str) {
        self.count = self.count.saturating_add(1);
        if self.tags.len() < limits::LEFT_OUT_TAGS {
            let tag = printable_to(tag, limits::TAG).into_owned();
            self.tags.push(LeftOutTag { tag, reason: printable_to(reason, limits::FIT_REASON).into_owned() });
        }
    }

    /// Adds the tags of another list. Beyond [`limits::LEFT_OUT_TAGS`], tags are only counted.
    pub fn extend(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        let free = limits::LEFT_OUT_TAGS.saturating_sub(self.tags.len());
        self.tags.extend(other.tags.iter().take(free).cloned());
    }
}

/// The cluster against which versions were checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedCluster {
    /// Identity of the cluster: the UID of namespace `kube-system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Version of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// Version of Deckhouse. Absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deckhouse: Option<String>,
}

/// A published version of the component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseVersion {
    /// Tag of the version, as published.
    pub version: String,
    /// Digest of the index or the manifest to which the tag points. Empty or absent if it could not be read yet.
    // Always written: the first d8 that reads records requires it.
    #[serde(default)]
    pub digest: String,
    /// Time at which this version was first seen with this digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Time>,
    /// Whether the cluster meets all requirements of the version (`Fits`), does not meet all of them or the image
    /// cannot be used (`Unfit`), or at least one requirement is not checked yet or could not be checked (`Unknown`).
    pub fit: Fit,
    /// Reasons why the version does not fit, or why this is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Artifacts to download, one for each platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// Parts of the image that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutPart>,
    /// Requirements of the version on the cluster and on other plugins.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
    /// Description in the contract of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Environment variables that the plugin reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Flags that the plugin documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Set if the tag was moved: the manifest of a recorded platform or the contract changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedTag>,
    /// Time since which the tag is gone. The version cannot be installed. Hosts that have it keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Time>,
}

impl ReleaseVersion {
    /// Returns why a part of the image that is for a platform is left out, if there is one.
    pub fn left_out_for(&self, platform: &Platform) -> Option<&str> {
        let part = self.left_out.iter().find(|part| part.platform.as_deref() == Some(platform.as_str()))?;
        Some(&part.reason)
    }

    /// Returns the version without what its contract says, and without the reasons that follow from it.
    #[must_use]
    pub fn without_contract(&self) -> Self {
        Self {
            reasons: Vec::new(),
            left_out: Vec::new(),
            requirements: Requirements::default(),
            description: None,
            env: Vec::new(),
            flags: Vec::new(),
            ..self.clone()
        }
    }

    /// Returns the artifact for a platform, else the one that is not bound to a platform.
    pub fn artifact_for(&self, platform: &Platform) -> Option<&Artifact> {
        let with = |platform: Option<&str>| self.artifacts.iter().find(|a| a.platform.as_deref() == platform);
        with(Some(platform.as_str())).or_else(|| with(None))
    }
}

/// Whether the cluster meets the requirements of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Fit {
    /// The cluster meets every requirement.
    Fits,
    /// The cluster does not meet at least one requirement, or the image cannot be used.
    Unfit,
    /// At least one requirement could not be checked, or the manifest of the version is not read yet.
    #[default]
    Unknown,
}

/// The artifact of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Platform, `<os>-<arch>`. Absent for an image without a platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Digest of the manifest of the platform.
    pub manifest: String,
    /// Digest of the layer as it is downloaded, before decompression.
    pub layer: String,
    /// Size of the download in bytes.
    pub size_bytes: u64,
}

/// A part of an image that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutPart {
    /// Platform of the part, `<os>-<arch>`. Absent if the part has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Why it is left out.
    pub reason: String,
}

/// A tag that was moved to other content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovedTag {
    /// Digest to which the tag pointed before.
    pub from: String,
    /// Time at which the move was seen.
    pub at: Time,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What the first d8 requires of each version of a record.
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only decoded")]
    struct FirstReleaseVersion {
        version: String,
        digest: String,
        fit: Fit,
    }

    #[test]
    fn older_and_newer_versions_read_each_others_records() {
        for (what, record, digest) in [
            ("of the first d8", json!({"version": "v1.0.0", "digest": "sha256:0", "fit": "Fits"}), "sha256:0"),
            ("that cannot be read", json!({"version": "v1.0.0", "digest": "", "fit": "Unknown"}), ""),
            ("without a digest", json!({"version": "v1.0.0", "fit": "Unknown", "leftOut": [{"reason": "x"}]}), ""),
        ] {
            let read: ReleaseVersion = serde_json::from_value(record).unwrap();
            assert_eq!(read.digest, digest, "{what}");
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written["digest"], Value::from(digest), "{what}");
            let by_first: FirstReleaseVersion = serde_json::from_value(written).unwrap();
            assert_eq!(by_first.digest, digest, "{what}");
        }
    }
}
