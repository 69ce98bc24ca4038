//! One wave over time: what begins, halts and resumes it.

use super::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// One policy over time.
struct World {
    generation: i64,
    max_failed: Option<u32>,
    resumed: Option<ResumedHalt>,
    offers: Vec<(&'static str, bool)>,
    /// Hosts that failed on v1.4.0.
    failed: u32,
    settled: BTreeSet<String>,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        Self {
            generation: 1,
            max_failed: Some(3),
            resumed: None,
            offers: vec![("v1.4.0", true)],
            failed: 0,
            settled: BTreeSet::new(),
            ledger: Ledger::default(),
        }
    }

    /// Keeps the ledger at this second; returns what happened.
    fn keep(&mut self, second: i64) -> Vec<Happened> {
        let offer = |(version, permitted): &(&str, bool)| Offer {
            version: v(version),
            permitted: *permitted,
            first_seen: Some(at(5)),
        };
        let offers: Vec<_> = self.offers.iter().map(offer).collect();
        let offers = if offers.is_empty() { BTreeMap::new() } else { [("p".to_owned(), offers)].into() };
        let trouble = Trouble { component: "p".into(), version: "1.4.0".into(), switching_since: None };
        let troubles = vec![trouble; self.failed.try_into().unwrap()];
        let case = Case {
            generation: self.generation,
            max_failed: self.max_failed,
            resumed: self.resumed.as_ref(),
            offers: &offers,
            failures: &Failures::count(&troubles, at(second)),
            settled: &self.settled,
            now: at(second),
        };
        keep(&case, &mut self.ledger).into_iter().map(|news| news.what).collect()
    }

    fn entry(&self) -> Option<&Entry> {
        self.ledger.entry("p", &v("v1.4.0"))
    }

    fn since(&self) -> Option<i64> {
        self.entry().map(|entry| entry.since.as_second())
    }

    fn halted_at(&self) -> Option<i64> {
        self.entry()?.halt.map(|halt| halt.at.as_second())
    }
}

#[test]
fn a_wave_begins_when_the_policy_begins_to_permit_the_version() {
    let mut world = World::new();
    for (second, offers, since) in [
        (100, vec![("v1.4.0", false)], None),
        (200, vec![("v1.4.0", true)], Some(200)),
        (300, vec![("1.4.0", true)], Some(200)),
        (400, vec![("v1.5.0", true)], Some(200)),
        (500, vec![], Some(200)),
        (600, vec![("v1.4.0", true)], Some(200)),
        (700, vec![("v1.4.0", false)], None),
        (800, vec![("v1.4.0", true)], Some(800)),
    ] {
        world.offers = offers;
        assert_eq!(world.keep(second), []);
        assert_eq!(world.since(), since, "at {second}");
    }
}

#[test]
fn what_no_record_has_is_forgotten_after_a_week() {
    let mut world = World::new();
    world.keep(0);
    world.offers.clear();
    world.keep(HOUR);
    world.keep(7 * 24 * HOUR);
    assert_eq!(world.since(), Some(0));
    world.keep(7 * 24 * HOUR + HOUR);
    assert_eq!(world.ledger, Ledger::default());
}

#[test]
fn of_a_lost_ledger_what_was_settled_stays_settled() {
    let mut world = World { settled: ["p".to_owned()].into(), ..World::new() };
    world.keep(100);
    assert_eq!(world.since(), Some(5), "its age alone");
}

#[test]
fn a_wave_halts_at_as_many_failed_hosts_as_are_too_many() {
    for (max_failed, failed, halts) in
        [(Some(3), 2, false), (Some(3), 3, true), (Some(3), 4, true), (Some(1), 1, true), (None, 999, false)]
    {
        let mut world = World { max_failed, ..World::new() };
        world.keep(10);
        world.failed = failed;
        let expected = if halts { vec![Happened::Halted(at(20))] } else { vec![] };
        assert_eq!(world.keep(20), expected, "{max_failed:?} {failed}");
        assert_eq!(world.halted_at(), halts.then_some(20));
        assert_eq!(world.since(), Some(10), "a halt does not move the clock");
        world.failed = 0;
        assert_eq!(world.keep(30), [], "it stays, whoever recovers");
        assert_eq!(world.halted_at(), halts.then_some(20));
    }
}

#[test]
fn a_halt_is_resumed_by_its_own_name_only() {
    for (version, halted_at, resumes) in
        [("v1.4.0", 20, true), ("1.4.0", 20, true), ("v1.4.0", 21, false), ("v1.4.1", 20, false)]
    {
        let mut world = World { failed: 3, ..World::new() };
        world.keep(20);
        world.resumed = Some(ResumedHalt { version: v(version), halted_at: at(halted_at) });
        let expected = if resumes { vec![Happened::ResumedByAnnotation] } else { vec![] };
        assert_eq!(world.keep(30), expected, "{version}@{halted_at}");
        assert_eq!(world.halted_at().is_none(), resumes);
    }
}

#[test]
fn a_resumed_wave_halts_again_when_another_host_fails() {
    let resume = |world: &mut World, at_: i64| {
        world.resumed = Some(ResumedHalt { version: v("v1.4.0"), halted_at: at(at_) });
    };
    let by_annotation: fn(&mut World) = |world| {
        world.resumed = Some(ResumedHalt { version: v("v1.4.0"), halted_at: at(20) });
    };
    let by_edit: fn(&mut World) = |world| world.generation = 2;
    for (how, what) in [(by_annotation, Happened::ResumedByAnnotation), (by_edit, Happened::ResumedByEdit)] {
        let mut world = World { failed: 3, ..World::new() };
        assert_eq!(world.keep(20), [Happened::Halted(at(20))]);
        how(&mut world);
        assert_eq!(world.keep(30), [what]);
        for (second, failed, happened) in [
            (40, 3, vec![]),
            // One recovers, and fails again.
            (50, 2, vec![]),
            (60, 3, vec![Happened::Halted(at(60))]),
            // The annotation still names the first halt.
            (70, 4, vec![]),
        ] {
            world.failed = failed;
            assert_eq!(world.keep(second), happened, "{what:?} at {second}");
        }
        assert_eq!(world.halted_at(), Some(60));
        resume(&mut world, 60);
        assert_eq!(world.keep(80), [Happened::ResumedByAnnotation]);
    }
}

#[test]
fn a_higher_bound_counts_all_that_failed() {
    let mut world = World { failed: 3, ..World::new() };
    world.keep(20);
    (world.generation, world.max_failed) = (2, Some(5));
    assert_eq!(world.keep(30), [Happened::ResumedByEdit]);
    world.failed = 4;
    assert_eq!(world.keep(40), []);
    world.failed = 5;
    assert_eq!(world.keep(50), [Happened::Halted(at(50))]);
}

#[test]
fn two_halts_never_share_a_name() {
    let mut world = World { failed: 3, ..World::new() };
    world.keep(20);
    world.resumed = Some(ResumedHalt { version: v("v1.4.0"), halted_at: at(20) });
    assert_eq!(world.keep(20), [Happened::ResumedByAnnotation]);
    world.failed = 4;
    assert_eq!(world.keep(20), [Happened::Halted(at(21))]);
    assert_eq!(world.halted_at(), Some(21));
    assert_eq!(world.keep(20), []);
}

#[test]
fn a_halt_that_nobody_knows_the_generation_of_stays_through_edits() {
    let mut world = World::new();
    world.keep(10);
    let entry = world.ledger.entries.get_mut("p").unwrap().get_mut(&v("v1.4.0")).unwrap();
    entry.halt = Some(Halt { at: at(15), generation: None });
    world.generation = 9;
    assert_eq!(world.keep(20), []);
    world.resumed = Some(ResumedHalt { version: v("v1.4.0"), halted_at: at(15) });
    assert_eq!(world.keep(30), [Happened::ResumedByAnnotation]);
}

#[test]
fn who_counts_as_failed() {
    let trouble = |component: &str, version: &str, since: Option<i64>| Trouble {
        component: component.into(),
        version: version.into(),
        switching_since: since.map(at),
    };
    let troubles = [
        trouble("p", "v1.4.0", None),
        trouble("p", "1.4.0", Some(0)),
        trouble("p", "v1.4.0", Some(1)),
        trouble("p", "v1.4.0", Some(500)),
        trouble("p", "v1.3.0", None),
        trouble("q", "v1.4.0", None),
        trouble("p", "nonsense", None),
    ];
    let failures = Failures::count(&troubles, at(1800));
    assert_eq!(failures.of("p", &v("v1.4.0")), 2);
    assert_eq!(failures.of("p", &v("v1.3.0")), 1);
    assert_eq!(failures.of("q", &v("v1.4.0")), 1);
    assert_eq!(failures.of("q", &v("v1.3.0")), 0);
    assert_eq!(failures.next, Some(at(1801)));
}
