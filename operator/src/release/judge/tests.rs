use d8_crds::{
    records::{release::CliReleaseSpec, requirements::VersionRequirement},
    values::channel::Channel,
};

use super::{
    super::{
        conditions::reason,
        facts::{Trouble, Unreadable},
    },
    *,
};

/// A registry, a cluster and a record, and the clock between them.
struct World {
    component: Component,
    spec: CliReleaseSpec,
    generation: i64,
    status: CliReleaseStatus,
    observed: Observed,
    wanted: Wanted,
    kubernetes: &'static str,
    ledger: Ledger,
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
            wanted: Wanted::default(),
            kubernetes: "v1.33.4",
            ledger: Ledger::default(),
            now: 1_000_000,
        }
    }

    /// A poll that finds these tags; an entry is `tag`, `tag=bytes` or `tag=bytes@constraint`.
    fn poll(&mut self, entries: &[&str]) -> &mut Self {
        let mut tags = BTreeSet::new();
        for entry in entries {
            let (name, rest) = entry.split_once('=').unwrap_or((entry, entry));
            let (bytes, constraint) = rest.split_once('@').unwrap_or((rest, ""));
            let digest = Digest::of(bytes.as_bytes());
            tags.insert(tag(name));
            self.observed.heads.insert(tag(name), digest.clone());
            let kubernetes = (!constraint.is_empty()).then(|| VersionRequirement { constraint: constraint.into() });
            let artifact = Artifact {
                platform: Some("linux-amd64".into()),
                manifest: digest.to_string(),
                layer: digest.to_string(),
                size_bytes: 1,
            };
            self.observed.facts.insert(
                digest,
                Facts {
                    artifacts: vec![artifact],
                    requirements: Requirements { kubernetes, ..Requirements::default() },
                    created: Some(at(500)),
                    ..Facts::default()
                },
            );
        }
        self.observed.tags = Some(tags);
        self.observed.synced = Some(at(self.now));
        self.observed.trouble = None;
        self
    }

    fn fails(&mut self, reason: &str) -> &mut Self {
        self.observed.trouble = Some(Trouble { reason: reason.into(), message: "502".into() });
        self
    }

    fn judge(&mut self) -> Outcome {
        let rules = Rules::read(&self.spec);
        let cluster = ObservedCluster { kubernetes: Some(self.kubernetes.to_owned()), ..ObservedCluster::default() };
        let kubernetes = Version::parse(self.kubernetes).unwrap();
        let check = |requirements: &Requirements| match &requirements.kubernetes {
            Some(v) if !d8_crds::values::constraint::Constraint::parse(&v.constraint).unwrap().matches(&kubernetes) => {
                (Fit::Unfit, vec![format!("requires Kubernetes {}, the cluster runs {kubernetes}", v.constraint)])
            }
            _ => (Fit::Fits, vec![]),
        };
        let case = Case {
            component: &self.component,
            generation: self.generation,
            rules: rules.as_ref(),
            previous: &self.status,
            observed: &self.observed,
            wanted: &self.wanted,
            cluster: &cluster,
            check: &check,
            now: at(self.now),
        };
        let outcome = judge(&case, &mut self.ledger);
        self.status = outcome.status.clone();
        outcome
    }

    fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now += seconds;
        self
    }

    /// The operator starts anew: what it knew is what the record says.
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
        reason(&self.status, kind).map_or_else(String::new, |(truth, reason)| format!("{truth}/{reason}"))
    }

    fn first_seen(&self, name: &str) -> i64 {
        self.version(name).first_seen.as_ref().unwrap().0.as_second()
    }
}

#[test]
fn the_first_record() {
    let mut world = World::new();
    let outcome = world.judge();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("Unknown/FirstSync".into(), "Unknown/NeverSynced".into())
    );
    assert_eq!(world.condition("Reconciling"), "True/FirstSync");
    assert_eq!((outcome.unread, world.names().as_str()), (0, ""));

    world.poll(&["v1.4.0=d@>=1.34", "v1.3.3", "v1.3.0-rc.1", "latest"]).judge();
    assert_eq!(world.names(), "v1.4.0 v1.3.3");
    assert_eq!(world.status.latest.as_deref(), Some("v1.4.0"));
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.3.3"));
    assert_eq!(world.version("v1.4.0").fit, Fit::Unfit);
    assert_eq!(world.version("v1.4.0").reasons, ["requires Kubernetes >=1.34, the cluster runs v1.33.4"]);
    assert_eq!((world.condition("Synced"), world.condition("Ready")), ("True/Synced".into(), "True/Published".into()));
    assert_eq!((world.condition("Reconciling").as_str(), world.condition("Stalled").as_str()), ("", ""));
    assert_eq!(world.status.observed_generation, Some(1));
    assert!(world.status.conditions.iter().all(|c| c.observed_generation == Some(1)));
    assert_eq!(world.first_seen("v1.4.0"), 500, "first sync: the image's own date");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn a_change_in_the_cluster_judges_anew_from_memory() {
    let mut world = World::new();
    world.poll(&["v1.4.0=d@>=1.34", "v1.3.3"]).judge();
    world.kubernetes = "v1.34.0";
    world.pass(1).judge();
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.4.0"));
    assert_eq!(world.status.cluster.as_ref().unwrap().kubernetes.as_deref(), Some("v1.34.0"));
    world.restart().kubernetes = "v1.33.0";
    world.pass(1).judge();
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.3.3"), "after a restart too");
}

#[test]
fn while_nothing_changes_nothing_is_rewritten_within_the_hour() {
    let mut world = World::new();
    let tags = ["v1.0.0"];
    world.poll(&tags).judge();
    let first = world.status.clone();
    world.pass(HOUR - 1).poll(&tags).judge();
    assert_eq!(world.status, first);
    world.restart().pass(0).judge();
    assert_eq!(world.status, first, "a restart changes nothing");
    world.pass(1).poll(&tags).judge();
    assert_eq!(world.status.last_sync_time, Some(Time(at(world.now))));
    world.pass(60).poll(&["v1.0.0", "v1.1.0"]).judge();
    assert_eq!(world.status.last_sync_time, Some(Time(at(world.now))), "with a change it is true to the second");
}

#[test]
fn first_seen() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).judge();
    world.pass(60).poll(&["v1.0.0", "v1.1.0"]).judge();
    assert_eq!((world.first_seen("v1.0.0"), world.first_seen("v1.1.0")), (500, world.now));
    let published = world.now;
    world.pass(HOUR).status = CliReleaseStatus::default();
    world.judge();
    assert_eq!(world.first_seen("v1.1.0"), published, "a lost status takes it from the ledger");
    world.pass(HOUR).ledger = Ledger::default();
    world.judge();
    assert_eq!(world.first_seen("v1.1.0"), published, "a lost ledger takes it from the status");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn the_image_s_date_counts_until_all_of_the_first_list_is_read() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0"]);
    world.observed.heads.remove(&tag("v1.0.0"));
    world.observed.reading = true;
    let outcome = world.judge();
    assert_eq!((outcome.unread, world.condition("Reconciling").as_str()), (1, "True/Reading"));
    assert!(matches!(world.ledger.first_sync, FirstSync::Running(_)));
    world.pass(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0"]).judge();
    let seen = ["v1.0.0", "v1.1.0", "v1.2.0"].map(|v| world.first_seen(v));
    assert_eq!(seen, [500, 500, world.now], "v1.2.0 was not in the first list");
    assert_eq!(world.ledger.first_sync, FirstSync::Done);
}

#[test]
fn a_moved_tag() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a"]).judge();
    world.pass(60).poll(&["v1.0.0=b"]).judge();
    let moved = world.version("v1.0.0").moved.clone().unwrap();
    assert_eq!((moved.from, moved.at.0), (Digest::of(b"a").to_string(), at(world.now)));
    assert_eq!(world.first_seen("v1.0.0"), world.now, "its age starts anew");
    let status = world.status.clone();
    world.pass(60).restart().judge();
    assert_eq!(world.status, status, "the move is remembered");
}

#[test]
fn a_moved_tag_that_can_no_longer_be_read_keeps_its_record() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a", "v1.1.0"]).judge();
    let unreadable = Unreadable { reason: "Contract".into(), message: "field requirements.kubernetes".into() };
    world.observed.unreadable.insert(tag("v1.2.0"), unreadable);
    world.observed.tags = Some([tag("v1.0.0"), tag("v1.1.0"), tag("v1.2.0")].into());
    let outcome = world.pass(60).judge();
    assert_eq!(world.names(), "v1.1.0 v1.0.0");
    assert_eq!((world.condition("Synced"), outcome.unread), ("False/Contract".into(), 0));
    assert_eq!(world.status.latest.as_deref(), Some("v1.2.0"), "it is published all the same");
}

#[test]
fn a_malformed_contract_is_never_no_contract() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]);
    let why = "contract of plugin stronghold v1.0.0: requirements.modules must be an object";
    world.observed.facts.insert(Digest::of(b"v1.0.0"), Facts::malformed(vec![], why, None));
    for _ in 0..2 {
        world.judge();
        assert_eq!((world.version("v1.0.0").fit, world.version("v1.0.0").reasons[0].as_str()), (Fit::Unknown, why));
        assert_eq!((world.status.latest_fitting.as_deref(), world.status.latest.as_deref()), (None, Some("v1.0.0")));
        world.restart();
    }
}

#[test]
fn a_withdrawn_version() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).judge();
    world.pass(60).poll(&["v1.0.0", "v1.1.0"]).judge();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(world.now))));
    assert_eq!(world.status.latest.as_deref(), Some("v1.1.0"));
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v1.1.0"), "it is not installable");
    let withdrawn = world.now;
    world.pass(60).poll(&["v1.0.0", "v1.1.0"]).judge();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))), "since when does not move");
    world.pass(60).restart().judge();
    assert_eq!(world.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))));
    world.pass(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).judge();
    assert_eq!((world.version("v1.2.0").withdrawn.clone(), world.version("v1.2.0").moved.clone()), (None, None));
    assert_eq!(world.first_seen("v1.2.0"), 500, "it is the same image");
}

#[test]
fn withdrawn_versions_older_than_all_published_go_unless_wanted() {
    let mut world = World::new();
    world.poll(&["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0"]).judge();
    world.wanted.active = [Version::parse("v1.0.0").unwrap()].into();
    world.pass(60).poll(&["v1.2.0", "v1.3.0", "v1.4.0"]).judge();
    assert_eq!(world.names(), "v1.4.0 v1.3.0 v1.2.0 v1.0.0");
    assert!(world.version("v1.0.0").withdrawn.is_some());
}

#[test]
fn failed_polls_never_drop_data() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).judge();
    for (seconds, ready) in [(60, "True/Published"), (23 * HOUR, "True/Published"), (HOUR, "False/RecordOld")] {
        let outcome = world.pass(seconds).fails("Unavailable").judge();
        assert_eq!((world.condition("Synced"), world.condition("Ready")), ("False/Unavailable".into(), ready.into()));
        assert_eq!((world.names().as_str(), world.status.latest.as_deref()), ("v1.0.0", Some("v1.0.0")));
        assert_eq!(outcome.again.is_some(), ready == "True/Published", "it is judged again when it becomes old");
    }
    world.pass(1).poll(&["v1.0.0"]).judge();
    assert_eq!((world.condition("Synced"), world.condition("Ready")), ("True/Synced".into(), "True/Published".into()));
}

#[test]
fn a_first_poll_that_fails() {
    let mut world = World::new();
    world.fails("NotFound").judge();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("False/NotFound".into(), "False/NeverSynced".into())
    );
}

#[test]
fn tags_of_one_version() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a", "1.0.0=a", "v0.9.0"]).judge();
    assert_eq!(world.names(), "v1.0.0 v0.9.0", "the same image: the one with v");
    world.pass(60).poll(&["v1.0.0=a", "1.0.0=b", "v0.9.0"]).judge();
    assert_eq!(world.names(), "v0.9.0", "different images: neither");
    assert_eq!(world.condition("Synced"), "False/AmbiguousVersion");
    assert_eq!(world.status.latest, None);
    assert_eq!(world.status.latest_fitting.as_deref(), Some("v0.9.0"));
}

#[test]
fn suspension_stops_polling_and_not_judging() {
    let mut world = World::new();
    world.poll(&["v1.0.0=a@>=1.34"]).judge();
    world.spec.suspend = true;
    world.kubernetes = "v1.34.0";
    world.pass(60).judge();
    assert_eq!(
        (world.condition("Synced"), world.condition("Ready")),
        ("False/Suspended".into(), "True/Published".into())
    );
    assert_eq!(world.version("v1.0.0").fit, Fit::Fits);
}

#[test]
fn a_spec_that_cannot_be_read_keeps_what_is_recorded() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).judge();
    world.spec.versions = Some("one or two".into());
    world.generation = 2;
    world.pass(60).judge();
    assert_eq!(world.names(), "v1.0.0");
    assert_eq!(world.condition("Synced"), "False/InvalidSpec");
    assert_eq!(world.condition("Stalled"), "True/InvalidSpec");
    let stalled = world.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert!(stalled.message.starts_with("spec.versions: "), "{}", stalled.message);
    world.spec.versions = None;
    world.pass(60).judge();
    assert_eq!((world.condition("Synced").as_str(), world.condition("Stalled").as_str()), ("True/Synced", ""));
}

#[test]
fn platforms() {
    for (platforms, fitting, artifacts) in [
        (None, Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64"]), Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64", "darwin-arm64"]), None, 1),
        (Some(vec!["darwin-arm64"]), None, 0),
    ] {
        let mut world = World::new();
        world.spec.platforms = platforms.as_ref().map(|list| list.iter().map(|&p| p.to_owned()).collect());
        world.poll(&["v1.0.0"]).judge();
        assert_eq!(world.status.latest_fitting.as_deref(), fitting, "{platforms:?}");
        assert_eq!(world.version("v1.0.0").artifacts.len(), artifacts, "{platforms:?}");
    }
}

#[test]
fn another_choice_of_platforms_moves_no_tag() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]).judge();
    world.spec.platforms = Some(vec!["darwin-arm64".into()]);
    world.pass(60).judge();
    world.spec.platforms = None;
    world.pass(60).judge();
    assert_eq!((world.version("v1.0.0").moved.clone(), world.first_seen("v1.0.0")), (None, 500));
}

#[test]
fn a_pre_release_channel_still_names_stable_answers() {
    let mut world = World::new();
    world.spec.channel = Channel::Prerelease;
    world.poll(&["v2.0.0-rc.1", "v1.0.0"]).judge();
    assert_eq!(world.names(), "v2.0.0-rc.1 v1.0.0");
    assert_eq!(
        (world.status.latest.as_deref(), world.status.latest_fitting.as_deref()),
        (Some("v1.0.0"), Some("v1.0.0"))
    );
}

#[test]
fn reasons_are_bounded() {
    let many: Vec<String> = (0..20).map(|n| format!("{n} {}", "x".repeat(400))).collect();
    let world = World::new();
    let check = |_: &Requirements| (Fit::Unfit, many.clone());
    let cluster = ObservedCluster::default();
    let case = Case {
        component: &world.component,
        generation: 1,
        rules: Err(&RuleError { field: "spec", why: String::new() }),
        previous: &world.status,
        observed: &world.observed,
        wanted: &world.wanted,
        cluster: &cluster,
        check: &check,
        now: at(1),
    };
    let (_, reasons) = fit(&case, &Requirements::default(), None);
    assert_eq!((reasons.len(), reasons[7].as_str()), (MAX_REASONS, "and 13 more"));
    assert!(reasons.iter().all(|reason| reason.chars().count() <= MAX_REASON));
}

#[test]
fn what_is_too_large_is_said() {
    let mut world = World::new();
    world.poll(&["v1.0.0"]);
    let problem = Some(Problem::TooLarge("too large".into()));
    world.observed.facts.insert(Digest::of(b"v1.0.0"), Facts { problem, ..Facts::default() });
    world.judge();
    assert_eq!(world.condition("Stalled"), "True/RecordTooLarge");
    assert_eq!(world.version("v1.0.0").fit, Fit::Unknown);
}
