//! The effective policy of a host: what all its policies set together, field by field, and which policy
//! sets each value. Evaluates no version.

mod compute;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    decisions::reason::Source,
    records::policy::{
        Access, MajorUpdates, MissingDependencies, MovedTags, RequireSucceeded, Subjects, Updates, Window, WindowsFor,
    },
    values::{channel::Channel, digest::Digest},
};

/// What all policies of one host set together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Policies that apply to the host, by name.
    pub policies: Vec<PolicyInEffect>,
    /// Whether all changes are paused.
    pub paused: MergedField<bool>,
    /// What happens to a plugin dependency that is not installed.
    pub missing_dependencies: MergedField<MissingDependencies>,
    /// What happens to a version whose tag moved.
    pub moved_tags: MergedField<MovedTags>,
    /// Windows. All of them must be open.
    pub windows: Vec<Attributed<Vec<Window>>>,
    /// Blackouts. None of them may last.
    pub blackouts: Vec<Attributed<Vec<BlackoutSpan>>>,
    /// Whom the windows and blackouts of each policy hold, where a policy sets it.
    pub windows_for: Vec<Attributed<WindowsFor>>,
    /// Rollouts. All of them must have reached the host.
    pub rollouts: Vec<Attributed<RolloutSettings>>,
    /// d8, then plugins by name, then prefixes such as `delivery-*`, then `*` for any other plugin.
    pub components: Vec<EffectiveComponent>,
}

/// A policy that applies to the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInEffect {
    /// Name of the policy.
    pub name: String,
    /// People to whom the policy applies; absent: everyone and the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Subjects>,
    /// Whether only Deny and `block` of it apply, because it is not known who the person is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restrictions_only: bool,
    /// Whether the policy is valid. An invalid one acts as paused.
    pub valid: bool,
    /// End of the emergency of an emergency policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emergency_until: Option<Timestamp>,
    /// What is wrong with an invalid policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Field that sets a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldSource {
    /// Name of the policy; `agent.toml` for the host's own rules.
    pub policy: String,
    /// Path in the policy's spec, such as `rules[0].access`; absent: the policy as a whole, which is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A field whose strictest value wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergedField<T> {
    /// The strictest of the values that policies set, or the default.
    pub value: T,
    /// Fields that set this value; empty: no policy sets the field, and this is its default.
    pub from: Vec<FieldSource>,
}

/// One of several values that all apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Attributed<T> {
    /// The value as one policy sets it.
    pub value: T,
    /// Field that sets it.
    #[serde(flatten)]
    pub from: FieldSource,
}

/// A blackout from `from` to `to`, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlackoutSpan {
    /// Beginning, inclusive.
    pub from: Timestamp,
    /// End, exclusive.
    pub to: Timestamp,
    /// Why nothing may change.
    pub reason: String,
}

/// How a policy rolls versions out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSettings {
    /// Time in which a version reaches every host, such as `48h`.
    pub over: String,
    /// Whether `canarySelector` matches the host, so that neither the rollout nor the policy's `minAge` binds it.
    pub canary: bool,
    /// Percentage of the hosts that get a version before its wave begins: others for each version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u32>,
    /// What a version must have proven before its wave begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_succeeded: Option<RequireSucceeded>,
    /// Number of failed hosts at which a wave is halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u32>,
}

/// A version, and the digest that it must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PinnedDigest {
    /// Version that must have the digest. Other versions are not restricted.
    pub version: String,
    /// Digest of its index, manifest or layer.
    pub digest: Digest,
}

/// What applies to one component, or to all plugins with a prefix that no other entry names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveComponent {
    /// `d8`, the name of a plugin, or a prefix with a trailing `*`.
    pub component: String,
    /// Whether it may be installed; absent for d8, which no policy takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<MergedField<Access>>,
    /// Constraints. A version must meet all of them.
    pub versions: Vec<Attributed<String>>,
    /// Versions and ranges that may neither be installed nor run.
    pub block: Vec<Attributed<String>>,
    /// Versions that are considered; the value is absent where no policy sets a channel, so that a person must
    /// name a pre-release.
    pub channel: MergedField<Option<Channel>>,
    /// Settings that need a record; absent for a plugin whose name (`my_plugin`) no record can have.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordSettings>,
    /// Messages that are shown with what the rules forbid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Attributed<String>>,
}

/// Settings that apply only to a component that can have a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSettings {
    /// Who starts an update.
    pub updates: MergedField<Updates>,
    /// Whether an update may change the major version.
    pub major_updates: MergedField<MajorUpdates>,
    /// How long a version must have been published, such as `72h`; without policies whose canary the host is.
    pub min_age: MergedField<String>,
    /// Versions that must have a digest.
    pub pins: Vec<Attributed<PinnedDigest>>,
    /// Versions that `minAge`, rollout and windows of the same policy do not bind. Those of an emergency policy are
    /// bound by no policy's, nor by `updates: Manual`, until the emergency ends.
    pub expedite: Vec<Attributed<String>>,
}

impl From<&Source> for FieldSource {
    fn from(source: &Source) -> Self {
        Self { policy: source.policy().to_owned(), field: Some(source.path()) }
    }
}

/// Formats it as sentences name it: `policy p, rules[0].access`.
impl fmt::Display for FieldSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "policy {}, {field}", self.policy),
            None => write!(f, "policy {}, which is invalid", self.policy),
        }
    }
}
