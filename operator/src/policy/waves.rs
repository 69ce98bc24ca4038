//! When waves begin, halt, go on and are forgotten (`docs/policies.md`, rollout). Pure: the policy's
//! word, what its hosts report, the ledger and `now` are arguments.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{policy::checked::Resumed, version::Version};
use jiff::{SignedDuration, Timestamp};

use super::ledger::{Entry, Halt, Ledger};
use crate::{hosts::Trouble, records::KEEP};

/// A host that has been switching for so long counts as failed.
pub(crate) const STUCK: SignedDuration = SignedDuration::from_mins(30);

/// How many hosts failed on a version, by component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    count: BTreeMap<String, BTreeMap<Version, u32>>,
    /// When the next host that is switching will count as failed.
    pub(crate) next: Option<Timestamp>,
}

impl Failures {
    /// Counts the hosts that failed, or are stuck at a switch. `troubles` has each host once for a
    /// component and version.
    pub(crate) fn count(troubles: &[Trouble], now: Timestamp) -> Self {
        let mut failures = Self::default();
        for trouble in troubles {
            let Ok(version) = Version::parse(&trouble.version) else { continue };
            if let Some(since) = trouble.switching_since {
                // Beyond the end of time it never does.
                let Ok(stuck) = since.checked_add(STUCK) else { continue };
                if stuck > now {
                    failures.next = Some(failures.next.map_or(stuck, |next| next.min(stuck)));
                    continue;
                }
            }
            let versions = failures.count.entry(trouble.component.to_string()).or_default();
            *versions.entry(version).or_default() += 1;
        }
        failures
    }

    /// Hosts that failed on this version.
    pub(crate) fn of(&self, component: &str, version: &Version) -> u32 {
        self.count.get(component).and_then(|versions| versions.get(version)).copied().unwrap_or_default()
    }
}

/// What a record has, and whether the policy permits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The version.
    pub(crate) version: Version,
    /// Nothing that the policy says forbids it: it may be held.
    pub(crate) permitted: bool,
    /// When it was first seen.
    pub(crate) first_seen: Option<Timestamp>,
}

/// Everything that a ledger is kept by.
pub(crate) struct Case<'a> {
    /// The policy's generation.
    pub(crate) generation: i64,
    /// At how many failed hosts a wave is halted.
    pub(crate) max_failed: Option<u32>,
    /// The halt that an admin declared over.
    pub(crate) resumed: Option<&'a Resumed>,
    /// What each record has, by component.
    pub(crate) offers: &'a BTreeMap<String, Vec<Offer>>,
    /// What the policy's hosts report.
    pub(crate) failures: &'a Failures,
    /// Components whose waves are over where the ledger has nothing: it was lost, and this was known.
    pub(crate) settled: &'a BTreeSet<String>,
    /// Now, in whole seconds.
    pub(crate) now: Timestamp,
}

/// Something that happened to a wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// The component.
    pub(crate) component: String,
    /// The version.
    pub(crate) version: Version,
    /// Hosts that failed on it.
    pub(crate) failed: u32,
    /// What happened.
    pub(crate) what: Happened,
}

/// What may happen to a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Too many hosts failed; when.
    Halted(Timestamp),
    /// The policy was edited.
    ResumedByEdit,
    /// An annotation named the halt.
    ResumedByAnnotation,
}

/// Brings the ledger up to date; says what happened.
pub(crate) fn keep(case: &Case<'_>, ledger: &mut Ledger) -> Vec<News> {
    for (component, offers) in case.offers {
        permit(case, component, offers, ledger);
    }
    forget(case, ledger);
    let mut news = Vec::new();
    for (component, versions) in &mut ledger.entries {
        for (version, entry) in versions {
            let failed = case.failures.of(component, version);
            if let Some(what) = watch(case, version, failed, entry) {
                news.push(News { component: component.clone(), version: version.clone(), failed, what });
            }
        }
    }
    news
}

/// A version's clock starts when the policy begins to permit it. One that it forbids has none, so that it
/// starts anew when it is permitted again.
fn permit(case: &Case<'_>, component: &str, offers: &[Offer], ledger: &mut Ledger) {
    let entries = ledger.entries.entry(component.to_owned()).or_default();
    for offer in offers {
        if !offer.permitted {
            entries.remove(&offer.version);
            continue;
        }
        let entry = entries.entry(offer.version.clone()).or_insert_with(|| {
            let known_before = offer.first_seen.filter(|_| case.settled.contains(component));
            Entry::new(known_before.map_or(case.now, |first_seen| first_seen.min(case.now)))
        });
        entry.gone_since = None;
    }
}

/// What no record has any more stays for a while: a record may be made anew.
fn forget(case: &Case<'_>, ledger: &mut Ledger) {
    for (component, versions) in &mut ledger.entries {
        let offers = case.offers.get(component).map(Vec::as_slice).unwrap_or_default();
        versions.retain(|version, entry| {
            if offers.iter().any(|offer| offer.version == *version) {
                return true;
            }
            let since = *entry.gone_since.get_or_insert(case.now);
            case.now.duration_since(since) < KEEP
        });
    }
    ledger.entries.retain(|_, versions| !versions.is_empty());
}

/// Halts a wave, or lets it go on.
fn watch(case: &Case<'_>, version: &Version, failed: u32, entry: &mut Entry) -> Option<Happened> {
    if let Some(halt) = entry.halt {
        let by_annotation = case.resumed.is_some_and(|r| r.version == *version && r.halted_at == halt.at);
        let by_edit = halt.generation.is_some_and(|generation| generation != case.generation);
        if !by_annotation && !by_edit {
            return None;
        }
        entry.halt = None;
        entry.excused = failed;
        return Some(if by_annotation { Happened::ResumedByAnnotation } else { Happened::ResumedByEdit });
    }
    entry.excused = entry.excused.min(failed);
    let halts = case.max_failed.is_some_and(|max| failed >= max) && failed > entry.excused;
    if !halts {
        return None;
    }
    // An annotation that is left over from a halt in this very second must not name this one.
    let named = case.resumed.is_some_and(|r| r.version == *version && r.halted_at == case.now);
    let at = if named { case.now + SignedDuration::from_secs(1) } else { case.now };
    entry.halt = Some(Halt { at, generation: Some(case.generation) });
    Some(Happened::Halted(at))
}

#[cfg(test)]
mod tests {
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
        resumed: Option<Resumed>,
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
            world.resumed = Some(Resumed { version: v(version), halted_at: at(halted_at) });
            let expected = if resumes { vec![Happened::ResumedByAnnotation] } else { vec![] };
            assert_eq!(world.keep(30), expected, "{version}@{halted_at}");
            assert_eq!(world.halted_at().is_none(), resumes);
        }
    }

    #[test]
    fn a_resumed_wave_halts_again_when_another_host_fails() {
        let resume = |world: &mut World, at_: i64| {
            world.resumed = Some(Resumed { version: v("v1.4.0"), halted_at: at(at_) });
        };
        let by_annotation: fn(&mut World) = |world| {
            world.resumed = Some(Resumed { version: v("v1.4.0"), halted_at: at(20) });
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
        world.resumed = Some(Resumed { version: v("v1.4.0"), halted_at: at(20) });
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
        world.resumed = Some(Resumed { version: v("v1.4.0"), halted_at: at(15) });
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
}
