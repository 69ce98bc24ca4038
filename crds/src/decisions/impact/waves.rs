//! The waves that the operator records after an edit of a policy, as far as the policy's status, the records and the
//! reports of hosts show (`docs/policies.md`, rules 7 and 9). The operator's own decision is in its ledger, which also
//! has what the status leaves out.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{facts::ClusterState, wave_reports::WaveReports};
use crate::{
    decisions::{
        validation::{CheckedPolicy, CheckedRollout, RequiredEvidence},
        verdict::{Host, PolicySet},
        wave::{self, Wave},
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
    /// It begins.
    Begins {
        /// When: now, or when the version reaches the policy's minAge.
        at: Timestamp,
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
    /// So many hosts have failed already that it is halted now.
    Halts {
        /// Number of hosts.
        failed: u32,
        /// The number that halts it.
        max_failed: u32,
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
    pub(super) reports: WaveReports<'a>,
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
        before: Option<&Alone>,
        after: &Alone,
    ) -> (Option<WaveStatus>, Option<WaveChangeKind>) {
        let now = self.cluster.now;
        let halted_at = recorded.halted_at();
        let resumed = halted_at.filter(|at| self.after.resumed.names(recorded.component, &recorded.version, *at));
        let halted_at = halted_at.filter(|_| resumed.is_none());
        let was_permitted = before.is_some_and(|before| before.permits(recorded, now));
        let begun = self.begun(recorded, was_permitted);
        let begun = begun.map(|since| {
            resumed.map_or(since, |halted_at| wave::resumed_since(since, self.soaked(recorded), halted_at, now))
        });
        let rollout = self.after.rollout.as_ref().filter(|_| after.permits(recorded, now));
        let start = match (rollout, begun) {
            (None, _) => Start::default(),
            (Some(_), Some(since)) => Start { since: Some(since), ..Start::default() },
            (Some(rollout), None) => self.start(recorded, rollout, halted_at.is_some(), was_permitted),
        };
        let halts = rollout
            .filter(|_| halted_at.is_none())
            .and_then(|rollout| self.halts(recorded, rollout, &start, resumed.is_some()));
        let kind = halts.or(resumed.map(|_| WaveChangeKind::Resumes)).or(start.kind);
        (recorded.status(&start, halted_at.or(halts.map(|_| now))), kind)
    }

    /// Decides whether the wave of a permitted version begins now.
    fn start(
        &self,
        recorded: &RecordedWave<'_>,
        rollout: &CheckedRollout,
        is_halted: bool,
        was_permitted: bool,
    ) -> Start {
        let now = self.cluster.now;
        let key = (recorded.component, &recorded.version);
        let successes =
            rollout.evidence.map(|evidence| (evidence, self.reports.succeeded.get(&key).copied().unwrap_or_default()));
        let is_met = successes.map(|(evidence, hosts)| hosts >= evidence.hosts);
        let since = wave::begins(is_met, is_halted, None, now);
        let waits = successes.filter(|_| since.is_none());
        let kind = if let Some((RequiredEvidence { hosts, stable_for }, _)) = waits {
            WaveChangeKind::Awaits { hosts, stable_for }
        } else {
            let min_age = self.after.min_age(recorded.component);
            let wave = Wave::new(recorded.first_seen().unwrap_or(now), min_age, since, rollout.over);
            WaveChangeKind::Begins { at: wave.start().unwrap_or(Timestamp::MAX), over: rollout.over }
        };
        let waits_already = waits.is_some() && was_permitted && self.required_evidence().is_some();
        Start { since, succeeded: waits.map(|(_, hosts)| hosts), kind: (!is_halted && !waits_already).then_some(kind) }
    }

    /// Returns whether failures halt the wave now.
    fn halts(
        &self,
        recorded: &RecordedWave<'_>,
        rollout: &CheckedRollout,
        start: &Start,
        is_resumed: bool,
    ) -> Option<WaveChangeKind> {
        let may_spread = start.since.is_some() || rollout.evidence.is_some();
        let max_failed = rollout.max_failed.filter(|_| may_spread && !is_resumed)?;
        let counted = self.reports.failed.get(&(recorded.component, &recorded.version));
        let counted = counted.copied().unwrap_or_default();
        let in_status = recorded.wave.map(|wave| wave.failed).unwrap_or_default();
        // The operator counted them for the hosts that the policy selects now.
        let is_for_same_hosts = self.before.is_some_and(|before| before.selector == self.after.selector);
        let failed = if is_for_same_hosts { counted.max(in_status) } else { counted };
        // A wave that goes on in spite of so many failures was resumed after them.
        let max_before = self.before.and_then(|before| before.rollout.as_ref()?.max_failed);
        let was_resumed = recorded.wave.is_some() && max_before.is_some_and(|max| in_status >= max);
        let ignored = if was_resumed { in_status } else { 0 };
        wave::halts(failed, ignored, Some(max_failed)).then_some(WaveChangeKind::Halts { failed, max_failed })
    }

    /// Returns when the wave began, as the operator recorded it. The status leaves out most complete waves: they spread
    /// by the age of the version alone.
    fn begun(&self, recorded: &RecordedWave<'_>, was_permitted: bool) -> Option<Timestamp> {
        if let Some(since) = recorded.wave.and_then(|wave| wave.since.as_ref()) {
            return Some(since.0);
        }
        let spread = self.before.is_some_and(|before| before.rollout.is_some()) && self.required_evidence().is_none();
        let is_complete = spread && was_permitted && recorded.in_status && recorded.halted_at().is_none();
        let complete_since = recorded.first_seen().filter(|_| is_complete);
        is_complete.then(|| wave::begins(None, false, complete_since, self.cluster.now))?
    }

    /// Returns the evidence that the policy required before the edit.
    fn required_evidence(&self) -> Option<RequiredEvidence> {
        self.before?.rollout.as_ref()?.evidence
    }

    /// Returns when the version reaches the policy's minAge.
    fn soaked(&self, recorded: &RecordedWave<'_>) -> Option<Timestamp> {
        instant::after(recorded.first_seen()?, self.after.min_age(recorded.component))
    }
}

/// One policy without the others, for the host that is last in its waves.
struct Alone(PolicySet);

impl Alone {
    fn new(checked: &CheckedPolicy) -> Self {
        Self(PolicySet::to_the_last_host(checked.clone()))
    }

    /// Returns whether the policy permits the version, so that the operator begins its wave.
    fn permits(&self, RecordedWave { component, version, release, .. }: &RecordedWave<'_>, now: Timestamp) -> bool {
        self.0.for_host(Host::LAST).permit(component, version, release, now)
    }
}
