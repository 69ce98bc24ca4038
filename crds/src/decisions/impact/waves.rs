//! The waves that the operator records after an edit of a policy, as far as the policy's status, the records and the
//! reports of hosts show (`docs/policies.md`, rules 7 and 9). The operator's own decision is in its ledger, which also
//! has what the status leaves out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::facts::ClusterState;
use crate::{
    decisions::{
        intent::Intent,
        validation::{CheckedPolicy, CheckedRollout, RequiredEvidence},
        verdict::{Candidate, Class, Host, PolicySet},
    },
    records::{
        policy::{ComponentProgress, PluginPolicyStatus, WaveState, WaveStatus},
        release::{CliRelease, ReleaseVersion},
    },
    values::{instant, name::Component, version::Version},
};

/// What an edit does to the wave of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveChange {
    /// Name of the policy.
    pub policy: String,
    /// The component of the version.
    pub component: Component,
    /// The version that spreads over the hosts.
    pub version: Version,
    /// What happens to its wave.
    pub kind: WaveChangeKind,
}

/// What an edit can do to a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaveChangeKind {
    /// The annotation of the policy resumes its halt.
    Resumes,
    /// It begins now, and reaches the last host after this time.
    Begins {
        /// The time in which a version reaches every host.
        over: Duration,
    },
    /// It does not begin before the version has succeeded on enough hosts.
    Awaits {
        /// Number of hosts.
        hosts: u32,
        /// Time for which each of them must have reported the version as up to date.
        stable_for: Duration,
    },
}

/// An edit of one policy, and what is known of its waves.
pub(super) struct WaveEdit<'a> {
    /// The policy before the edit. `None`: it is new, or invalid.
    pub(super) before: Option<&'a CheckedPolicy>,
    pub(super) after: &'a CheckedPolicy,
    /// The status before the edit.
    pub(super) status: &'a PluginPolicyStatus,
    pub(super) cluster: ClusterState<'a>,
}

/// The waves of a policy after an edit.
#[derive(Debug, Default)]
pub(super) struct EditedWaves {
    pub(super) components: Vec<ComponentProgress>,
    pub(super) changes: Vec<WaveChange>,
}

/// One version of a component, and its wave in the status.
struct RecordedWave<'a> {
    component: &'a Component,
    release: &'a CliRelease,
    version: Version,
    entry: &'a ReleaseVersion,
    wave: Option<&'a WaveStatus>,
    /// Whether the status has an entry for the component: a wave that is missing there is then complete, or waits.
    in_status: bool,
}

/// When a wave begins.
#[derive(Debug, Default)]
struct Start {
    /// `None`: it waits, or there is none.
    since: Option<Timestamp>,
    /// Of a wave that waits for evidence: the number of hosts on which the version has succeeded.
    succeeded: Option<u32>,
    /// What the edit does to the wave.
    kind: Option<WaveChangeKind>,
}

impl RecordedWave<'_> {
    /// Returns the entry of the status. `None`: there is no wave.
    fn status(&self, start: &Start, halted_at: Option<Timestamp>) -> Option<WaveStatus> {
        let state = match (halted_at, start.succeeded) {
            (Some(_), _) => Some(WaveState::Halted),
            (None, Some(_)) => Some(WaveState::AwaitingEvidence),
            (None, None) => None,
        };
        let is_known = start.since.is_some() || state.is_some();
        is_known.then(|| WaveStatus {
            version: self.entry.version.clone(),
            since: start.since.map(Time),
            state,
            failed: self.wave.map(|wave| wave.failed).unwrap_or_default(),
            succeeded: start.succeeded,
            canaries: None,
            halted_at: halted_at.map(Time),
        })
    }

    fn first_seen(&self) -> Option<Timestamp> {
        self.entry.first_seen.as_ref().map(|time| time.0)
    }

    /// Returns when the wave was halted, if it is.
    fn halted_at(&self) -> Option<Timestamp> {
        let halted = self.wave.filter(|wave| wave.state == Some(WaveState::Halted))?;
        halted.halted_at.as_ref().map(|time| time.0)
    }
}

impl WaveEdit<'_> {
    /// Returns the waves after the edit.
    pub(super) fn waves(&self) -> EditedWaves {
        let mut edited = EditedWaves::default();
        let (before, after) = (self.before.map(Alone::new), Alone::new(self.after));
        for (name, release) in self.cluster.records {
            let Ok(component) = name.parse::<Component>() else { continue };
            let mut waves = Vec::new();
            for recorded in self.recorded(&component, release) {
                let (wave, kind) = self.edited(&recorded, before.as_ref(), &after);
                waves.extend(wave);
                let (policy, component) = (self.after.name.to_string(), component.clone());
                let change = |kind| WaveChange { policy, component, version: recorded.version, kind };
                edited.changes.extend(kind.map(change));
            }
            if !waves.is_empty() {
                let name = name.clone();
                edited.components.push(ComponentProgress { name, waves, ..ComponentProgress::default() });
            }
        }
        edited
    }

    /// Returns the versions of a record, each with its wave in the status.
    fn recorded<'r>(
        &'r self,
        component: &'r Component,
        release: &'r CliRelease,
    ) -> impl Iterator<Item = RecordedWave<'r>> {
        let progress = self.status.components.iter().find(|progress| progress.name == component.name());
        let waves = progress.map(|progress| progress.waves.as_slice()).unwrap_or_default();
        let entries = release.status.iter().flat_map(|status| &status.versions);
        entries.filter_map(move |entry| {
            let version = Version::parse(&entry.version).ok()?;
            let wave = waves.iter().find(|wave| Version::parse(&wave.version).is_ok_and(|found| found == version));
            Some(RecordedWave { component, release, version, entry, wave, in_status: progress.is_some() })
        })
    }

    /// Returns the wave of one version after the edit, if it has begun, waits or is halted, and what happens to it.
    fn edited(
        &self,
        recorded: &RecordedWave<'_>,
        before: Option<&Alone<'_>>,
        after: &Alone<'_>,
    ) -> (Option<WaveStatus>, Option<WaveChangeKind>) {
        let now = self.cluster.now;
        let halted_at = recorded.halted_at();
        let resumed = halted_at.filter(|at| self.after.resumed.names(recorded.component, &recorded.version, *at));
        let halted_at = halted_at.filter(|_| resumed.is_none());
        let was_permitted = before.is_some_and(|before| before.permits(recorded, now));
        let begun = self.begun(recorded, was_permitted);
        let begun =
            begun.map(|since| resumed.map_or(since, |halted_at| self.resumed_since(recorded, since, halted_at)));
        let rollout = self.after.rollout.as_ref().filter(|_| after.permits(recorded, now));
        let start = match (rollout, begun) {
            (None, _) => Start::default(),
            (Some(_), Some(since)) => Start { since: Some(since), ..Start::default() },
            (Some(rollout), None) => self.start(recorded, rollout, halted_at.is_some(), was_permitted),
        };
        let kind = resumed.map(|_| WaveChangeKind::Resumes).or(start.kind);
        (recorded.status(&start, halted_at), kind)
    }

    /// Decides whether the wave of a permitted version begins now.
    fn start(
        &self,
        recorded: &RecordedWave<'_>,
        rollout: &CheckedRollout,
        is_halted: bool,
        was_permitted: bool,
    ) -> Start {
        let successes = rollout.evidence.map(|evidence| (evidence, self.successes(recorded, evidence)));
        // Evidence does not begin a halted wave.
        let waits = successes.filter(|(evidence, hosts)| is_halted || *hosts < evidence.hosts);
        let kind = match waits {
            Some((RequiredEvidence { hosts, stable_for }, _)) => WaveChangeKind::Awaits { hosts, stable_for },
            None => WaveChangeKind::Begins { over: rollout.over },
        };
        let waits_already = waits.is_some() && was_permitted && self.required_evidence().is_some();
        Start {
            since: waits.is_none().then_some(self.cluster.now),
            succeeded: waits.map(|(_, hosts)| hosts),
            kind: (!is_halted && !waits_already).then_some(kind),
        }
    }

    /// Returns when the wave began, as the operator recorded it. The status leaves out most complete waves: they spread
    /// by the age of the version alone.
    fn begun(&self, recorded: &RecordedWave<'_>, was_permitted: bool) -> Option<Timestamp> {
        if let Some(since) = recorded.wave.and_then(|wave| wave.since.as_ref()) {
            return Some(since.0);
        }
        let spread = self.before.is_some_and(|before| before.rollout.is_some()) && self.required_evidence().is_none();
        let is_complete = spread && was_permitted && recorded.in_status && recorded.halted_at().is_none();
        is_complete.then(|| recorded.first_seen().unwrap_or(self.cluster.now).min(self.cluster.now))
    }

    /// Returns the evidence that the policy required before the edit.
    fn required_evidence(&self) -> Option<RequiredEvidence> {
        self.before?.rollout.as_ref()?.evidence
    }

    /// Returns the beginning of a wave that goes on where it was halted.
    fn resumed_since(&self, recorded: &RecordedWave<'_>, since: Timestamp, halted_at: Timestamp) -> Timestamp {
        let min_age = self.after.min_age(recorded.component);
        let soaked = recorded.first_seen().and_then(|first_seen| instant::after(first_seen, min_age));
        let start = soaked.map_or(since, |soaked| soaked.max(since));
        let elapsed = halted_at.duration_since(start).max(SignedDuration::ZERO);
        self.cluster.now.checked_sub(elapsed).unwrap_or(since)
    }

    /// Returns the number of hosts that have reported the version as up to date for long enough.
    fn successes(&self, recorded: &RecordedWave<'_>, evidence: RequiredEvidence) -> u32 {
        let selected =
            self.cluster.hosts.iter().filter(|host| host.managed && self.after.selector.matches(&host.labels));
        let active = selected.filter_map(|host| host.active.get(recorded.component));
        let reported = active.filter(|active| active.version.as_ref() == Some(&recorded.version));
        let counted = reported.filter(|active| {
            let counts = active.up_to_date.and_then(|up_to_date| up_to_date.counts_from(evidence.stable_for));
            counts.is_some_and(|counts| counts <= self.cluster.now)
        });
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }
}

/// One policy without the others, for the host that is last in its waves.
struct Alone<'a> {
    checked: &'a CheckedPolicy,
    set: PolicySet,
}

impl<'a> Alone<'a> {
    fn new(checked: &'a CheckedPolicy) -> Self {
        Self { checked, set: PolicySet::to_the_last_host(checked.clone()) }
    }

    /// Returns whether the policy permits the version, so that the operator begins its wave.
    fn permits(&self, RecordedWave { component, version, release, .. }: &RecordedWave<'_>, now: Timestamp) -> bool {
        let policies = self.set.for_host(Host::LAST);
        if self.checked.emergency.is_some() || policies.denied(component).is_some() {
            return false;
        }
        let rule = self.checked.rule_for(component);
        if !rule.is_some_and(|rule| rule.pins.iter().any(|pin| pin.version == *version)) {
            return policies.guidance(component, Some(version)).active_forbidden.is_none();
        }
        let candidate = Candidate::new(Host::LAST, component, version, Intent::Explicit, now).release(Some(release));
        policies.evaluate(&candidate).class() != Class::Forbidden
    }
}
