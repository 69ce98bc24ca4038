//! `PluginPolicy`: what admins allow. The record only; what it means is in `verdict`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::channel::Channel;

/// What may run where, since when, how fast.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "What admins allow: which plugins, which versions, when, how fast.",
    kind = "PluginPolicy",
    plural = "pluginpolicies",
    shortname = "ppol",
    category = "d8cli",
    status = "PluginPolicyStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct PluginPolicySpec {
    /// The hosts it speaks for; `{}` is every host, workstations included.
    pub host_selector: LabelSelector,
    /// Stops every change on these hosts; runs go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What a rule leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// The first rule that names a plugin answers alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// The rule for d8 itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<CliRule>,
    /// What happens to a plugin dependency that is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_dependencies: Option<MissingDependencies>,
    /// When switches may begin; absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Window>>,
    /// How fast a version spreads over the hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What is done about moved tags and signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
}

/// May a plugin be on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// It may.
    Allow,
    /// It may not; its runs are refused.
    Deny,
    /// It must.
    Require,
}

/// Who starts an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Updates {
    /// The agent by itself.
    Auto,
    /// A person.
    Manual,
    /// Nobody: what is installed stays.
    Frozen,
}

/// Whether an update may change the major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MajorUpdates {
    /// It stays within the installed one.
    Stay,
    /// It may cross to a newer one.
    Cross,
}

/// What happens to a plugin dependency that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MissingDependencies {
    /// It is installed with the plugin that needs it.
    Install,
    /// The change is refused.
    Refuse,
}

/// What a rule or `cli` leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// May a plugin that no rule names be here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Which versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who starts an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// How long a version must have been published, `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
}

/// A rule for plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Names, or a trailing `*`.
    pub plugins: Vec<String>,
    /// May they be here, must they.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Only versions within this constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Full versions that may neither be installed nor run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
    /// Full versions that skip this policy's minAge, wave and window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expedite: Vec<String>,
    /// Versions bound to a digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Which versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who starts an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// How long a version must have been published, `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
    /// Shown with every refusal of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The rule for d8 itself. No access: no policy takes d8 away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CliRule {
    /// Only versions within this constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Full versions that may not be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
    /// Full versions that skip this policy's minAge, wave and window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expedite: Vec<String>,
    /// Versions bound to a digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Which versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who starts an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// How long a version must have been published, `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
    /// Shown with every refusal of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A version bound to a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// A full version.
    pub version: String,
    /// Digest of its index, manifest or layer.
    pub digest: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// When switches may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Local days on which it opens; absent: every day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Day>>,
    /// Local time at which it opens, `02:00`.
    pub start: String,
    /// How long it stays open, in elapsed time, `3h`.
    pub duration: String,
    /// IANA zone of `days` and `start`; absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// How fast a version spreads over the hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The time in which a version reaches every host, 1m to 720h.
    pub over: String,
    /// Hosts that go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_selector: Option<LabelSelector>,
    /// At how many failed hosts a version's wave halts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u32>,
}

/// What is done about moved tags and signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Integrity {
    /// A tag that points at other bytes than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_tags: Option<MovedTags>,
    /// Signatures: not checked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// A tag that points at other bytes than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MovedTags {
    /// Refused until it is pinned.
    Refuse,
    /// Its age counts from the move.
    Soak,
}

/// Signatures: not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Signature {
    /// Not looked at.
    Ignore,
}

/// What the policy does at the moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginPolicyStatus {
    /// The generation of the spec this status was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cluster's identity: UID of namespace `kube-system`.
    #[serde(rename = "clusterUID", skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// When a window opens next, RFC 3339. A string: a `date` column cannot show a future time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_window: Option<String>,
    /// How many hosts are matched, and where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCounts>,
    /// What each component aims at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentProgress>,
    /// `Accepted`, `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How many hosts are where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostCounts {
    /// Hosts the selector matches.
    pub matched: u32,
    /// Hosts that run their target.
    pub up_to_date: u32,
    /// Hosts that wait.
    pub held: u32,
    /// Hosts whose change failed.
    pub failed: u32,
}

/// What one component aims at under this policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComponentProgress {
    /// Plugin, or `d8`.
    pub name: String,
    /// The version this policy leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why it is not reached, a reason of `docs/policies.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// When the hold ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The clock of each version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
}

/// One version's way over the hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// The version.
    pub version: String,
    /// When this policy began to permit it; absent: it counts from the version's age alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Whether it goes on; absent: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<WaveState>,
    /// Hosts that failed on it.
    #[serde(default)]
    pub failed: u32,
    /// When it was halted; names the halt that an annotation resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_at: Option<Time>,
}

/// Whether a wave goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WaveState {
    /// It reaches more hosts as time goes by.
    Running,
    /// Too many hosts failed: no further host takes it.
    Halted,
    /// Every host may have it.
    Complete,
}
