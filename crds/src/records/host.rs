//! `CliHost`: a managed host and the components on it.

use std::cmp::Ordering;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A host reports at least so often, even if nothing changes.
pub const REPORT_INTERVAL: SignedDuration = SignedDuration::from_hours(6);

/// A host that has not reported for longer is silent. It ticks every quarter of an hour, so that a report may be a little
/// late.
pub const SILENCE: SignedDuration = SignedDuration::from_hours(7);

/// A managed host. Policies select hosts by the labels of this object, which only admins set.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "A managed host: which components it runs, and why a component is not at its target version.",
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
    /// The only user who may write the status of this object. Immutable.
    pub identity: String,
}

/// The report of the host. The host updates it on changes, and at least every 6 hours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CliHostStatus {
    /// Platform of the host, `<os>-<arch>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Time of the last report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Which machine reports, as a hash that changes when the machine starts again. Two machines with the same identity
    /// differ in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Policies that apply to the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ObservedPolicy>,
    /// Components on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<HostComponent>,
    /// Conditions of types `Ready`, `PolicySynced` and `ClockSynced`, and `DuplicateIdentity` while two machines report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A policy that the host has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPolicy {
    /// Name of the policy.
    pub name: String,
    /// Generation of the policy that the host has read.
    pub generation: i64,
}

/// A component on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostComponent {
    /// Name of the plugin, or `d8` for d8 itself.
    pub name: String,
    /// Active version. Absent if no version is installed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Digest of the layer of the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Version that the host will take under its policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// State of the component: the target version is active (`UpToDate`), a change has not started yet
    /// (`Pending`), is in progress (`Switching`), is held back (`Held`) or has failed (`Failed`), a policy
    /// forbids the installed version (`Forbidden`), or its requirements are not met (`Unfit`).
    pub state: ComponentState,
    /// Reason of the state, one of those in `docs/policies.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Details of the reason for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Time at which the last of the holds ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Time at which `active` or `state` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Time>,
}

/// State of a component on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ComponentState {
    /// The target version is active.
    UpToDate,
    /// A change has not started yet.
    Pending,
    /// A change is in progress.
    Switching,
    /// A change is held back, for example by a window or a wave.
    Held,
    /// A policy forbids the installed version.
    Forbidden,
    /// The cluster or the host does not meet the requirements of the version.
    Unfit,
    /// The last change failed.
    Failed,
}

impl ComponentState {
    /// Returns how much is wrong, the larger the worse.
    fn severity(self) -> u8 {
        match self {
            Self::UpToDate => 0,
            Self::Pending => 1,
            Self::Switching => 2,
            Self::Held => 3,
            Self::Unfit => 4,
            Self::Forbidden => 5,
            Self::Failed => 6,
        }
    }
}

/// Ordered by how much is wrong: of several components, the worst state is that of the host.
impl Ord for ComponentState {
    fn cmp(&self, other: &Self) -> Ordering {
        self.severity().cmp(&other.severity())
    }
}

impl PartialOrd for ComponentState {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
