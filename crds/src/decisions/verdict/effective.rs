//! What all policies of a host come to, field by field, and whose word each is: for people who ask what
//! binds a host before any version is in question. Merges by the table in `docs/policies.md`; judges
//! nothing.

mod compute;

use std::fmt;

use serde::Serialize;

use crate::{
    decisions::reason::Source,
    records::policy::{Access, MajorUpdates, MissingDependencies, MovedTags, Updates, Window},
    values::{channel::Channel, digest::Digest},
};

/// The merged policy of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The policies that speak for it, by name.
    pub policies: Vec<PolicyInEffect>,
    /// Changes are stopped.
    pub paused: Merged<bool>,
    /// What happens to a plugin dependency that is not there.
    pub missing_dependencies: Merged<MissingDependencies>,
    /// What is done about moved tags.
    pub moved_tags: Merged<MovedTags>,
    /// Windows, all of which must be open.
    pub windows: Vec<Attributed<Vec<Window>>>,
    /// Waves, all of which must have come.
    pub rollouts: Vec<Attributed<RolloutSettings>>,
    /// d8, then plugins by name, then beginnings of names, then `*`: any other plugin.
    pub components: Vec<EffectiveComponent>,
}

/// A policy that speaks for the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInEffect {
    /// Its name.
    pub name: String,
    /// It is understood and valid. One that is not acts as paused.
    pub valid: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Where a word stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldSource {
    /// The policy; `agent.toml` is the host's own.
    pub policy: String,
    /// Where in its spec, `rules[0].access`; absent: the policy as a whole, which is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A field of which one value is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged<T> {
    /// It.
    pub value: T,
    /// Everyone who says so; empty: nobody speaks, and this is what holds then.
    pub from: Vec<FieldSource>,
}

/// One of several words that hold together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Attributed<T> {
    /// What is said.
    pub value: T,
    /// By whom.
    #[serde(flatten)]
    pub from: FieldSource,
}

/// How a policy spreads versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSettings {
    /// The time in which a version reaches every host, `48h`.
    pub over: String,
    /// This host goes first, and the policy's `minAge` does not bind it.
    pub canary: bool,
    /// At how many failed hosts a wave halts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u32>,
}

/// A version and the bytes it must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PinnedDigest {
    /// The version.
    pub version: String,
    /// Digest of its index, manifest or layer.
    pub digest: Digest,
}

/// What binds one component, or all whose names begin alike and that nobody names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveComponent {
    /// `d8`, a plugin's name, or a beginning of names with `*`.
    pub component: String,
    /// May it be here; absent of d8, which no policy takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Merged<Access>>,
    /// Constraints, all of which must hold.
    pub versions: Vec<Attributed<String>>,
    /// Versions that may neither be installed nor run.
    pub block: Vec<Attributed<String>>,
    /// Which versions are spoken of. The value is absent where nobody speaks: a pre-release must be named.
    pub channel: Merged<Option<Channel>>,
    /// What needs a record; absent of a plugin whose name (`my_plugin`) cannot have one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordSettings>,
    /// Shown with what the rules forbid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Attributed<String>>,
}

/// What binds only a component that can have a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSettings {
    /// Who starts an update.
    pub updates: Merged<Updates>,
    /// Whether an update may change the major version.
    pub major_updates: Merged<MajorUpdates>,
    /// How long a version must have been published, `72h`; not counted of policies whose canary the host
    /// is.
    pub min_age: Merged<String>,
    /// Versions bound to bytes.
    pub pins: Vec<Attributed<PinnedDigest>>,
    /// Versions for which their own policy's minAge, wave and windows do not count.
    pub expedite: Vec<Attributed<String>>,
}

impl From<&Source> for FieldSource {
    fn from(source: &Source) -> Self {
        Self { policy: source.policy().to_owned(), field: Some(source.path()) }
    }
}

/// As a sentence names it: `policy p, rules[0].access`.
impl fmt::Display for FieldSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "policy {}, {field}", self.policy),
            None => write!(f, "policy {}, which is invalid", self.policy),
        }
    }
}
