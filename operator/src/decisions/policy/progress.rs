//! The version of each component to which a policy leads, what holds it, and the state of its waves. The verdict comes
//! from `d8-crds`: for the host that is last in every wave.

use std::{convert::Infallible, time::Duration};

use d8_crds::{
    decisions::{
        intent::Intent,
        requirements::Findings,
        selection::{SearchScope, Selection, TagList, choose},
        validation::{CheckedPolicy, CheckedWave},
        verdict::{Candidate, Class, Host, HostPolicies, PolicySet, ReasonCode, Verdict},
        wave::{self, CanaryCounter as _},
    },
    records::{
        policy::{ComponentProgress, MajorUpdates, WaveState, WaveStatus},
        release::{CliRelease, ReleaseVersion},
    },
    values::{channel::Channel, limits, name::Component, version::Version},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{
    evidence::Evidence,
    ledger::{WaveLedger, WaveRecord},
    wave_limit::limit_waves,
    waves::{FailureCounts, WaveCandidate},
};
use crate::decisions::hosts::{MatchedHosts, VersionSpan};

/// A record whose versions are parsed, newest first.
pub(super) struct Record<'a> {
    pub(super) component: Component,
    pub(super) versions: Vec<(Version, &'a ReleaseVersion)>,
    release: &'a CliRelease,
}

impl<'a> Record<'a> {
    /// Reads a record. Returns `None` for a name that the API server would reject.
    pub(super) fn read(release: &'a CliRelease) -> Option<Self> {
        let component = release.name_any().parse().ok()?;
        let recorded = release.status.iter().flat_map(|status| &status.versions);
        let mut versions: Vec<_> = recorded.filter_map(|r| Some((Version::parse(&r.version).ok()?, r))).collect();
        versions.sort_by(|(a, _), (b, _)| b.cmp(a));
        Some(Self { component, versions, release })
    }

    /// Returns the record as it was read.
    pub(super) fn release(&self) -> &'a CliRelease {
        self.release
    }

    /// Returns the versions, none of them permitted: for a policy that denies the component.
    pub(super) fn denied_candidates(&self) -> Vec<WaveCandidate> {
        self.candidates(Duration::ZERO, |_| false)
    }

    fn candidates(&self, min_age: Duration, permits: impl Fn(&Version) -> bool) -> Vec<WaveCandidate> {
        let candidate = |(version, entry): &(Version, &ReleaseVersion)| {
            let first_seen = entry.first_seen.as_ref().map(|time| time.0);
            let soaked = first_seen.and_then(|seen| seen.checked_add(min_age).ok());
            WaveCandidate { version: version.clone(), permitted: permits(version), first_seen, soaked }
        };
        self.versions.iter().map(candidate).collect()
    }
}

/// Returns the policy for the last host, with the waves of the ledger instead of those of its status.
pub(super) fn with_waves(checked: &CheckedPolicy, ledger: &WaveLedger) -> PolicySet {
    let wave = |(version, wave): (&Version, &WaveRecord)| CheckedWave {
        version: version.clone(),
        since: wave.since,
        halted: wave.halt.is_some(),
        halted_at: wave.halt.map(|halt| halt.at),
        failed: 0,
        succeeded: None,
    };
    let mut checked = checked.clone();
    let components = ledger.waves.iter();
    checked.waves =
        components.map(|(component, waves)| (component.name().to_owned(), waves.iter().map(wave).collect())).collect();
    PolicySet::to_the_last_host(checked)
}

/// Evaluates one policy for the last host.
pub(super) struct PolicyEvaluator<'a> {
    checked: &'a CheckedPolicy,
    policies: HostPolicies<'a>,
    now: Timestamp,
}

impl<'a> PolicyEvaluator<'a> {
    /// Makes the evaluator. `policies` is the policy `checked` for the last host.
    pub(super) fn new(checked: &'a CheckedPolicy, policies: &'a PolicySet, now: Timestamp) -> Self {
        Self { checked, policies: policies.for_host(Host::LAST), now }
    }

    /// Returns whether the policy does not deny the component. An emergency policy governs nothing.
    pub(super) fn governs(&self, component: &Component) -> bool {
        self.checked.emergency.is_none() && self.policies.denied(component).is_none()
    }

    /// Returns the versions of a record, and whether the policy permits each.
    pub(super) fn candidates(&self, record: &Record<'_>) -> Vec<WaveCandidate> {
        record.candidates(self.checked.min_age(&record.component), |version| self.permits(record, version))
    }

    /// Returns whether the policy permits the version.
    fn permits(&self, record: &Record<'_>, version: &Version) -> bool {
        self.policies.permit(&record.component, version, record.release, self.now)
    }

    /// Returns whether hosts may update to another major version.
    fn crosses(&self, component: &Component) -> bool {
        self.policies.guidance(component, None).major_updates == MajorUpdates::Cross
    }

    /// Returns the verdict on the version for the agent of the last host, which has an older version of the same major
    /// installed.
    fn judge(&self, record: &Record<'_>, version: &Version, recorded: &ReleaseVersion) -> Verdict {
        let older = Version::parse(&format!("{}.0.0-0", version.major())).ok();
        let findings = Findings::recorded(recorded, None);
        let candidate = Candidate::new(Host::LAST, &record.component, version, Intent::Agent, self.now)
            .confirmed(Some(self.now))
            .active(older.as_ref())
            .unmet(&findings.unmet)
            .unchecked(&findings.unchecked)
            .release(Some(record.release));
        self.policies.evaluate(&candidate)
    }
}

/// The progress of one component.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    /// The component's entry in the status.
    pub(super) shown: ComponentProgress,
    /// Whether the entry lacks waves because there are too many.
    pub(super) trimmed: bool,
    /// End of the target's wave, if this wave is running.
    pub(super) rolling: Option<Timestamp>,
    /// The target's wave, if it waits for evidence: `1 of 3 hosts, canaries: 2`.
    pub(super) awaiting: Option<String>,
    /// When the entry changes without an event.
    pub(super) next: Option<Timestamp>,
}

/// What the progress of a component is computed from, besides its record.
#[derive(Clone, Copy)]
pub(super) struct ProgressInputs<'a> {
    pub(super) evaluator: &'a PolicyEvaluator<'a>,
    pub(super) ledger: &'a WaveLedger,
    pub(super) failures: &'a FailureCounts,
    pub(super) matched: &'a MatchedHosts,
    pub(super) evidence: Option<&'a Evidence<'a>>,
}

/// Returns the progress of one component.
pub(super) fn progress(inputs: ProgressInputs<'_>, record: &Record<'_>) -> Progress {
    let ProgressInputs { evaluator, ledger, matched, .. } = inputs;
    let span = matched.active.get(record.component.name());
    let (target, hold) = target(evaluator, record, span);
    let shown = ComponentProgress {
        name: record.component.name().to_owned(),
        target: target.map(|(_, entry)| entry.version.clone()),
        hold: hold.map(|(code, _)| code.to_string()),
        until: hold.and_then(|(_, until)| until).map(Time),
        waves: Vec::new(),
    };
    let next = hold.and_then(|(_, until)| until);
    let mut progress = Progress { shown, trimmed: false, rolling: None, awaiting: None, next };
    for (version, entry) in &record.versions {
        let is_target = target.is_some_and(|(t, _)| t == version);
        let waiting = WaveRecord::WAITING;
        let wave = match ledger.wave(&record.component, version) {
            Some(wave) => wave,
            None if inputs.evidence.is_some() && evaluator.permits(record, version) => &waiting,
            None => continue,
        };
        progress.add(inputs, record, (version, entry), wave, is_target);
    }
    progress.trimmed = limit_waves(&mut progress.shown, limits::WAVES);
    progress
}

impl Progress {
    /// Adds the wave of one version, unless nobody needs to see it.
    fn add(
        &mut self,
        inputs: ProgressInputs<'_>,
        record: &Record<'_>,
        (version, entry): (&Version, &ReleaseVersion),
        wave: &WaveRecord,
        is_target: bool,
    ) {
        let ProgressInputs { evaluator, evidence, .. } = inputs;
        let component = &record.component;
        let first_seen = entry.first_seen.as_ref().map(|time| time.0);
        let times = WaveTimes::of(evaluator, component, version, first_seen, wave);
        let state = times.state(wave, evaluator.now);
        let failed = inputs.failures.of(component, version);
        let mut shown = WaveStatus {
            version: entry.version.clone(),
            since: wave.since.map(Time),
            state: Some(state),
            failed,
            succeeded: None,
            canaries: None,
            halted_at: wave.halt.map(|halt| Time(halt.at)),
        };
        let evidence = evidence.filter(|_| wave.since.is_none());
        let successes = evidence.map(|evidence| evidence.successes(component, version));
        shown.succeeded = successes.map(|successes| successes.hosts);
        self.ends(successes.and_then(|successes| successes.next));
        self.ends(times.next(evaluator.now));
        if is_target && state == WaveState::Running && times.has_begun(evaluator.now) {
            self.rolling = times.end;
        }
        let of_target = is_target && evaluator.checked.rollout.is_some();
        if !of_target && !is_shown(evaluator, &shown) {
            return;
        }
        if let Some((evidence, succeeded)) = evidence.zip(shown.succeeded) {
            let canaries = evidence.canaries(component, version);
            shown.canaries = Some(canaries);
            let so_far = format!("{succeeded} of {} hosts, canaries: {canaries}", evidence.required.hosts);
            self.awaiting = self.awaiting.take().or_else(|| is_target.then_some(so_far));
        }
        self.shown.waves.push(shown);
    }

    /// Notes that the entry changes at this time.
    fn ends(&mut self, at: Option<Timestamp>) {
        self.next = [self.next, at].into_iter().flatten().min();
    }
}

/// Returns whether the status shows the wave of a version that is not the target.
fn is_shown(evaluator: &PolicyEvaluator<'_>, wave: &WaveStatus) -> bool {
    let rollout = evaluator.checked.rollout.as_ref();
    match wave.state {
        Some(WaveState::Halted) => true,
        _ if rollout.is_none() => false,
        Some(WaveState::AwaitingEvidence) => wave.failed > 0 || wave.succeeded > Some(0),
        // Without it, clients compute the wave from the version's age, so it is complete, too; but if the policy requires
        // evidence, they wait for it.
        Some(WaveState::Complete) => wave.failed > 0 || rollout.is_some_and(|rollout| rollout.evidence.is_some()),
        _ => true,
    }
}

/// When the wave of a version starts and ends.
struct WaveTimes {
    start: Option<Timestamp>,
    /// Absent: beyond the supported range of times.
    end: Option<Timestamp>,
}

impl WaveTimes {
    /// The times of a wave that does not spread: the policy has no rollout, or the wave has not begun.
    const NONE: Self = Self { start: None, end: None };

    fn of(
        evaluator: &PolicyEvaluator<'_>,
        component: &Component,
        version: &Version,
        first_seen: Option<Timestamp>,
        wave: &WaveRecord,
    ) -> Self {
        let Some((rollout, since)) = evaluator.checked.rollout.as_ref().zip(wave.since) else { return Self::NONE };
        let rule = evaluator.checked.rule_for(component);
        if rule.is_some_and(|rule| rule.expedite.contains(version)) {
            // An expedited version needs no wave.
            return Self { start: Some(since), end: Some(since) };
        }
        let min_age = evaluator.checked.min_age(component);
        let wave = wave::Wave::new(first_seen.unwrap_or(since), min_age, Some(since), rollout.over);
        Self { start: wave.start(), end: wave.end() }
    }

    fn state(&self, wave: &WaveRecord, now: Timestamp) -> WaveState {
        match (wave.halt, wave.since) {
            (Some(_), _) => WaveState::Halted,
            (None, None) => WaveState::AwaitingEvidence,
            (None, Some(_)) if self.end.is_some_and(|end| end <= now) => WaveState::Complete,
            (None, Some(_)) => WaveState::Running,
        }
    }

    fn has_begun(&self, now: Timestamp) -> bool {
        self.start.is_some_and(|start| start <= now)
    }

    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        [self.start, self.end].into_iter().flatten().find(|instant| *instant > now)
    }
}

type Target<'a> = Option<(&'a Version, &'a ReleaseVersion)>;
type Hold = Option<(ReasonCode, Option<Timestamp>)>;

/// Returns the newest version to which hosts update sooner or later, by themselves or with `update`, and what holds it
/// unless all hosts have it. Without such a version, returns what excludes the newest one.
fn target<'a>(
    evaluator: &PolicyEvaluator<'_>,
    record: &'a Record<'_>,
    span: Option<&VersionSpan>,
) -> (Target<'a>, Hold) {
    let highest = span.map(|span| span.newest.major()).filter(|_| !evaluator.crosses(&record.component));
    let list = TagList::of_record(&record.component, record.release, None);
    let scope = SearchScope { channel: Channel::Prerelease, ..SearchScope::default() };
    let recorded = |version: &Version| {
        let found = record.versions.iter().find(|(recorded, _)| recorded == version);
        found.map(|(version, entry)| (version, *entry))
    };
    let Ok(selection) = choose(&list, &scope, |published| {
        Ok::<_, Infallible>(match recorded(&published.version) {
            Some((version, entry)) => reachable(evaluator, record, version, entry, highest),
            None => Err(None),
        })
    });
    match selection {
        Selection::Found { version, accepted: hold, .. } => {
            let reached = span.is_some_and(|span| span.oldest >= version.version);
            (recorded(&version.version), hold.filter(|_| !reached))
        }
        selection => (None, selection.passed_over().iter().find_map(|(_, hold)| *hold)),
    }
}

/// Returns what holds a version to which hosts update sooner or later; as an error, why they never do.
fn reachable(
    evaluator: &PolicyEvaluator<'_>,
    record: &Record<'_>,
    version: &Version,
    entry: &ReleaseVersion,
    highest: Option<u64>,
) -> Result<Hold, Hold> {
    if highest.is_some_and(|highest| version.major() > highest) {
        return Err(Some((ReasonCode::MajorStays, None)));
    }
    let verdict = evaluator.judge(record, version, entry);
    let leading = verdict.leading().map(|reason| (reason.code(), reason.until()));
    let never = |code| matches!(code, ReasonCode::TagMoved | ReasonCode::PreRelease);
    if let Some(reason) = verdict.reasons().iter().find(|reason| never(reason.code())) {
        return Err(Some((reason.code(), None)));
    }
    if verdict.class() > Class::Held { Err(leading) } else { Ok(leading) }
}
