//! Where a policy leads each component, what holds that back, and where its waves are. Pure; the verdict
//! is `crds`'s, asked for the host that comes last.

use std::{collections::BTreeMap, convert::Infallible};

use d8_crds::{
    decisions::{
        intent::Intent,
        selection::{SearchScope, Selection, TagList, choose},
        validation::{CheckedPolicy, CheckedWave},
        verdict::{Candidate, Class, Host, HostPolicies, PolicySet, ReasonCode, Verdict},
        wave,
    },
    records::{
        policy::{ComponentProgress, MajorUpdates, WaveState, WaveStatus},
        release::{CliRelease, Fit, ReleaseVersion},
    },
    values::{channel::Channel, limits, name::Component, version::Version},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{
    ledger::{Entry, Ledger},
    waves::{Failures, Offer},
};
use crate::hosts::{Matched, Span};

/// Most waves that a status shows, halted ones not counted: with some 110 bytes each it stays far from
/// the 1.5 MiB that etcd takes.
const MAX_WAVES: usize = 4096;

/// A record, its versions read once: newest first.
pub(crate) struct Record<'a> {
    pub(crate) component: Component,
    pub(crate) versions: Vec<(Version, &'a ReleaseVersion)>,
    release: &'a CliRelease,
}

impl<'a> Record<'a> {
    /// Reads a record. None: the API server refuses such names.
    pub(crate) fn read(release: &'a CliRelease) -> Option<Self> {
        let component = release.name_any().parse().ok()?;
        let recorded = release.status.iter().flat_map(|status| &status.versions);
        let mut versions: Vec<_> = recorded.filter_map(|r| Some((Version::parse(&r.version).ok()?, r))).collect();
        versions.sort_by(|(a, _), (b, _)| b.cmp(a));
        Some(Self { component, versions, release })
    }

    /// What the record publishes.
    pub(crate) fn channel(&self) -> Channel {
        self.release.spec.channel
    }

    /// What it has, for a policy that denies the component.
    pub(crate) fn refused(&self) -> Vec<Offer> {
        self.offers(|_| false)
    }

    fn offers(&self, permits: impl Fn(&Version) -> bool) -> Vec<Offer> {
        let offer = |(version, entry): &(Version, &ReleaseVersion)| Offer {
            version: version.clone(),
            permitted: permits(version),
            first_seen: entry.first_seen.as_ref().map(|time| time.0),
        };
        self.versions.iter().map(offer).collect()
    }
}

/// Whoever comes last in every wave; no label matters.
const LAST: Host<'static> = Host { id: "", labels: &NO_LABELS, new_root: true };
static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The policy as it speaks to the last host, with the waves that the ledger knows instead of those of its
/// status.
pub(crate) fn with_waves(checked: &CheckedPolicy, ledger: &Ledger) -> PolicySet {
    let wave = |(version, entry): (&Version, &Entry)| CheckedWave {
        version: version.clone(),
        since: Some(entry.since),
        halted: entry.halt.is_some(),
        halted_at: entry.halt.map(|halt| halt.at),
        failed: 0,
    };
    let mut checked = checked.clone();
    let entries = ledger.entries.iter();
    checked.waves = entries.map(|(name, versions)| (name.clone(), versions.iter().map(wave).collect())).collect();
    PolicySet::to_the_last_host(checked)
}

/// A policy, asked without a host.
pub(crate) struct Word<'a> {
    checked: &'a CheckedPolicy,
    policies: HostPolicies<'a>,
    now: Timestamp,
}

impl<'a> Word<'a> {
    /// The policy's word at this instant; `policies` is that policy as it speaks to the last host.
    pub(crate) fn new(checked: &'a CheckedPolicy, policies: &'a PolicySet, now: Timestamp) -> Self {
        Self { checked, policies: policies.for_host(LAST), now }
    }

    /// Whether it speaks of the component otherwise than by denying it.
    pub(crate) fn governs(&self, component: &Component) -> bool {
        self.policies.denied(component).is_none()
    }

    /// What a record has, and whether the policy permits it.
    pub(crate) fn offers(&self, record: &Record<'_>) -> Vec<Offer> {
        record.offers(|version| self.permits(record, version))
    }

    /// Nothing that it says forbids the version. Asked of thousands of versions: where no pin needs the
    /// record's digests, by what would make the version leave, which is nothing else.
    fn permits(&self, record: &Record<'_>, version: &Version) -> bool {
        let rule = self.checked.rule_for(&record.component);
        if !rule.is_some_and(|rule| rule.pins.iter().any(|pin| pin.version == *version)) {
            return self.policies.guidance(&record.component, Some(version)).leave.is_none();
        }
        let case =
            Candidate::new(LAST, &record.component, version, Intent::Explicit, self.now).release(Some(record.release));
        self.policies.judge(&case).class() != Class::Forbidden
    }

    /// It lets hosts go on to another major version.
    fn crosses(&self, component: &Component) -> bool {
        self.policies.guidance(component, None).major_updates == MajorUpdates::Cross
    }

    /// What the agent of the last host would say to the version, an older one of its major being installed.
    fn judge(&self, record: &Record<'_>, version: &Version) -> Verdict {
        let older = Version::parse(&format!("{}.0.0-0", version.major())).ok();
        let case = Candidate::new(LAST, &record.component, version, Intent::Agent, self.now)
            .confirmed(Some(self.now))
            .active(older.as_ref())
            .release(Some(record.release));
        self.policies.judge(&case)
    }
}

/// What becomes of one component.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    /// As the status shows it.
    pub(crate) shown: ComponentProgress,
    /// Not all its waves show.
    pub(crate) trimmed: bool,
    /// The wave of its target is under way, until then.
    pub(crate) rolling: Option<Timestamp>,
    /// When any of it changes by itself.
    pub(crate) next: Option<Timestamp>,
}

/// Looks at one component.
pub(crate) fn progress(
    word: &Word<'_>,
    record: &Record<'_>,
    ledger: &Ledger,
    failures: &Failures,
    matched: &Matched,
) -> Progress {
    let span = matched.active.get(record.component.name());
    let (target, hold) = target(word, record, span);
    let mut shown = ComponentProgress {
        name: record.component.name().to_owned(),
        target: target.map(|(_, entry)| entry.version.clone()),
        hold: hold.map(|(code, _)| code.to_string()),
        until: hold.and_then(|(_, until)| until).map(Time),
        waves: Vec::new(),
    };
    let mut next = hold.and_then(|(_, until)| until);
    let mut rolling = None;
    for (version, entry) in &record.versions {
        let Some(kept) = ledger.entry(&shown.name, version) else { continue };
        let first_seen = entry.first_seen.as_ref().map(|time| time.0);
        let Some(clock) = Clock::of(word, &record.component, version, first_seen, kept) else { continue };
        let is_target = target.is_some_and(|(t, _)| t == version);
        let failed = failures.of(&shown.name, version);
        let state = match kept.halt {
            Some(_) => WaveState::Halted,
            None if clock.is_over(word.now) => WaveState::Complete,
            None => WaveState::Running,
        };
        next = [next, clock.next(word.now)].into_iter().flatten().min();
        if is_target && state == WaveState::Running && clock.has_begun(word.now) {
            rolling = clock.end;
        }
        // Without its start, a wave that is over is over.
        if state == WaveState::Complete && failed == 0 && !is_target {
            continue;
        }
        shown.waves.push(WaveStatus {
            version: entry.version.clone(),
            since: Some(Time(kept.since)),
            state: Some(state),
            failed,
            halted_at: kept.halt.map(|halt| Time(halt.at)),
        });
    }
    let trimmed = bound(&mut shown.waves, limits::WAVES);
    Progress { shown, trimmed, rolling, next }
}

/// Keeps the first so many waves, newest first, and halted ones before all others. Says whether some went.
fn bound(waves: &mut Vec<WaveStatus>, most: usize) -> bool {
    let trimmed = waves.len() > most;
    if trimmed {
        let halted = waves.iter().filter(|wave| wave.state == Some(WaveState::Halted)).count();
        let mut room = most.saturating_sub(halted);
        waves.retain(|wave| {
            let halted = wave.state == Some(WaveState::Halted);
            let kept = halted || room > 0;
            room = room.saturating_sub(usize::from(!halted));
            kept
        });
        waves.truncate(most);
    }
    trimmed
}

/// Keeps what all components show together within bounds: the newest versions of each. Says whether
/// something does not show.
pub(crate) fn bound_all(components: &mut Vec<ComponentProgress>) -> bool {
    let most = limits::COMPONENTS;
    let mut trimmed = components.len() > most;
    if trimmed {
        // What holds hosts back goes last.
        components.sort_by_key(|component| component.waves.is_empty());
        components.truncate(most);
        components.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let all: usize = components.iter().map(|component| component.waves.len()).sum();
    if all > MAX_WAVES {
        let depth = (MAX_WAVES / components.len()).max(1);
        for component in components.iter_mut() {
            trimmed |= bound(&mut component.waves, depth);
        }
    }
    trimmed
}

/// When a version's wave is where.
struct Clock {
    start: Option<Timestamp>,
    /// None: beyond the end of time.
    end: Option<Timestamp>,
}

impl Clock {
    /// None: the policy has no rollout.
    fn of(
        word: &Word<'_>,
        component: &Component,
        version: &Version,
        first_seen: Option<Timestamp>,
        kept: &Entry,
    ) -> Option<Self> {
        let rollout = word.checked.rollout.as_ref()?;
        let rule = word.checked.rule_for(component);
        if rule.is_some_and(|rule| rule.expedite.contains(version)) {
            // No wave binds it.
            return Some(Self { start: Some(kept.since), end: Some(kept.since) });
        }
        let min_age = word.checked.min_age(component);
        let wave = wave::Wave::new(first_seen.unwrap_or(kept.since), min_age, Some(kept.since), rollout.over);
        let over = SignedDuration::try_from(rollout.over).ok();
        let end = wave.start().zip(over).and_then(|(start, over)| start.checked_add(over).ok());
        Some(Self { start: wave.start(), end })
    }

    fn has_begun(&self, now: Timestamp) -> bool {
        self.start.is_some_and(|start| start <= now)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        [self.start, self.end].into_iter().flatten().find(|instant| *instant > now)
    }
}

type Target<'a> = Option<(&'a Version, &'a ReleaseVersion)>;
type Hold = Option<(ReasonCode, Option<Timestamp>)>;

/// The newest version that hosts come to by themselves or by `update`, sooner or later; and what holds it
/// back, unless every host that runs the component has it. Where there is none, what stands against the
/// newest.
fn target<'a>(word: &Word<'_>, record: &'a Record<'_>, span: Option<&Span>) -> (Target<'a>, Hold) {
    let highest = span.map(|span| span.newest.major()).filter(|_| !word.crosses(&record.component));
    let list = TagList::of_record(&record.component, record.release, None);
    let scope = SearchScope { channel: Channel::Prerelease, ..SearchScope::default() };
    let Ok(selection) =
        choose(&list, &scope, |published| Ok::<_, Infallible>(reachable(word, record, &published.version, highest)));
    match selection {
        Selection::Found { version, accepted: hold, .. } => {
            let target = record.versions.iter().find(|(recorded, _)| *recorded == version.version);
            let reached = span.is_some_and(|span| span.oldest >= version.version);
            (target.map(|(version, entry)| (version, *entry)), hold.filter(|_| !reached))
        }
        selection => (None, selection.passed_over().first().and_then(|(_, hold)| *hold)),
    }
}

/// Returns what holds a version back that hosts come to, or, as an error, why they never do.
fn reachable(word: &Word<'_>, record: &Record<'_>, version: &Version, highest: Option<u64>) -> Result<Hold, Hold> {
    let entry = record.versions.iter().find(|(recorded, _)| recorded == version).map(|(_, entry)| entry);
    if entry.is_none_or(|entry| entry.fit != Fit::Fits) {
        return Err(Some((ReasonCode::Unfit, None)));
    }
    if highest.is_some_and(|highest| version.major() > highest) {
        return Err(Some((ReasonCode::MajorStays, None)));
    }
    let verdict = word.judge(record, version);
    let leading = verdict.leading().map(|reason| (reason.code, reason.until));
    let never = |code| matches!(code, ReasonCode::TagMoved | ReasonCode::PreRelease);
    if let Some(reason) = verdict.reasons().iter().find(|reason| never(reason.code)) {
        return Err(Some((reason.code, None)));
    }
    if verdict.class() == Class::Forbidden { Err(leading) } else { Ok(leading) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(states: &[WaveState]) -> Vec<WaveStatus> {
        let wave = |(n, state): (usize, &WaveState)| WaveStatus {
            version: format!("v{}.0.0", states.len() - n),
            since: None,
            state: Some(*state),
            failed: 0,
            halted_at: None,
        };
        states.iter().enumerate().map(wave).collect()
    }

    #[test]
    fn of_a_component_the_newest_waves_show_and_those_that_are_halted() {
        use WaveState::{Halted, Running};
        for (states, most, shown) in [
            (&[Running, Running][..], 2, "v2.0.0 v1.0.0"),
            (&[Running, Running, Running], 2, "v3.0.0 v2.0.0"),
            (&[Running, Running, Halted], 2, "v3.0.0 v1.0.0"),
            (&[Halted, Running, Halted], 2, "v3.0.0 v1.0.0"),
            (&[Halted, Halted, Halted], 2, "v3.0.0 v2.0.0"),
        ] {
            let mut waves = waves(states);
            assert_eq!(bound(&mut waves, most), states.len() > most);
            let found: Vec<_> = waves.iter().map(|wave| wave.version.as_str()).collect();
            assert_eq!(found.join(" "), shown, "{states:?}");
        }
    }

    #[test]
    fn all_of_them_stay_far_from_what_an_object_may_take() {
        for (components, each, trimmed) in [(100, 32, false), (1000, 20, true), (2000, 2, true)] {
            let component = |n| ComponentProgress {
                name: format!("plugin-with-a-name-{n:04}"),
                target: Some("v1.0.0".to_owned()),
                waves: waves(&vec![WaveState::Running; each]),
                ..ComponentProgress::default()
            };
            let mut all: Vec<_> = (0..components).map(component).collect();
            assert_eq!(bound_all(&mut all), trimmed, "{components}");
            let bytes = serde_json::to_string(&all).unwrap().len();
            assert!(bytes < 600 << 10, "{components}: {bytes}");
            assert!(all.iter().all(|c| c.waves.first().is_some_and(|wave| wave.version == format!("v{each}.0.0"))));
            assert!(all.is_sorted_by(|a, b| a.name < b.name));
        }
    }
}
