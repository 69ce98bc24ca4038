//! What a managed host reports in the status of its `CliHost`: the state of each component, and whether the host
//! follows its policies.
//!
//! The state of a component follows from the outcome of its plan, as the agent made it, and from the failure of its last
//! change, if that failed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    decisions::{
        clock, explain,
        plan::{Destination, Obstacle, Outcome},
        reason::Reason,
        selection::NoCandidate,
        verdict::Class,
    },
    records::host::{CliHostStatus, ComponentState, HostComponent, ObservedPolicy, REPORT_INTERVAL},
    values::{digest::Digest, limits, name::Component, text::printable_to, version::Version},
};

/// The state of one component of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentReport {
    /// The active version. `None`: nothing is installed, or in an unknown version.
    pub active: Option<Version>,
    /// Digest of the layer of the active version, if its receipt has it.
    pub digest: Option<Digest>,
    /// The version that the host will take.
    pub target: Option<Version>,
    /// The state.
    pub state: ComponentState,
    /// Code of the reason. `None`: nothing is to be said.
    pub reason: Option<String>,
    /// The reason for people.
    pub message: Option<String>,
    /// When the last of the holds ends.
    pub until: Option<Timestamp>,
}

/// What is active of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveArtifact {
    /// The version, if it is known.
    pub version: Option<Version>,
    /// Digest of its layer, if its receipt has it.
    pub digest: Option<Digest>,
}

/// A change that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The version that was to become active.
    pub version: Version,
    /// What failed, one word in CamelCase.
    pub reason: String,
    /// What failed, for people.
    pub message: String,
}

impl ComponentReport {
    /// Returns the report of an active version, without a target and without a reason.
    pub fn new(active: ActiveArtifact) -> Self {
        Self {
            active: active.version,
            digest: active.digest,
            target: None,
            state: ComponentState::UpToDate,
            reason: None,
            message: None,
            until: None,
        }
    }

    /// Returns the state of a component whose plan has this outcome. `forbidden`: why a policy forbids the active version.
    pub fn of(active: ActiveArtifact, forbidden: Option<&Reason>, outcome: &Outcome) -> Self {
        let bare = Self::new(active);
        let installed = bare.active.clone();
        let report = |state, target: Option<&Version>, reason: Option<&Reason>| Self {
            state,
            target: target.cloned(),
            reason: reason.map(|reason| reason.code().as_str().to_owned()),
            message: reason.map(explain::in_record),
            until: reason.and_then(Reason::until),
            ..bare.clone()
        };
        match (outcome.destination(installed.as_ref(), forbidden.is_some()), outcome) {
            (Destination::Takes(version), _) => report(ComponentState::Pending, Some(version), forbidden),
            (Destination::MustGo, _) => report(ComponentState::Forbidden, None, forbidden),
            (_, Outcome::Stopped(error)) => Self {
                state: ComponentState::Failed,
                target: installed,
                reason: Some("Unreadable".to_owned()),
                message: Some(printable_to(&error.to_string(), limits::STATUS_MESSAGE).into_owned()),
                ..bare
            },
            (_, Outcome::Incomplete { obstacle: Obstacle::Refused(verdict), .. }) => {
                report(ComponentState::Unfit, installed.as_ref(), verdict.leading())
            }
            (Destination::Waits(version, verdict), _) => {
                Self { until: verdict.until(), ..report(ComponentState::Held, Some(version), verdict.leading()) }
            }
            (Destination::Stays(version), _) => report(ComponentState::UpToDate, Some(version), None),
            (Destination::Nowhere, _) => missing(outcome, bare.clone(), report),
        }
    }

    /// Returns the report after a change that succeeded.
    #[must_use]
    pub fn changed(active: ActiveArtifact) -> Self {
        Self { target: active.version.clone(), ..Self::new(active) }
    }

    /// Returns the report after a change that failed.
    #[must_use]
    pub fn failed(self, failure: &FailedAttempt) -> Self {
        Self {
            target: Some(failure.version.clone()),
            state: ComponentState::Failed,
            reason: Some(printable_to(&failure.reason, limits::REASON).into_owned()),
            message: Some(printable_to(&failure.message, limits::STATUS_MESSAGE).into_owned()),
            until: None,
            ..self
        }
    }

    /// Returns the report after a change that something outside the version stopped: it is still permitted, and the next
    /// tick tries it again. Such a host is no evidence against the version.
    #[must_use]
    pub fn interrupted(self, failure: &FailedAttempt) -> Self {
        Self { state: ComponentState::Pending, ..self.failed(failure) }
    }

    /// Returns the entry of the status. `lastChange` moves only if the active version or the state did.
    fn entry(&self, component: &Component, previous: &[HostComponent], now: Timestamp) -> HostComponent {
        let name = component.name();
        let active = self.active.as_ref().map(ToString::to_string);
        let same = previous.iter().find(|entry| entry.name == name);
        let same = same.filter(|entry| entry.active == active && entry.state == self.state);
        HostComponent {
            name: name.to_owned(),
            digest: self.digest.as_ref().map(ToString::to_string),
            target: self.target.as_ref().map(ToString::to_string),
            state: self.state,
            reason: self.reason.clone(),
            message: self.message.clone(),
            until: self.until.map(Time),
            last_change: same.and_then(|entry| entry.last_change.clone()).or(Some(Time(now))),
            active,
        }
    }
}

/// Returns the report of a required component that is missing and has no installable version.
fn missing(
    outcome: &Outcome,
    bare: ComponentReport,
    report: impl Fn(ComponentState, Option<&Version>, Option<&Reason>) -> ComponentReport,
) -> ComponentReport {
    let newest = outcome.passed_over().first().map(|(_, verdict)| verdict);
    match newest {
        Some(verdict) if verdict.class() == Class::Forbidden => {
            report(ComponentState::Forbidden, None, verdict.leading())
        }
        Some(verdict) => report(ComponentState::Unfit, None, verdict.leading()),
        None => {
            let message = match outcome {
                Outcome::Nothing { why: NoCandidate::OnlyPrereleases, .. } => {
                    "only pre-releases are published, and the host takes none of them"
                }
                Outcome::Nothing { why: NoCandidate::NotInMajor(_), .. } => "no version of its major is published",
                _ => "no version is published",
            };
            ComponentReport {
                state: ComponentState::Held,
                reason: Some("NotPublished".to_owned()),
                message: Some(message.to_owned()),
                ..bare
            }
        }
    }
}

/// What a host knows about itself and its policies.
#[derive(Debug, Clone, Default)]
pub struct HostReport {
    /// Platform of the host, `<os>-<arch>`.
    pub platform: String,
    /// Version of d8.
    pub agent_version: String,
    /// The policies that apply to the host, with the generation that was read.
    pub policies: Vec<(String, i64)>,
    /// The state of each component that is installed or required.
    pub components: BTreeMap<Component, ComponentReport>,
    /// By how much the clock of the host differs from that of the API server; `None`: not known.
    pub clock_offset: Option<SignedDuration>,
    /// Which machine reports.
    pub machine: Option<String>,
    /// Another machine reported as this host.
    pub duplicate: bool,
    /// Why the policies or the records could not be read. What was reported of the components before then stays.
    pub unreadable: Option<String>,
}

/// Type of the condition of a host whose identity two machines use.
pub const DUPLICATE_IDENTITY: &str = "DuplicateIdentity";

impl HostReport {
    /// Returns the status to write; `None` if the present one says the same and is recent enough.
    pub fn status(&self, present: &CliHostStatus, generation: i64, now: Timestamp) -> Option<CliHostStatus> {
        let status = self.status_now(present, generation, now);
        let is_recent = present.last_seen.as_ref().is_some_and(|seen| now.duration_since(seen.0) < REPORT_INTERVAL);
        let same = CliHostStatus { last_seen: present.last_seen.clone(), ..status.clone() } == *present;
        (!is_recent || !same).then_some(status)
    }

    /// Returns the status as it is now.
    pub fn status_now(&self, present: &CliHostStatus, generation: i64, now: Timestamp) -> CliHostStatus {
        let conditions = self.conditions().into_iter();
        let (policies, components) = match self.unreadable {
            Some(_) => (present.policies.clone(), present.components.clone()),
            None => self.observed(present, now),
        };
        CliHostStatus {
            platform: Some(self.platform.clone()),
            agent_version: Some(self.agent_version.clone()).filter(|version| !version.is_empty()),
            last_seen: Some(Time(now)),
            machine: self.machine.clone(),
            policies,
            components,
            conditions: conditions.map(|draft| draft.condition(&present.conditions, generation, now)).collect(),
        }
    }

    fn observed(&self, present: &CliHostStatus, now: Timestamp) -> (Vec<ObservedPolicy>, Vec<HostComponent>) {
        let policies = self.policies.iter();
        let policies =
            policies.map(|(name, generation)| ObservedPolicy { name: name.clone(), generation: *generation });
        let components = self.components.iter();
        let components = components.map(|(name, report)| report.entry(name, &present.components, now));
        (policies.collect(), components.collect())
    }

    fn conditions(&self) -> Vec<ConditionDraft> {
        let policy_synced = match &self.unreadable {
            Some(why) => ConditionDraft::no("PolicySynced", "Unreadable", why),
            None => ConditionDraft::yes("PolicySynced", "Read", "the policies were read from the API server"),
        };
        let clock = match self.clock_offset {
            Some(offset) if offset.abs() > clock::TOLERANCE => {
                let seconds = offset.as_secs();
                ConditionDraft::no(
                    "ClockSynced",
                    "ClockSkew",
                    format!(
                        "the clock of the host differs from that of the API server by {seconds} s, so changes \
                         are held; correct the clock of the host"
                    ),
                )
            }
            Some(_) => ConditionDraft::yes("ClockSynced", "InSync", "the clock agrees with that of the API server"),
            None => ConditionDraft {
                status: "Unknown",
                ..ConditionDraft::yes("ClockSynced", "NotCompared", "the API server sent no time")
            },
        };
        let duplicate = self.duplicate.then(|| {
            let message = "two machines report as this host; if one of them is not yours, revoke all copies of the \
                           identity: `d8 host rotate NAME`, then join again with the new file";
            ConditionDraft::yes(DUPLICATE_IDENTITY, "OtherMachine", message)
        });
        [self.ready(), policy_synced, clock].into_iter().chain(duplicate).collect()
    }

    /// Returns whether the host follows its policies: what is held still does.
    fn ready(&self) -> ConditionDraft {
        use ComponentState::{Failed, Forbidden, Held, Pending, Switching, Unfit, UpToDate};
        let of = |states: &[ComponentState]| -> Vec<&str> {
            let found = self.components.iter().filter(|(_, report)| states.contains(&report.state));
            found.map(|(component, _)| component.name()).collect()
        };
        if let Some(why) = &self.unreadable {
            return ConditionDraft::no("Ready", "PolicyUnreadable", format!("nothing changes: {why}"));
        }
        for (state, words) in
            [(Failed, "the last change failed"), (Forbidden, "a policy forbids"), (Unfit, "requirements are not met")]
        {
            let named = of(&[state]);
            if !named.is_empty() {
                return ConditionDraft::no("Ready", &format!("{state:?}"), format!("{words}: {}", named.join(", ")));
            }
        }
        let waiting = of(&[Held, Pending, Switching]);
        if !waiting.is_empty() {
            return ConditionDraft::yes("Ready", "Waiting", format!("a newer version waits: {}", waiting.join(", ")));
        }
        if self.policies.is_empty() {
            return ConditionDraft::yes("Ready", "NotGoverned", "no policy applies to this host, so nothing changes");
        }
        let count = of(&[UpToDate]).len();
        ConditionDraft::yes("Ready", "UpToDate", format!("{count} components are up to date"))
    }
}

/// A condition without its times.
struct ConditionDraft {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl ConditionDraft {
    /// Returns a condition that is true.
    fn yes(kind: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status: "True", reason: reason.to_owned(), message: message.into() }
    }

    /// Returns a condition that is false.
    fn no(kind: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { status: "False", ..Self::yes(kind, reason, message) }
    }

    /// Returns the condition. Its transition time moves only if its status changes.
    fn condition(self, previous: &[Condition], generation: i64, now: Timestamp) -> Condition {
        let before = previous.iter().find(|condition| condition.type_ == self.kind);
        let since = before.filter(|condition| condition.status == self.status);
        Condition {
            type_: self.kind.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason,
            message: printable_to(&self.message, limits::STATUS_MESSAGE).into_owned(),
            observed_generation: Some(generation),
            last_transition_time: since.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
