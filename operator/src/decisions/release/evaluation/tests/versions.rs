//! Which versions a record shows, and what it says of them.

use super::*;

#[test]
fn the_first_poll_fills_the_record() {
    let mut fixture = ReleaseFixture::new();
    let evaluation = fixture.evaluate();
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("Unknown/FirstSync".into(), "Unknown/NeverSynced".into())
    );
    assert_eq!(fixture.condition("Reconciling"), "True/FirstSync");
    assert_eq!((evaluation.pending, fixture.names().as_str()), (0, ""));

    fixture.poll(&["v1.4.0=d@>=1.34", "v1.3.3", "v1.3.0-rc.1", "latest"]).evaluate();
    assert_eq!(fixture.names(), "v1.4.0 v1.3.3");
    assert_eq!(fixture.status.latest.as_deref(), Some("v1.4.0"));
    assert_eq!(fixture.status.latest_fitting.as_deref(), Some("v1.3.3"));
    assert_eq!(fixture.version("v1.4.0").fit, Fit::Unfit);
    assert_eq!(fixture.version("v1.4.0").reasons, ["requires Kubernetes >=1.34, the cluster runs v1.33.4"]);
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("True/Synced".into(), "True/Published".into())
    );
    assert_eq!((fixture.condition("Reconciling").as_str(), fixture.condition("Stalled").as_str()), ("", ""));
    assert_eq!(fixture.status.observed_generation, Some(1));
    assert!(fixture.status.conditions.iter().all(|c| c.observed_generation == Some(1)));
    assert_eq!(fixture.first_seen("v1.4.0"), 500, "first sync: the date of the image");
    assert_eq!(fixture.ledger.first_sync, FirstSync::Done);
}

#[test]
fn a_change_in_the_cluster_needs_no_poll() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.4.0=d@>=1.34", "v1.3.3"]).evaluate();
    fixture.kubernetes = "v1.34.0";
    fixture.wait(1).evaluate();
    assert_eq!(fixture.status.latest_fitting.as_deref(), Some("v1.4.0"));
    assert_eq!(fixture.status.cluster.as_ref().unwrap().kubernetes.as_deref(), Some("v1.34.0"));
    fixture.restart().kubernetes = "v1.33.0";
    fixture.wait(1).evaluate();
    assert_eq!(fixture.status.latest_fitting.as_deref(), Some("v1.3.3"), "also after a restart");
}

#[test]
fn an_unchanged_status_is_rewritten_once_an_hour() {
    let mut fixture = ReleaseFixture::new();
    let tags = ["v1.0.0"];
    fixture.poll(&tags).evaluate();
    let first = fixture.status.clone();
    fixture.wait(HOUR - 1).poll(&tags).evaluate();
    assert_eq!(fixture.status, first);
    fixture.restart().wait(0).evaluate();
    assert_eq!(fixture.status, first, "a restart changes nothing");
    fixture.wait(1).poll(&tags).evaluate();
    assert_eq!(fixture.status.last_sync_time, Some(Time(at(fixture.now))));
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(fixture.status.last_sync_time, Some(Time(at(fixture.now))), "a change updates it at once");
}

#[test]
fn tags_that_are_not_versions_are_listed_and_hide_no_version() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0", "v1.2.4", "v1=moving", "v1.2=moving", "20240101", "latest"]);
    fixture.observed.malformed_tags.add("a b", "it has a blank");
    fixture.evaluate();
    assert_eq!(fixture.names(), "v1.2.4 v1.0.0");
    assert_eq!(fixture.status.latest.as_deref(), Some("v1.2.4"));
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("True/Synced".into(), "True/Published".into())
    );
    let left_out = &fixture.status.left_out_tags;
    let tags: Vec<&str> = left_out.tags.iter().map(|left_out| left_out.tag.as_str()).collect();
    assert_eq!((left_out.count, tags), (5, vec!["20240101", "latest", "v1", "v1.2", "a b"]));
    assert!(left_out.tags[3].reason.starts_with("`v1.2` is not a version: it must have three numbers"), "{left_out:?}");
    let before = fixture.status.clone();
    fixture.spec.versions = Some("one or two".into());
    fixture.generation = 2;
    fixture.evaluate();
    assert_eq!(fixture.status.left_out_tags, before.left_out_tags, "an invalid spec keeps them");
}

#[test]
fn a_record_of_an_earlier_operator_loses_the_tags_that_are_not_versions() {
    let mut fixture = ReleaseFixture::new();
    let versions = ["v1.0.0", "v1", "v0"].map(|version| recorded(version, Fit::Fits)).into();
    fixture.status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
    fixture.restart().poll(&["v1.0.0", "v1"]).evaluate();
    assert_eq!(fixture.names(), "v1.0.0");
}

#[test]
fn an_unreadable_version_leaves_the_others_alone() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0=a", "v1.1.0"]).evaluate();
    let unreadable = VersionError { reason: "Contract".into(), message: "field requirements.kubernetes".into() };
    fixture.observed.unreadable.insert(tag("v1.2.0"), unreadable);
    fixture.observed.set_tags([tag("v1.0.0"), tag("v1.1.0"), tag("v1.2.0")].into());
    let evaluation = fixture.wait(60).evaluate();
    assert_eq!(fixture.names(), "v1.2.0 v1.1.0 v1.0.0");
    let listed = fixture.version("v1.2.0");
    assert_eq!((listed.fit, listed.digest.as_str(), &listed.first_seen), (Fit::Unknown, "", &None));
    assert_eq!(listed.reasons, ["cannot be read: field requirements.kubernetes"]);
    assert_eq!((fixture.condition("Synced"), evaluation.pending), ("False/Contract".into(), 0));
    assert_eq!(fixture.status.latest.as_deref(), Some("v1.2.0"), "it is published, although it cannot be read");
    fixture.restart();
    fixture.evaluate();
    assert_eq!(fixture.names(), "v1.2.0 v1.1.0 v1.0.0", "before the first poll after a restart");
    fixture.poll(&["v1.0.0=a", "v1.1.0"]).evaluate();
    assert_eq!(fixture.names(), "v1.1.0 v1.0.0", "its tag is gone, and it was never read");
}

#[test]
fn a_malformed_contract_leaves_the_fit_unknown() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]);
    let why = "contract of plugin stronghold v1.0.0: requirements.modules must be an object";
    fixture.observed.facts.insert(Digest::of(b"v1.0.0"), VersionFacts::malformed(why));
    for _ in 0..2 {
        fixture.evaluate();
        assert_eq!((fixture.version("v1.0.0").fit, fixture.version("v1.0.0").reasons[0].as_str()), (Fit::Unknown, why));
        assert_eq!(
            (fixture.status.latest_fitting.as_deref(), fixture.status.latest.as_deref()),
            (None, Some("v1.0.0"))
        );
        fixture.restart();
    }
}

#[test]
fn two_tags_of_one_version() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0=a", "1.0.0=a", "v0.9.0"]).evaluate();
    assert_eq!(fixture.names(), "v1.0.0 v0.9.0", "the same image: the tag with v");
    fixture.wait(60).poll(&["v1.0.0=a", "1.0.0=b", "v0.9.0"]).evaluate();
    assert_eq!(fixture.names(), "v0.9.0", "different images: neither");
    assert_eq!(fixture.condition("Synced"), "False/AmbiguousVersion");
    assert_eq!(fixture.status.latest, None);
    assert_eq!(fixture.status.latest_fitting.as_deref(), Some("v0.9.0"));
    let left_out = &fixture.status.left_out_tags;
    let listed: Vec<(&str, &str)> = left_out.tags.iter().map(|tag| (tag.tag.as_str(), tag.reason.as_str())).collect();
    let reason = |other: &str| format!("it is the same version as {other}, with another image; keep one of the tags");
    assert_eq!(listed, [("v1.0.0", reason("1.0.0").as_str()), ("1.0.0", reason("v1.0.0").as_str())]);
}

#[test]
fn the_latest_versions_of_channel_prerelease_are_stable() {
    let mut fixture = ReleaseFixture::new();
    fixture.spec.channel = Channel::Prerelease;
    fixture.poll(&["v2.0.0-rc.1", "v1.0.0"]).evaluate();
    assert_eq!(fixture.names(), "v2.0.0-rc.1 v1.0.0");
    assert_eq!(
        (fixture.status.latest.as_deref(), fixture.status.latest_fitting.as_deref()),
        (Some("v1.0.0"), Some("v1.0.0"))
    );
}

#[test]
fn reasons_are_limited() {
    let many: Vec<String> = (0..20).map(|n| format!("{n} {}", "x".repeat(400))).collect();
    let fixture = ReleaseFixture::new();
    let check = |_: &Requirements| (Fit::Unfit, many.clone());
    let cluster = ObservedCluster::default();
    let inputs = ReleaseInputs {
        component: &fixture.component,
        generation: 1,
        spec: Err(&SpecError { field: "spec", why: String::new() }),
        previous: &fixture.status,
        observed: &fixture.observed,
        retained: &fixture.retained,
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
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]);
    let problem = Some(VersionProblem::TooLarge("too large".into()));
    fixture.observed.facts.insert(Digest::of(b"v1.0.0"), VersionFacts { problem, ..VersionFacts::default() });
    fixture.evaluate();
    assert_eq!(fixture.condition("Stalled"), "True/RecordTooLarge");
    assert_eq!(fixture.version("v1.0.0").fit, Fit::Unknown);
}
