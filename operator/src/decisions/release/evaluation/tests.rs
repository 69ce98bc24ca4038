//! One record over time: a registry, a cluster, a spec and a clock.

use d8_crds::{
    records::{
        release::{CliReleaseSpec, ObservedCluster},
        requirements::VersionRequirement,
    },
    values::{channel::Channel, name::Component},
};
use jiff::Timestamp;

use super::{
    super::{
        fixtures::recorded,
        ledger::FirstSync,
        observed::{NOT_PUBLISHED, PollError, VersionError},
        selection::select_versions,
        sightings::ledger_changes,
        spec::SpecError,
    },
    *,
};
use crate::decisions::{conditions::find, retention::RetainedVersions};

mod conditions;

struct World {
    component: Component,
    spec: CliReleaseSpec,
    generation: i64,
    status: CliReleaseStatus,
    observed: Observed,
    retained: RetainedVersions,
    kubernetes: &'static str,
    ledger: ReleaseLedger,
    now: i64,
}

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self {
            component: "stronghold".parse().unwrap(),
            spec: CliReleaseSpec::default(),
            generation: 1,
            status: CliReleaseStatus::default(),
            observed: Observed::default(),
            retained: RetainedVersions::default(),
            kubernetes: "v1.33.4",
            ledger: ReleaseLedger::default(),
            now: 1_000_000,
        }
    }

    /// Returns a poll that finds these tags; an entry is `tag`, `tag=bytes` or `tag=bytes@constraint`.
    fn poll(&mut self, entries: &[&str]) -> &mut Self {
        let mut tags = BTreeSet::new();
        for entry in entries {
            let (name, rest) = entry.split_once('=').unwrap_or((entry, entry));
            let (bytes, constraint) = rest.split_once('@').unwrap_or((rest, ""));
            let digest = Digest::of(bytes.as_bytes());
            tags.insert(tag(name));
            self.observed.digests.insert(tag(name), digest.clone());
            let kubernetes = (!constraint.is_empty()).then(|| VersionRequirement { constraint: constraint.into() });
            let artifact = Artifact {
                platform: Some("linux-amd64".into()),
                manifest: digest.to_string(),
                layer: digest.to_string(),
                size_bytes: 1,
            };
            self.observed.facts.insert(
                digest,
                VersionFacts {
                    artifacts: vec![artifact],
                    requirements: Requirements { kubernetes, ..Requirements::default() },
                    created: Some(at(500)),
                    ..VersionFacts::default()
                },
            );
        }
        self.observed.set_tags(tags);
        self.observed.last_sync = Some(at(self.now));
        self.observed.poll_error = None;
        self
    }

    fn fail_poll(&mut self, reason: &str) -> &mut Self {
        self.observed.set_poll_error(PollError { reason: reason.into(), message: "502".into() });
        self
    }

    /// Evaluates the record and writes ledger and status, as the reconciler does.
    fn evaluate(&mut self) -> ReleaseEvaluation {
        let spec = CheckedSpec::read(&self.spec);
        let cluster = ObservedCluster { kubernetes: Some(self.kubernetes.to_owned()), ..ObservedCluster::default() };
        let kubernetes = Version::parse(self.kubernetes).unwrap();
        let check = |requirements: &Requirements| match &requirements.kubernetes {
            Some(v) if !d8_crds::values::constraint::Constraint::parse(&v.constraint).unwrap().matches(&kubernetes) => {
                (Fit::Unfit, vec![format!("requires Kubernetes {}, the cluster runs {kubernetes}", v.constraint)])
            }
            _ => (Fit::Fits, vec![]),
        };
        let selected = spec.as_ref().map_or_else(
            |_| SelectedVersions::default(),
            |spec| select_versions(&self.component, &self.observed.published(), spec, &self.retained),
        );
        let inputs = ReleaseInputs {
            component: &self.component,
            generation: self.generation,
            spec: spec.as_ref().map(|spec| (spec, &selected)),
            previous: &self.status,
            observed: &self.observed,
            retained: &self.retained,
            cluster: &cluster,
            check: &check,
            now: at(self.now),
        };
        self.ledger.apply(ledger_changes(&inputs, &self.ledger));
        let evaluation = evaluate(&inputs, &self.ledger);
        self.status = evaluation.status.clone();
        evaluation
    }

    fn wait(&mut self, seconds: i64) -> &mut Self {
        self.now += seconds;
        self
    }

    /// Restarts the operator: it then knows what the record shows.
    fn restart(&mut self) -> &mut Self {
        self.observed = Observed::from_status(&self.status, true);
        self
    }

    fn version(&self, name: &str) -> &ReleaseVersion {
        self.status.versions.iter().find(|v| v.version == name).unwrap_or_else(|| panic!("{name} is not recorded"))
    }

    fn names(&self) -> String {
        self.status.versions.iter().map(|v| v.version.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn condition(&self, kind: &str) -> String {
        find(&self.status.conditions, kind).map_or_else(String::new, |(truth, reason)| format!("{truth}/{reason}"))
    }

    fn first_seen(&self, name: &str) -> i64 {
        self.version(name).first_seen.as_ref().unwrap().0.as_second()
    }
}

#[test]
fn the_first_poll_fills_the_record() {
    let mut world = World::new();
    let evaluation = world.evaluate();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("Unknown/FirstSync".into(), "Unknown/NeverSynced".into())
    );
    assert_eq!(world.condition("Reconciling"), "True/FirstSync");
    assert_eq!((evaluation.pending, world.names().as_str()), (0, ""));

    world.poll(&["v1.4.0=d@>=1.34", "v1.3.3", "v1.3.0-rc.1", "latest"]).evaluate();
    assert_eq!(world.names(), "v1.4.0 v1.3.3");
    assert_eq!(world.status.latest.as_deref(), Some("v1.4.0"));
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.3.3"));
    assert_eq!(world.version("v1.4.0").fit, Fit::Unfit);
    assert_eq!(world.version("v1.4.0").reasons, ["requires Kubernetes >=1.34, the cluster runs v1.33.4"]);
    assert_eq!((world.condition("Synced"), world.condition("Ready")), ("True/Synced".into(), "True/Published".into()));
    assert_eq!((world.condition("Reconciling").as_str(), world.condition("Stalled").as_str()), ("", ""));
    assert_eq!(world.status.observed_generation, Some(1));
    assert!(world.status.conditions.iter().all(|c| c.observed_generation == Some(1)));
    assert_eq!(world.first_seen("v1.4.0"), 500, "first sync: the date of the image");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn a_change_in_the_cluster_needs_no_poll() {
    let mut world = World::new();
    world.poll(&["v1.4.0=d@>=1.34", "v1.3.3"]).evaluate();
    world.kubernetes = "v1.34.0";
    world.wait(1).evaluate();
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.4.0"));
    assert_eq!(world.status.cluster.as_ref().unwrap().kubernetes.as_deref(), Some("v1.34.0"));
    world.restart().kubernetes = "v1.33.0";
    world.wait(1).evaluate();
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.3.3"), "also after a restart");
}

#[test]
fn an_unchanged_status_is_rewritten_once_an_hour() {
    let mut world = World::new();
    let tags = ["v1.0.0"];
    world.poll(&tags).evaluate();
    let first = world.status.clone();
    world.wait(HOUR - 1).poll(&tags).evaluate();
    assert_eq!(world.status, first);
    world.restart().wait(0).evaluate();
    assert_eq!(world.status, first, "a restart changes nothing");
    world.wait(1).poll(&tags).evaluate();
    assert_eq!(world.status.last_sync_time, Some(Time(at(world.now))));
    world.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(world.status.last_sync_time, Some(Time(at(world.now))), "a change updates it at once");
}

#[test]
fn first_seen_outlives_a_lost_status_and_a_lost_ledger() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).evaluate();
    world.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!((world.first_seen("v1.0.0"), world.first_seen("v1.1.0")), (500, world.now));
    let published = world.now;
    world.wait(HOUR).status = CliReleaseStatus::default();
    world.evaluate();
    assert_eq!(world.first_seen("v1.1.0"), published, "after a lost status, from the ledger");
    world.wait(HOUR).ledger = ReleaseLedger::default();
    world.evaluate();
    assert_eq!(world.first_seen("v1.1.0"), published, "after a lost ledger, from the status");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn versions_of_the_first_list_take_the_date_of_their_image() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0"]);
    world.observed.digests.remove(&tag("v1.0.0"));
    world.observed.reading = true;
    let evaluation = world.evaluate();
    assert_eq!((evaluation.pending, world.condition("Reconciling").as_str()), (1, "True/Reading"));
    assert!(matches!(world.ledger.first_sync, FirstSync::Running(_)));
    world.wait(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0"]).evaluate();
    let seen = ["v1.0.0", "v1.1.0", "v1.2.0"].map(|v| world.first_seen(v));
    assert_eq!(seen, [500, 500, world.now], "v1.2.0 was not in the first list");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn what_appears_after_an_answer_that_found_nothing_is_new() {
    type Answer = fn(&mut World);
    let not_published: Answer = |world| drop(world.fail_poll(NOT_PUBLISHED).evaluate());
    let empty: Answer = |world| drop(world.poll(&[]).evaluate());
    let no_version: Answer = |world| drop(world.poll(&["latest", "v1"]).evaluate());
    let not_selected: Answer = |world| drop(world.poll(&["v1.0.0-rc.1"]).evaluate());
    let not_evaluated: Answer = |world| {
        world.poll(&[]);
    };
    let unanswered: Answer = |world| drop(world.fail_poll("Unavailable").evaluate());
    for (what, answer, is_new) in [
        ("nothing is published", not_published, true),
        ("an empty list", empty, true),
        ("a list without a version", no_version, true),
        ("a list without a version of the channel", not_selected, true),
        ("an empty list that was not evaluated before the next one", not_evaluated, true),
        ("no answer", unanswered, false),
    ] {
        for (lost, lose) in [
            ("", (|_| ()) as Answer),
            ("after a restart", |world| {
                world.restart();
            }),
            ("after a lost ledger", |world| world.ledger = ReleaseLedger::default()),
            ("after a lost status", |world| world.status = CliReleaseStatus::default()),
        ] {
            let mut world = World::new();
            answer(&mut world);
            let answered = world.now;
            if what.contains("not evaluated") && !lost.is_empty() {
                continue;
            }
            lose(&mut world);
            world.wait(HOUR).poll(&["v1.0.0"]).evaluate();
            let first_seen = world.first_seen("v1.0.0");
            assert_eq!(first_seen >= answered, is_new, "{what} {lost}: first seen at {first_seen}");
        }
    }
}

#[test]
fn tags_that_are_not_versions_are_listed_and_hide_no_version() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.2.4", "v1=moving", "v1.2=moving", "20240101", "latest"]);
    world.observed.malformed_tags.add("a b", "it has a blank");
    world.evaluate();
    assert_eq!(world.names(), "v1.2.4 v1.0.0");
    assert_eq!(world.status.latest.as_deref(), Some("v1.2.4"));
    assert_eq!((world.condition("Synced"), world.condition("Ready")), ("True/Synced".into(), "True/Published".into()));
    let left_out = &world.status.left_out_tags;
    let tags: Vec<&str> = left_out.tags.iter().map(|left_out| left_out.tag.as_str()).collect();
    assert_eq!((left_out.count, tags), (5, vec!["20240101", "latest", "v1", "v1.2", "a b"]));
    assert!(left_out.tags[3].reason.starts_with("`v1.2` is not a version: it must have three numbers"), "{left_out:?}");
    let before = world.status.clone();
    world.spec.versions = Some("one or two".into());
    world.generation = 2;
    world.evaluate();
    assert_eq!(world.status.left_out_tags, before.left_out_tags, "an invalid spec keeps them");
}

#[test]
fn a_record_of_an_earlier_operator_loses_the_tags_that_are_not_versions() {
    let mut world = World::new();
    let versions = ["v1.0.0", "v1", "v0"].map(|version| recorded(version, Fit::Fits)).into();
    world.status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
    world.restart().poll(&["v1.0.0", "v1"]).evaluate();
    assert_eq!(world.names(), "v1.0.0");
}

#[test]
fn a_moved_tag_starts_a_new_age() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a"]).evaluate();
    world.wait(60).poll(&["v1.0.0=b"]).evaluate();
    let moved = world.version("v1.0.0").moved.clone().unwrap();
    assert_eq!((moved.from, moved.at.0), (Digest::of(b"a").to_string(), at(world.now)));
    assert_eq!(world.first_seen("v1.0.0"), world.now, "a new age");
    let status = world.status.clone();
    world.wait(60).restart().evaluate();
    assert_eq!(world.status, status, "a restart forgets no move");
}

#[test]
fn an_unreadable_version_leaves_the_others_alone() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a", "v1.1.0"]).evaluate();
    let unreadable = VersionError { reason: "Contract".into(), message: "field requirements.kubernetes".into() };
    world.observed.unreadable.insert(tag("v1.2.0"), unreadable);
    world.observed.set_tags([tag("v1.0.0"), tag("v1.1.0"), tag("v1.2.0")].into());
    let evaluation = world.wait(60).evaluate();
    assert_eq!(world.names(), "v1.2.0 v1.1.0 v1.0.0");
    let listed = world.version("v1.2.0");
    assert_eq!((listed.fit, listed.digest.as_str(), &listed.first_seen), (Fit::Unknown, "", &None));
    assert_eq!(listed.reasons, ["cannot be read: field requirements.kubernetes"]);
    assert_eq!((world.condition("Synced"), evaluation.pending), ("False/Contract".into(), 0));
    assert_eq!(world.status.latest.as_deref(), Some("v1.2.0"), "it is published, although it cannot be read");
    world.restart();
    world.evaluate();
    assert_eq!(world.names(), "v1.2.0 v1.1.0 v1.0.0", "before the first poll after a restart");
    world.poll(&["v1.0.0=a", "v1.1.0"]).evaluate();
    assert_eq!(world.names(), "v1.1.0 v1.0.0", "its tag is gone, and it was never read");
}

#[test]
fn a_malformed_contract_leaves_the_fit_unknown() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]);
    let why = "contract of plugin stronghold v1.0.0: requirements.modules must be an object";
    world.observed.facts.insert(Digest::of(b"v1.0.0"), VersionFacts::malformed(why));
    for _ in 0..2 {
        world.evaluate();
        assert_eq!((world.version("v1.0.0").fit, world.version("v1.0.0").reasons[0].as_str()), (Fit::Unknown, why));
        assert_eq!((world.status.latest_fitting.as_deref(), world.status.latest.as_deref()), (None, Some("v1.0.0")));
        world.restart();
    }
}

#[test]
fn a_withdrawn_version_stays_and_can_come_back() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).evaluate();
    world.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(world.now))));
    assert_eq!(world.status.latest.as_deref(), Some("v1.1.0"));
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.1.0"), "a withdrawn version cannot be installed");
    let withdrawn = world.now;
    world.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))), "the time does not move");
    world.wait(60).restart().evaluate();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))));
    world.wait(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).evaluate();
    assert_eq!((world.version("v1.2.0").withdrawn.clone(), world.version("v1.2.0").moved.clone()), (None, None));
    assert_eq!(world.first_seen("v1.2.0"), 500, "the same image");
}

#[test]
fn old_withdrawn_versions_are_dropped_unless_they_are_retained() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0"]).evaluate();
    world.retained.active = [Version::parse("v1.0.0").unwrap()].into();
    world.wait(60).poll(&["v1.2.0", "v1.3.0", "v1.4.0"]).evaluate();
    assert_eq!(world.names(), "v1.4.0 v1.3.0 v1.2.0 v1.0.0");
    assert!(world.version("v1.0.0").withdrawn.is_some());
}

#[test]
fn failed_polls_drop_no_data() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).evaluate();
    for (seconds, ready) in [(60, "True/Published"), (23 * HOUR, "True/Published"), (HOUR, "False/RecordOld")] {
        let evaluation = world.wait(seconds).fail_poll("Unavailable").evaluate();
        assert_eq!((world.condition("Synced"), world.condition("Ready")), ("False/Unavailable".into(), ready.into()));
        assert_eq!((world.names().as_str(), world.status.latest.as_deref()), ("v1.0.0", Some("v1.0.0")));
        assert_eq!(
            evaluation.recheck_after.is_some(),
            ready == "True/Published",
            "evaluated again when it becomes old"
        );
    }
    world.wait(1).poll(&["v1.0.0"]).evaluate();
    assert_eq!((world.condition("Synced"), world.condition("Ready")), ("True/Synced".into(), "True/Published".into()));
}

#[test]
fn a_failed_first_poll() {
    let mut world = World::new();
    world.fail_poll("NotFound").evaluate();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("False/NotFound".into(), "False/NeverSynced".into())
    );
}

#[test]
fn two_tags_of_one_version() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a", "1.0.0=a", "v0.9.0"]).evaluate();
    assert_eq!(world.names(), "v1.0.0 v0.9.0", "the same image: the tag with v");
    world.wait(60).poll(&["v1.0.0=a", "1.0.0=b", "v0.9.0"]).evaluate();
    assert_eq!(world.names(), "v0.9.0", "different images: neither");
    assert_eq!(world.condition("Synced"), "False/AmbiguousVersion");
    assert_eq!(world.status.latest, None);
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v0.9.0"));
    let left_out = &world.status.left_out_tags;
    let listed: Vec<(&str, &str)> = left_out.tags.iter().map(|tag| (tag.tag.as_str(), tag.reason.as_str())).collect();
    let reason = |other: &str| format!("it is the same version as {other}, with another image; keep one of the tags");
    assert_eq!(listed, [("1.0.0", reason("v1.0.0").as_str()), ("v1.0.0", reason("1.0.0").as_str())]);
}

#[test]
fn a_suspended_record_is_still_evaluated() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a@>=1.34"]).evaluate();
    world.spec.suspend = true;
    world.kubernetes = "v1.34.0";
    world.wait(60).evaluate();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("False/Suspended".into(), "True/Published".into())
    );
    assert_eq!(world.version("v1.0.0").fit, Fit::Fits);
}

#[test]
fn an_invalid_spec_keeps_the_recorded_versions() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).evaluate();
    world.spec.versions = Some("one or two".into());
    world.generation = 2;
    world.wait(60).evaluate();
    assert_eq!(world.names(), "v1.0.0");
    assert_eq!(world.condition("Synced"), "False/InvalidSpec");
    assert_eq!(world.condition("Stalled"), "True/InvalidSpec");
    let stalled = world.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert!(stalled.message.starts_with("spec.versions: "), "{}", stalled.message);
    world.spec.versions = None;
    world.wait(60).evaluate();
    assert_eq!((world.condition("Synced").as_str(), world.condition("Stalled").as_str()), ("True/Synced", ""));
}

#[test]
fn platforms_limit_artifacts_and_the_latest_fitting_version() {
    for (platforms, fitting, artifacts) in [
        (None, Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64"]), Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64", "darwin-arm64"]), None, 1),
        (Some(vec!["darwin-arm64"]), None, 0),
    ] {
        let mut world = World::new();
        world.spec.platforms = platforms.as_ref().map(|list| list.iter().map(|&p| p.to_owned()).collect());
        world.poll(&["v1.0.0"]).evaluate();
        assert_eq!(world.status.latest_fitting.as_deref(), fitting, "{platforms:?}");
        assert_eq!(world.version("v1.0.0").artifacts.len(), artifacts, "{platforms:?}");
    }
}

#[test]
fn other_platforms_in_the_spec_move_no_tag() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).evaluate();
    world.spec.platforms = Some(vec!["darwin-arm64".into()]);
    world.wait(60).evaluate();
    world.spec.platforms = None;
    world.wait(60).evaluate();
    assert_eq!((world.version("v1.0.0").moved.clone(), world.first_seen("v1.0.0")), (None, 500));
}

#[test]
fn the_latest_versions_of_channel_prerelease_are_stable() {
    let mut world = World::new();
    world.spec.channel = Channel::Prerelease;
    world.poll(&["v2.0.0-rc.1", "v1.0.0"]).evaluate();
    assert_eq!(world.names(), "v2.0.0-rc.1 v1.0.0");
    assert_eq!(
        (world.status.latest.as_deref(), world.status.latest_fitting.as_deref()),
        (Some("v1.0.0"), Some("v1.0.0"))
    );
}

#[test]
fn reasons_are_limited() {
    let many: Vec<String> = (0..20).map(|n| format!("{n} {}", "x".repeat(400))).collect();
    let world = World::new();
    let check = |_: &Requirements| (Fit::Unfit, many.clone());
    let cluster = ObservedCluster::default();
    let inputs = ReleaseInputs {
        component: &world.component,
        generation: 1,
        spec: Err(&SpecError { field: "spec", why: String::new() }),
        previous: &world.status,
        observed: &world.observed,
        retained: &world.retained,
        cluster: &cluster,
        check: &check,
        now: at(1),
    };
    let (_, reasons) = fit(&inputs, &Requirements::default(), None);
    assert_eq!((reasons.len(), reasons[7].as_str()), (limits::FIT_REASONS, "and 13 more"));
    assert!(reasons.iter().all(|reason| reason.chars().count() <= limits::FIT_REASON));
}

#[test]
fn oversized_requirements_stall_the_record() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]);
    let problem = Some(VersionProblem::TooLarge("too large".into()));
    world.observed.facts.insert(Digest::of(b"v1.0.0"), VersionFacts { problem, ..VersionFacts::default() });
    world.evaluate();
    assert_eq!(world.condition("Stalled"), "True/RecordTooLarge");
    assert_eq!(world.version("v1.0.0").fit, Fit::Unknown);
}
