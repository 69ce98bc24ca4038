//! `PluginPolicy`: what admins allow on which hosts. [`crate::decisions::verdict`] evaluates it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::channel::Channel;

/// Which plugins and versions may run on which hosts, and when they may change.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cli.deckhouse.io",
    version = "v1alpha1",
    doc = "Which plugins and versions admins allow on a set of hosts, and when and how fast they may change.",
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
    /// Hosts to which the policy applies. `{}` selects every host, including workstations.
    pub host_selector: LabelSelector,
    /// Makes this an emergency policy, which sets nothing but `expedite` and lifts time gates of every policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
    /// People to whom the policy applies: it binds what they do themselves, and never the agent. Absent means
    /// everyone and the agent. This guides people, and is no border: another credential is another person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Subjects>,
    /// Stops every change on these hosts. Installed plugins can still run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Settings for the fields that a rule or `cli` leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// Rules for plugins. Only the first rule that matches a plugin applies to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Rule for d8 itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<CliRule>,
    /// Handling of plugin dependencies that are not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_dependencies: Option<MissingDependencies>,
    /// Windows in which switches may begin. Absent means at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Window>>,
    /// Spans of time in which no switch may begin, also while a window is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blackouts: Vec<Blackout>,
    /// Whom the windows and blackouts of this policy hold. Absent means the agent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_for: Option<WindowsFor>,
    /// Gradual rollout of new versions over the hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Handling of moved tags and of signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
}

/// An emergency: until its end, the versions in `expedite` skip the minAge, the waves and the windows of every policy
/// that applies to the host, and `updates: Manual`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Emergency {
    /// Time at which the emergency ends, in RFC 3339, for example `2026-12-01T12:00:00Z`.
    pub until: String,
}

/// People to whom a policy applies: members of the groups, and the users.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subjects {
    /// Names of groups, as the API server knows them. `kubectl auth whoami` shows those of a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Names of users, as the API server knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

/// Whether a plugin may be installed (`Allow`), may neither be installed nor run (`Deny`), or must be installed
/// (`Require`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// The plugin may be installed.
    Allow,
    /// The plugin must be installed.
    Require,
    /// The plugin may neither be installed nor run.
    Deny,
}

/// Who may start an update: the agent (`Auto`), only a person (`Manual`), or nobody (`Frozen`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Updates {
    /// The agent, without a person.
    Auto,
    /// Only a person, with a command.
    Manual,
    /// Nobody. The installed version stays.
    Frozen,
}

/// Whether updates stay within the installed major version (`Stay`) or may change to a newer one (`Cross`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MajorUpdates {
    /// Updates may change to a newer major version.
    Cross,
    /// Updates stay within the installed major version.
    Stay,
}

/// Handling of plugin dependencies that are not installed: they are installed with the plugin that needs them
/// (`Install`), or the change is refused (`Refuse`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MissingDependencies {
    /// Install the dependency together with the plugin that needs it.
    Install,
    /// Refuse the change that needs the dependency.
    Refuse,
}

/// Settings for the fields that a rule or `cli` leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// Whether a plugin that no rule sets access for may be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether pre-releases are permitted besides releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who may start an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// Time for which a version must have been published before it may be installed, for example `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
}

/// A rule for plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Plugins to which the rule applies: names, or the beginning of names followed by `*`.
    pub plugins: Vec<String>,
    /// Whether the plugins may or must be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Constraint on the permitted versions, for example `>=1.2 <2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Versions that may neither be installed nor run: full versions, and ranges such as `1.2.x` or `>=1.2 <1.2.7`,
    /// which cover pre-releases too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
    /// Full versions that skip the minAge, the wave and the windows of this policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expedite: Vec<String>,
    /// Versions that must have a given digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Whether pre-releases are permitted besides releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who may start an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// Time for which a version must have been published before it may be installed, for example `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
    /// Message that people see when this rule refuses something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A rule for d8 itself. It has no `access`, because no policy can remove d8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CliRule {
    /// Constraint on the permitted versions, for example `>=1.2 <2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Versions that may not be installed: full versions, and ranges such as `1.2.x` or `>=1.2 <1.2.7`, which cover
    /// pre-releases too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
    /// Full versions that skip the minAge, the wave and the windows of this policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expedite: Vec<String>,
    /// Versions that must have a given digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Whether pre-releases are permitted besides releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Who may start an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_updates: Option<MajorUpdates>,
    /// Time for which a version must have been published before it may be installed, for example `72h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<String>,
    /// Message that people see when this rule refuses something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl From<CliRule> for Rule {
    /// Returns a rule with the same settings, for no plugin and without `access`.
    fn from(rule: CliRule) -> Self {
        let CliRule { versions, block, expedite, pins, channel, updates, major_updates, min_age, message } = rule;
        let (plugins, access) = (Vec::new(), None);
        Self { plugins, access, versions, block, expedite, pins, channel, updates, major_updates, min_age, message }
    }
}

/// A version that must have a given digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Full version, for example `v1.2.3`.
    pub version: String,
    /// Digest of the index, the manifest or the layer of the version.
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

/// A recurring window in which switches may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Local days on which the window opens. Absent means every day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Day>>,
    /// Local time at which the window opens, for example `02:00`.
    pub start: String,
    /// Elapsed time for which the window stays open, 1m to 168h, for example `3h`.
    pub duration: String,
    /// IANA time zone of `days` and `start`. Absent means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A span of time in which no switch may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blackout {
    /// Local date and time at which the blackout begins, for example `2026-11-27T00:00`.
    pub from: String,
    /// Local date and time at which the blackout ends. The end is not part of it.
    pub to: String,
    /// IANA time zone of `from` and `to`. Absent means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Why nothing may change, for example `Black Friday`. Everyone who is held sees it.
    pub reason: String,
}

/// Whom windows and blackouts hold: the agent only (`Agent`), or people too (`Everyone`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WindowsFor {
    /// The agent only.
    Agent,
    /// The agent and people.
    Everyone,
}

/// Gradual rollout of new versions over the hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Time in which a version reaches every host, 1m to 720h.
    pub over: String,
    /// Hosts that get a version first. They wait neither for the wave nor for the minAge of this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_selector: Option<LabelSelector>,
    /// Percentage of the hosts that get a version first, 1 to 50: others for each version. They wait for minAge, but
    /// not for the wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u32>,
    /// Hosts on which a version must have succeeded before its wave begins. Until then only canaries get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_succeeded: Option<RequireSucceeded>,
    /// Number of failed hosts at which the wave of a version halts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u32>,
}

/// Hosts on which a version must have succeeded before its wave begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequireSucceeded {
    /// Number of selected hosts that must report the version as up to date.
    pub hosts: u32,
    /// Time for which each of them must have reported it, 1m to 720h, for example `1h`.
    #[serde(rename = "for")]
    pub stable_for: String,
}

/// Handling of moved tags and of signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Integrity {
    /// Handling of a tag that points to other content than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_tags: Option<MovedTags>,
    /// Handling of signatures, which are not checked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// Handling of a tag that points to other content than before: the version is refused until a policy pins its
/// digest (`Refuse`), or its age counts from the move (`Soak`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MovedTags {
    /// Count the age of the version from the move.
    Soak,
    /// Refuse the version until a policy pins its digest.
    Refuse,
}

/// Handling of signatures. They are not checked yet (`Ignore`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Signature {
    /// Do not check signatures.
    Ignore,
}

/// The state of the policy as the operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginPolicyStatus {
    /// Generation of the spec for which this status was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identity of the cluster: the UID of namespace `kube-system`.
    #[serde(rename = "clusterUID", skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Time at which a window opens next, in RFC 3339. It is a string because a `date` column cannot show a
    /// future time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_window: Option<String>,
    /// Number of hosts that the policy selects, by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCounts>,
    /// Progress of each component under this policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentProgress>,
    /// Conditions of types `Accepted` and `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Number of hosts that a policy selects, by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostCounts {
    /// Number of hosts that the selector matches.
    pub matched: u32,
    /// Number of hosts on which every component is at its target version.
    pub up_to_date: u32,
    /// Number of hosts that wait for a change.
    pub held: u32,
    /// Number of hosts whose last change failed.
    pub failed: u32,
}

/// Progress of one component under a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComponentProgress {
    /// Name of the plugin, or `d8` for d8 itself.
    pub name: String,
    /// Version that hosts will take under this policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Reason why hosts do not take the target yet, one of those in `docs/policies.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Time at which the hold ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Waves in which versions spread over the hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveStatus>,
}

/// The wave in which a version spreads over the hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// Version that spreads over the hosts.
    pub version: String,
    /// Time from which the wave counts, not before the version reaches minAge: when this policy began to permit the
    /// version, moved by the length of each halt. Absent: minAge alone counts, or the wave waits for evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// State of the wave. Absent means that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<WaveState>,
    /// Number of hosts on which the version failed.
    #[serde(default)]
    pub failed: u32,
    /// Number of hosts that have reported the version as up to date for long enough. Absent without `requireSucceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<u32>,
    /// Number of selected hosts that are canaries for the version. Absent without `requireSucceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canaries: Option<u32>,
    /// Time of the halt. The annotation that resumes the wave names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_at: Option<Time>,
}

/// State of the wave: it begins once enough hosts have succeeded (`AwaitingEvidence`), it reaches more hosts over time
/// (`Running`), it has stopped because too many hosts failed (`Halted`), or every host may take the version
/// (`Complete`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WaveState {
    /// The wave begins once the version has succeeded on enough hosts.
    AwaitingEvidence,
    /// The wave reaches more hosts over time.
    Running,
    /// Too many hosts failed. No further host takes the version.
    Halted,
    /// Every host may take the version.
    Complete,
}
