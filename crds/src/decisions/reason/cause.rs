//! What can stand against a version, one variant a cause, with the values that matter.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{PluginConflict, ReasonCode, Source};
use crate::{
    decisions::{
        clock,
        requirements::{Unchecked, Unmet},
        window::CheckedBlackout,
    },
    values::{digest::Digest, duration, field_error::FieldError, instant, version::Version},
};

/// What stands against a version. Texts from policies, records and contracts are printable.
///
/// Serialized, it is the map of its values. [`explain`](crate::decisions::explain) adds what the methods
/// return: code, policy, rule and end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Cause {
    /// `access: Deny`, or the host's own `refuse`.
    Denied {
        /// `access` of a policy, or `refuse` of the host's own rules.
        #[serde(skip)]
        by: Source,
        /// `message` of the rule.
        #[serde(rename = "policyMessage", serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        message: Option<Arc<str>>,
    },
    /// `block`, or the host's own `refuse` of one version.
    Blocked {
        /// `block` of a policy, or `refuse` of the host's own rules.
        #[serde(skip)]
        by: Source,
        /// The range that takes the version, as written; `None`: the entry is a full version.
        #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        range: Option<Arc<str>>,
        /// The blocked version that has the same layer on the host's platform; `None`: the version itself is blocked.
        #[serde(serialize_with = "optional_version", skip_serializing_if = "Option::is_none")]
        same_layer_as: Option<Box<Version>>,
        /// `message` of the rule.
        #[serde(rename = "policyMessage", serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        message: Option<Arc<str>>,
    },
    /// The version is outside `versions`.
    VersionNotPermitted {
        /// Field that limits the versions.
        #[serde(skip)]
        by: Source,
        /// Constraint in that field, printable.
        constraint: Box<str>,
        /// `message` of the rule.
        #[serde(rename = "policyMessage", serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        message: Option<Arc<str>>,
    },
    /// The version is below the host's own `minimumVersions`.
    BelowMinimum {
        /// Field that sets the minimum.
        #[serde(skip)]
        by: Source,
        /// Lowest version that is permitted.
        #[serde(serialize_with = "shown")]
        minimum: Box<Version>,
    },
    /// The version is published with another digest than `pins` names.
    NotPinned {
        /// `pins` of the policy's rule for the component.
        #[serde(skip)]
        by: Source,
        /// Digest that the pin names.
        digest: Digest,
        /// `message` of the rule.
        #[serde(rename = "policyMessage", serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        message: Option<Arc<str>>,
    },
    /// The version is a pre-release and `channel` is Stable.
    ChannelNotPermitted {
        /// Field that sets the channel.
        #[serde(skip)]
        by: Source,
        /// `message` of the rule.
        #[serde(rename = "policyMessage", serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
        message: Option<Arc<str>>,
    },
    /// A requirement is not met.
    Unmet(Box<Unmet>),
    /// Whether a requirement is met is unknown.
    Unchecked(Box<Unchecked>),
    /// Other plugins and the version exclude each other.
    Plugins(Box<PluginConflict>),
    /// The tag moved and `integrity.movedTags` is Refuse.
    TagMoved {
        /// Field that refuses moved tags; `None`: no policy sets it.
        #[serde(skip)]
        by: Option<Source>,
        /// Digest before the move.
        #[serde(serialize_with = "text")]
        from: Arc<str>,
        /// Digest after the move.
        #[serde(serialize_with = "text")]
        to: Arc<str>,
    },
    /// `paused` is true: every change waits.
    Paused {
        /// `paused` of a policy.
        #[serde(skip)]
        by: Source,
    },
    /// A policy is invalid and acts as paused.
    InvalidPolicy {
        /// Name of the policy.
        #[serde(skip)]
        policy: Arc<str>,
        /// What is wrong with it.
        #[serde(rename = "errors", serialize_with = "problem_texts")]
        problem: Arc<PolicyProblem>,
    },
    /// `updates: Frozen`: the installed version is not replaced.
    Frozen {
        /// `updates` of a policy.
        #[serde(skip)]
        by: Source,
    },
    /// `updates: Manual`: the agent does not install the version; a person may.
    Manual {
        /// Field that leaves updates to people; `None`: no policy sets it.
        #[serde(skip)]
        by: Option<Source>,
    },
    /// `minAge` is not over.
    Soaking {
        /// Field that sets the age.
        #[serde(skip)]
        by: Source,
        /// How long a version must have been published.
        #[serde(serialize_with = "length")]
        min_age: Duration,
        /// When the version was first seen.
        first_seen: Timestamp,
        /// The version is expedited, but its tag moved and no pin acknowledges the move.
        #[serde(skip)]
        expedited: bool,
    },
    /// A rule needs a record of the version.
    NoRecord {
        /// Field that needs it.
        #[serde(skip)]
        by: Source,
        /// Whether the record, the version or some data of the version is missing.
        missing: MissingRecord,
    },
    /// A rule needs a record that was synced recently.
    RecordStale {
        /// Field that needs it.
        #[serde(skip)]
        by: Source,
        /// When the record was last synced; `None`: never.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_sync_time: Option<Timestamp>,
    },
    /// `rollout`: the version's wave has not reached the host.
    NotInWave {
        /// Field that sets the rollout.
        #[serde(skip)]
        by: Source,
        /// Time in which a version reaches all hosts.
        #[serde(serialize_with = "length")]
        over: Duration,
        /// When the wave reaches the host; `None`: beyond the end of time.
        #[serde(skip)]
        until: Option<Timestamp>,
    },
    /// `rollout.requireSucceeded`: the version's wave begins once it has succeeded on enough hosts.
    AwaitingEvidence {
        /// Field that requires it.
        #[serde(skip)]
        by: Source,
        /// Number of hosts on which it must have succeeded.
        hosts: u32,
        /// How long each of them must have reported it as up to date.
        #[serde(rename = "for", serialize_with = "length")]
        stable_for: Duration,
        /// Number of hosts on which it has succeeded so far, as the operator counted.
        succeeded: u32,
    },
    /// `rollout.maxFailed`: the version's wave was halted.
    WaveHalted {
        /// Field that sets how many hosts may fail.
        #[serde(skip)]
        by: Source,
        /// When it was halted; `None`: unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        halted_at: Option<Timestamp>,
        /// How many hosts failed; 0: unknown.
        failed: u32,
    },
    /// `windows`: none is open.
    OutsideWindow {
        /// Field that sets the windows.
        #[serde(skip)]
        by: Source,
        /// Windows of several policies must be open together.
        together: bool,
        /// People have to wait, too.
        everyone: bool,
        /// When a switch may begin next: windows are open and no blackout lasts.
        #[serde(skip)]
        until: Timestamp,
    },
    /// `blackouts`: one lasts.
    Blackout {
        /// Field that sets the blackouts.
        #[serde(skip)]
        by: Source,
        /// The blackout. In a box: it would make each reason larger, and a verdict may have many.
        #[serde(flatten)]
        blackout: Box<CheckedBlackout>,
        /// People have to wait, too.
        everyone: bool,
        /// When a switch may begin next; `None`: not within 400 days.
        #[serde(skip)]
        until: Option<Timestamp>,
    },
    /// `windows` and `blackouts` never permit a switch.
    WindowsNeverMeet {
        /// Names of the policies.
        #[serde(serialize_with = "texts")]
        policies: Arc<[Arc<str>]>,
        /// People have to wait, too.
        everyone: bool,
    },
    /// The agent's view of the policies is too old.
    PolicyStale {
        /// When the API server last confirmed it; `None`: never.
        #[serde(skip_serializing_if = "Option::is_none")]
        confirmed: Option<Timestamp>,
    },
    /// The operator has not processed the policy's last edit.
    PolicyNotObserved {
        /// Field that needs the operator.
        #[serde(skip)]
        by: Source,
        /// Generation of the policy.
        generation: i64,
        /// Generation that the operator processed; `None`: none.
        #[serde(skip_serializing_if = "Option::is_none")]
        observed_generation: Option<i64>,
    },
    /// `majorUpdates: Stay`, and the installed version has another major version.
    MajorStays {
        /// Field that keeps the major version; `None`: no policy sets it.
        #[serde(skip)]
        by: Option<Source>,
    },
    /// The version is a pre-release and no policy sets `channel`.
    PreRelease,
    /// No policy applies to the host.
    NotGoverned,
    /// The clocks differ too much for the agent to act.
    ClockSkew(#[serde(serialize_with = "skew")] clock::ClockSkew),
    /// That d8 does not support policies.
    PolicyUnaware,
    /// `access: Require`: the plugin cannot be removed.
    Required {
        /// Field that requires it.
        #[serde(skip)]
        by: Source,
    },
}

/// Why a policy acts as paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyProblem {
    /// Fields are wrong, or the operator does not accept it.
    Invalid {
        /// Everything that is wrong.
        errors: Vec<FieldError>,
    },
    /// This program does not know its shape.
    Unreadable {
        /// First error of the decoder.
        why: String,
    },
}

/// What a rule needs to know of a version and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum MissingRecord {
    /// The component has no record.
    Record,
    /// The record does not list the version.
    Version,
    /// The record lists the version without the data that the rule needs.
    Data,
}

impl Cause {
    /// Returns the stable name.
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Denied { .. } => ReasonCode::Denied,
            Self::Blocked { .. } => ReasonCode::Blocked,
            Self::VersionNotPermitted { .. } => ReasonCode::VersionNotPermitted,
            Self::BelowMinimum { .. } => ReasonCode::BelowMinimum,
            Self::NotPinned { .. } => ReasonCode::NotPinned,
            Self::ChannelNotPermitted { .. } => ReasonCode::ChannelNotPermitted,
            Self::Unmet(_) => ReasonCode::Unfit,
            Self::Unchecked(_) => ReasonCode::RequirementsUnknown,
            Self::Plugins(conflict) => conflict.code(),
            Self::TagMoved { .. } => ReasonCode::TagMoved,
            Self::Paused { .. } => ReasonCode::Paused,
            Self::InvalidPolicy { .. } => ReasonCode::InvalidPolicy,
            Self::Frozen { .. } => ReasonCode::Frozen,
            Self::Manual { .. } => ReasonCode::Manual,
            Self::Soaking { .. } => ReasonCode::Soaking,
            Self::NoRecord { .. } => ReasonCode::NoRecord,
            Self::RecordStale { .. } => ReasonCode::RecordStale,
            Self::NotInWave { .. } => ReasonCode::NotInWave,
            Self::AwaitingEvidence { .. } => ReasonCode::AwaitingEvidence,
            Self::WaveHalted { .. } => ReasonCode::WaveHalted,
            Self::OutsideWindow { .. } => ReasonCode::OutsideWindow,
            Self::Blackout { .. } => ReasonCode::Blackout,
            Self::WindowsNeverMeet { .. } => ReasonCode::WindowsNeverMeet,
            Self::PolicyStale { .. } => ReasonCode::PolicyStale,
            Self::PolicyNotObserved { .. } => ReasonCode::PolicyNotObserved,
            Self::MajorStays { .. } => ReasonCode::MajorStays,
            Self::PreRelease => ReasonCode::PreRelease,
            Self::NotGoverned => ReasonCode::NotGoverned,
            Self::ClockSkew(_) => ReasonCode::ClockSkew,
            Self::PolicyUnaware => ReasonCode::PolicyUnaware,
            Self::Required { .. } => ReasonCode::Required,
        }
    }

    /// Returns the field that sets the rule, if one does.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Denied { by, .. }
            | Self::Blocked { by, .. }
            | Self::VersionNotPermitted { by, .. }
            | Self::BelowMinimum { by, .. }
            | Self::NotPinned { by, .. }
            | Self::ChannelNotPermitted { by, .. }
            | Self::Paused { by }
            | Self::Frozen { by }
            | Self::Soaking { by, .. }
            | Self::NoRecord { by, .. }
            | Self::RecordStale { by, .. }
            | Self::NotInWave { by, .. }
            | Self::AwaitingEvidence { by, .. }
            | Self::WaveHalted { by, .. }
            | Self::OutsideWindow { by, .. }
            | Self::Blackout { by, .. }
            | Self::PolicyNotObserved { by, .. }
            | Self::Required { by } => Some(by),
            Self::TagMoved { by, .. } | Self::Manual { by } | Self::MajorStays { by } => by.as_ref(),
            Self::Plugins(conflict) => conflict.source(),
            Self::Unmet(_)
            | Self::Unchecked(_)
            | Self::InvalidPolicy { .. }
            | Self::WindowsNeverMeet { .. }
            | Self::PolicyStale { .. }
            | Self::PreRelease
            | Self::NotGoverned
            | Self::ClockSkew(_)
            | Self::PolicyUnaware => None,
        }
    }

    /// Returns the name of the policy, if one is involved.
    pub fn policy(&self) -> Option<&str> {
        match self {
            Self::InvalidPolicy { policy, .. } => Some(policy),
            Self::Plugins(conflict) => conflict.policy(),
            _ => self.source().map(Source::policy),
        }
    }

    /// Returns when it ends by itself, in whole seconds; `None`: unknown or never.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Soaking { first_seen, min_age, .. } => instant::after(*first_seen, *min_age).map(instant::whole),
            Self::NotInWave { until, .. } | Self::Blackout { until, .. } => *until,
            Self::OutsideWindow { until, .. } => Some(*until),
            Self::Plugins(conflict) => conflict.until(),
            _ => None,
        }
    }

    /// Returns the text that the policy gives to people: the `message` of a rule, the `reason` of a blackout.
    pub fn policy_message(&self) -> Option<&str> {
        match self {
            Self::Denied { message, .. }
            | Self::Blocked { message, .. }
            | Self::VersionNotPermitted { message, .. }
            | Self::NotPinned { message, .. }
            | Self::ChannelNotPermitted { message, .. } => message.as_deref(),
            Self::Blackout { blackout, .. } => Some(&blackout.reason),
            _ => None,
        }
    }
}

fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn texts<S: Serializer>(texts: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| &**text))
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn optional_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn optional_version<S: Serializer>(version: &Option<Box<Version>>, serializer: S) -> Result<S::Ok, S::Error> {
    version.as_ref().map(ToString::to_string).serialize(serializer)
}

fn shown<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn length<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&duration::FormattedDuration(*length))
}

fn problem_texts<S: Serializer>(problem: &PolicyProblem, serializer: S) -> Result<S::Ok, S::Error> {
    match problem {
        PolicyProblem::Invalid { errors } => serializer.collect_seq(errors.iter().map(ToString::to_string)),
        PolicyProblem::Unreadable { why } => serializer.collect_seq([why]),
    }
}

fn skew<S: Serializer>(skew: &clock::ClockSkew, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("localTime", &skew.local)?;
    map.serialize_entry("serverTime", &skew.server)?;
    map.end()
}
