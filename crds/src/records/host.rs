//! `CliHost`: one managed host, what it runs and why not more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One managed host. Its labels, which policies select by, are set by admins only.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "One managed host: what it runs, and why not more.",
    kind = "CliHost",
    plural = "clihosts",
    shortname = "chost",
    category = "d8cli",
    status = "CliHostStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct CliHostSpec {
    /// The only user that may write this object's status. Immutable.
    pub identity: String,
}

/// What the host reports: on change, else every 6 h.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CliHostStatus {
    /// `<os>-<arch>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The agent's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// When it last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// The policies it obeys, in the generation it read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicySeen>,
    /// What it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<HostComponent>,
    /// `Ready`, `PolicySynced`, `ClockSynced`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A policy as the host read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySeen {
    /// The policy's name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
}

/// One component on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostComponent {
    /// Plugin, or `d8`.
    pub name: String,
    /// The version that runs; absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Digest of the active version's layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version policy leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where it stands.
    pub state: ComponentState,
    /// Why, a reason of `docs/policies.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the hold that ends last ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// When `active` or `state` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Time>,
}

/// Where a component stands on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ComponentState {
    /// It runs its target.
    UpToDate,
    /// A change is due.
    Pending,
    /// A change is under way.
    Switching,
    /// A change waits.
    Held,
    /// What is installed is forbidden.
    Forbidden,
    /// The cluster does not meet the requirements.
    Unfit,
    /// The last change failed.
    Failed,
}
