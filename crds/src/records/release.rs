//! `CliRelease`: what one component has published, and what of it fits this cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::channel::Channel;
use crate::{
    records::{
        contract::{EnvVar, Flag},
        requirements::Requirements,
    },
    values::version::Version,
};

/// What to publish of one component. The object's name is the plugin's name; `d8` is the command
/// line itself.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "What one component has published, and what of it fits this cluster.",
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
    /// What to publish: stable versions only, or pre-releases too.
    pub channel: Channel,
    /// Publish only versions within this constraint; absent or empty: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// How often the proxy is asked, 30s to 24h; absent: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How many versions to keep, newest first, 1 to 50; absent: 20. Versions that a policy pins or
    /// a host runs are kept besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u8>,
    /// Platforms to record and to judge `latestFitting` by; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// Stops polling; judging against the cluster goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl CliRelease {
    /// What the record has on a version, by its value: `v1.2.3` and `1.2.3` are one.
    pub fn recorded(&self, version: &Version) -> Option<&ReleaseVersion> {
        let versions = &self.status.as_ref()?.versions;
        versions.iter().find(|recorded| Version::parse(&recorded.version).is_ok_and(|found| found == *version))
    }
}

/// What is published and what of it fits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CliReleaseStatus {
    /// The generation of the spec this status was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the proxy last answered; rewritten at most hourly while nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// The cluster the versions were judged against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSeen>,
    /// Newest stable version published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// Newest stable version that fits this cluster on every platform; no policy in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_fitting: Option<String>,
    /// The versions, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<ReleaseVersion>,
    /// `Synced`, `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The cluster that versions were judged against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSeen {
    /// UID of namespace `kube-system`: the cluster's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The API server's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// Deckhouse's version; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deckhouse: Option<String>,
}

/// One published version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseVersion {
    /// The tag, as published.
    pub version: String,
    /// What the tag points at: index or manifest.
    pub digest: String,
    /// When this version was first seen with this digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Time>,
    /// Whether the cluster meets its requirements.
    pub fit: Fit,
    /// Why it does not fit, or why that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What there is to download, a platform each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// What it demands of the cluster and of other plugins.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
    /// What the contract says beside its requirements, so that an install needs no manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Environment variables the plugin reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Flags the plugin documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// The tag was moved: a recorded platform's manifest or the contract changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Since when the tag is gone: not installable, never a reason to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Time>,
}

/// Whether a version fits the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Fit {
    /// Every requirement on the cluster is met.
    Fits,
    /// At least one is not.
    Unfit,
    /// At least one could not be checked, or the version's manifest was not read yet.
    #[default]
    Unknown,
}

/// What one platform downloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// `<os>-<arch>`; absent for an image that names no platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Digest of the platform's manifest.
    pub manifest: String,
    /// Digest of the layer as stored, the bytes that travel.
    pub layer: String,
    /// Size of the layer in bytes.
    pub size_bytes: u64,
}

/// A tag that was moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The digest it pointed at before.
    pub from: String,
    /// When the move was seen.
    pub at: Time,
}
