//! One wave over time: what begins, halts and resumes it.

use d8_crds::records::policy::{ComponentProgress, WaveStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn component(name: &str) -> Component {
    name.parse().unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// One policy over time.
struct WaveFixture {
    generation: i64,
    max_failed: Option<u32>,
    resumed: ResumedHalts,
    has_rollout: bool,
    /// Versions of the record, and whether the policy permits them.
    candidates: Vec<(&'static str, bool)>,
    /// Hosts that failed on v1.4.0.
    failed: u32,
    previous: PluginPolicyStatus,
    ledger: WaveLedger,
}

impl WaveFixture {
    fn new() -> Self {
        Self {
            generation: 1,
            max_failed: Some(3),
            resumed: ResumedHalts::default(),
            has_rollout: true,
            candidates: vec![("v1.4.0", true)],
            failed: 0,
            previous: PluginPolicyStatus::default(),
            ledger: WaveLedger::default(),
        }
    }

    /// Updates the waves at this second; returns what happened.
    fn update(&mut self, second: i64) -> Vec<WaveEventKind> {
        let candidate = |(version, permitted): &(&str, bool)| WaveCandidate {
            version: v(version),
            permitted: *permitted,
            first_seen: Some(at(5)),
            soaked: Some(at(5)),
        };
        let candidates: Vec<_> = self.candidates.iter().map(candidate).collect();
        let candidates = if candidates.is_empty() { BTreeMap::new() } else { [(component("p"), candidates)].into() };
        let failure = HostFailure { component: "p".into(), version: "1.4.0".into(), switching_since: None };
        let failures = vec![failure; self.failed.try_into().unwrap()];
        let inputs = WaveInputs {
            uid: Some("uid"),
            created: None,
            last_seen: None,
            generation: self.generation,
            previous: &self.previous,
            has_rollout: self.has_rollout,
            max_failed: self.max_failed.filter(|_| self.has_rollout),
            evidence: None,
            resumed: &self.resumed,
            candidates: &candidates,
            failures: &FailureCounts::new(&failures, at(second)),
            now: at(second),
        };
        let update = update(&inputs, &self.ledger);
        self.ledger.apply(update.changes);
        update.events.into_iter().map(|event| event.kind).collect()
    }

    fn wave(&self) -> Option<&WaveRecord> {
        self.ledger.wave(&component("p"), &v("v1.4.0"))
    }

    fn since(&self) -> Option<i64> {
        self.wave()?.since.map(Timestamp::as_second)
    }

    /// Sets the annotation so that it names the halt of v1.4.0 at this second.
    fn resume(&mut self, second: i64) {
        self.resumed = ResumedHalts::parse(&format!("p/v1.4.0@{}", at(second)));
    }

    fn halted_at(&self) -> Option<i64> {
        self.wave()?.halt.map(|halt| halt.at.as_second())
    }
}

#[test]
fn a_wave_begins_when_the_policy_begins_to_permit_the_version() {
    let mut fixture = WaveFixture::new();
    for (second, candidates, since) in [
        (100, vec![("v1.4.0", false)], None),
        (200, vec![("v1.4.0", true)], Some(200)),
        (300, vec![("1.4.0", true)], Some(200)),
        (400, vec![("v1.5.0", true)], Some(200)),
        (500, vec![], Some(200)),
        (600, vec![("v1.4.0", true)], Some(200)),
        (700, vec![("v1.4.0", false)], None),
        (800, vec![("v1.4.0", true)], Some(800)),
    ] {
        fixture.candidates = candidates;
        assert_eq!(fixture.update(second), []);
        assert_eq!(fixture.since(), since, "at {second}");
    }
}

#[test]
fn a_version_without_a_record_is_forgotten_after_a_week() {
    let mut fixture = WaveFixture::new();
    fixture.update(0);
    fixture.candidates.clear();
    fixture.update(HOUR);
    fixture.update(7 * 24 * HOUR);
    assert_eq!(fixture.since(), Some(0));
    fixture.update(7 * 24 * HOUR + HOUR);
    assert!(fixture.ledger.waves.is_empty());
}

#[test]
fn a_wave_that_was_complete_before_the_ledger_was_lost_stays_complete() {
    let previous = PluginPolicyStatus {
        observed_generation: Some(1),
        components: vec![ComponentProgress { name: "p".into(), ..ComponentProgress::default() }],
        ..PluginPolicyStatus::default()
    };
    let mut fixture = WaveFixture { previous, ..WaveFixture::new() };
    fixture.update(100);
    assert_eq!(fixture.since(), Some(5), "its age alone counts");
}

#[test]
fn a_lost_ledger_is_restored_from_the_status() {
    let wave = |version: &str, since: i64, state, halted_at: Option<i64>| WaveStatus {
        version: version.to_owned(),
        since: Some(Time(at(since))),
        state: Some(state),
        failed: 0,
        succeeded: None,
        canaries: None,
        halted_at: halted_at.map(|second| Time(at(second))),
    };
    let waves = vec![
        wave("v1.3.3", 50, WaveState::Running, None),
        wave("v1.3.2", 40, WaveState::Halted, Some(60)),
        wave("v1.3.1", 500, WaveState::Running, None),
        wave("nonsense", 1, WaveState::Running, None),
    ];
    let status = PluginPolicyStatus {
        observed_generation: Some(4),
        components: vec![ComponentProgress { name: "stronghold".into(), waves, ..ComponentProgress::default() }],
        ..PluginPolicyStatus::default()
    };
    let halt = Some(Halt { at: at(60) });
    let expected = [
        (v("v1.3.3"), WaveRecord::new(at(50))),
        (v("v1.3.2"), WaveRecord { halt, ..WaveRecord::new(at(40)) }),
        (v("v1.3.1"), WaveRecord::new(at(100))),
    ];
    let expected =
        WaveLedger { uid: None, deleted_at: None, waves: [(component("stronghold"), expected.into())].into() };
    for (generation, complete) in [(4, [component("stronghold")].into()), (5, BTreeSet::new())] {
        let mut ledger = WaveLedger::default();
        assert_eq!(restore(&mut ledger, &status, generation, at(100)), complete);
        assert_eq!(ledger, expected);
    }
}

#[test]
fn a_wave_halts_when_max_failed_hosts_failed() {
    for (max_failed, failed, halts) in
        [(Some(3), 2, false), (Some(3), 3, true), (Some(3), 4, true), (Some(1), 1, true), (None, 999, false)]
    {
        let mut fixture = WaveFixture { max_failed, ..WaveFixture::new() };
        fixture.update(10);
        fixture.failed = failed;
        let expected = if halts { vec![WaveEventKind::Halted(at(20))] } else { vec![] };
        assert_eq!(fixture.update(20), expected, "{max_failed:?} {failed}");
        assert_eq!(fixture.halted_at(), halts.then_some(20));
        assert_eq!(fixture.since(), Some(10), "a halt does not move the clock");
        fixture.failed = 0;
        assert_eq!(fixture.update(30), [], "a halt stays if hosts recover");
        assert_eq!(fixture.halted_at(), halts.then_some(20));
    }
}

#[test]
fn an_annotation_resumes_only_the_halts_it_names() {
    let (halted, other) = (at(20), at(21));
    for (annotation, resumes) in [
        (format!("p/v1.4.0@{halted}"), true),
        (format!("p/1.4.0@{halted}"), true),
        ("p/v1.4.0+build@1970-01-01T01:00:20+01:00".to_owned(), true),
        (format!("q/v1.4.0@{halted}, p/v1.4.0@{halted}"), true),
        (format!("nonsense,p/v1.4.0@{halted},"), true),
        (format!("p/v1.4.0@{other}"), false),
        (format!("p/v1.4.1@{halted}"), false),
        (format!("q/v1.4.0@{halted}"), false),
        (format!("v1.4.0@{halted}"), false),
        (format!("p/v1.4.0@{halted} q/v1.4.0@{halted}"), false),
        (String::new(), false),
    ] {
        let mut fixture = WaveFixture { failed: 3, ..WaveFixture::new() };
        fixture.update(20);
        fixture.resumed = ResumedHalts::parse(&annotation);
        let expected = if resumes { vec![WaveEventKind::Resumed] } else { vec![] };
        assert_eq!(fixture.update(30), expected, "{annotation}");
        assert_eq!(fixture.halted_at().is_none(), resumes);
    }
}

#[test]
fn nothing_but_the_annotation_resumes_a_halt() {
    let changes: [fn(&mut WaveFixture); 6] = [
        |fixture| fixture.generation = 2,
        |fixture| fixture.max_failed = None,
        |fixture| fixture.max_failed = Some(9),
        |fixture| fixture.has_rollout = false,
        |fixture| fixture.candidates = vec![("v1.4.0", false)],
        |fixture| fixture.failed = 0,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut fixture = WaveFixture { failed: 3, ..WaveFixture::new() };
        assert_eq!(fixture.update(20), [WaveEventKind::Halted(at(20))]);
        let before = (fixture.max_failed, fixture.candidates.clone());
        change(&mut fixture);
        assert_eq!(fixture.update(30), [], "change {i}");
        (fixture.max_failed, fixture.candidates) = before;
        fixture.has_rollout = true;
        assert_eq!(fixture.update(40), [], "change {i} undone");
        assert_eq!(fixture.halted_at(), Some(20), "change {i}");
        fixture.resume(20);
        assert_eq!(fixture.update(50), [WaveEventKind::Resumed], "change {i}");
    }
}

#[test]
fn a_resumed_wave_goes_on_where_it_was() {
    for (begun, soaked, halted, resumed, since) in [
        (10, 5, 20, 120, 110),
        // The version had not reached minAge: the wave begins from zero.
        (10, 30, 20, 120, 120),
        (10, 15, 20, 120, 115),
    ] {
        let mut ledger = WaveLedger { uid: Some("uid".into()), ..WaveLedger::default() };
        let wave = WaveRecord { halt: Some(Halt { at: at(halted) }), ..WaveRecord::new(at(begun)) };
        ledger.waves.insert(component("p"), [(v("v1.4.0"), wave)].into());
        let candidate =
            WaveCandidate { version: v("v1.4.0"), permitted: true, first_seen: None, soaked: Some(at(soaked)) };
        let inputs = WaveInputs {
            uid: Some("uid"),
            created: None,
            last_seen: None,
            generation: 1,
            previous: &PluginPolicyStatus::default(),
            has_rollout: true,
            max_failed: None,
            evidence: None,
            resumed: &ResumedHalts::parse(&format!("p/v1.4.0@{}", at(halted))),
            candidates: &[(component("p"), vec![candidate])].into(),
            failures: &FailureCounts::default(),
            now: at(resumed),
        };
        ledger.apply(update(&inputs, &ledger).changes);
        assert_eq!(ledger.wave(&component("p"), &v("v1.4.0")), Some(&WaveRecord::new(at(since))), "{begun} {soaked}");
    }
}

#[test]
fn a_resumed_wave_halts_again_when_another_host_fails() {
    let mut fixture = WaveFixture { failed: 3, ..WaveFixture::new() };
    assert_eq!(fixture.update(20), [WaveEventKind::Halted(at(20))]);
    fixture.resume(20);
    assert_eq!(fixture.update(30), [WaveEventKind::Resumed]);
    for (second, failed, expected) in [
        (40, 3, vec![]),
        // A host recovers and fails again.
        (50, 2, vec![]),
        (60, 3, vec![WaveEventKind::Halted(at(60))]),
        // The annotation still names the first halt.
        (70, 4, vec![]),
    ] {
        fixture.failed = failed;
        assert_eq!(fixture.update(second), expected, "at {second}");
    }
    assert_eq!(fixture.halted_at(), Some(60));
    fixture.resume(60);
    assert_eq!(fixture.update(80), [WaveEventKind::Resumed]);
}

#[test]
fn two_halts_never_have_the_same_time() {
    let mut fixture = WaveFixture { failed: 3, ..WaveFixture::new() };
    fixture.update(20);
    fixture.resume(20);
    assert_eq!(fixture.update(20), [WaveEventKind::Resumed]);
    fixture.failed = 4;
    assert_eq!(fixture.update(20), [WaveEventKind::Halted(at(21))]);
    assert_eq!(fixture.halted_at(), Some(21));
    assert_eq!(fixture.update(20), []);
}

#[test]
fn failed_and_stuck_hosts_are_counted() {
    let failure = |name: &str, version: &str, since: Option<i64>| HostFailure {
        component: name.into(),
        version: version.into(),
        switching_since: since.map(at),
    };
    let failures = [
        failure("p", "v1.4.0", None),
        failure("p", "1.4.0", Some(0)),
        failure("p", "v1.4.0", Some(1)),
        failure("p", "v1.4.0", Some(500)),
        failure("p", "v1.3.0", None),
        failure("q", "v1.4.0", None),
        failure("p", "nonsense", None),
    ];
    let counts = FailureCounts::new(&failures, at(1800));
    assert_eq!(counts.of(&component("p"), &v("v1.4.0")), 2);
    assert_eq!(counts.of(&component("p"), &v("v1.3.0")), 1);
    assert_eq!(counts.of(&component("q"), &v("v1.4.0")), 1);
    assert_eq!(counts.of(&component("q"), &v("v1.3.0")), 0);
    assert_eq!(counts.next, Some(at(1801)));
}
