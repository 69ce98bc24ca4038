//! Pins, moved tags, and records that integrity gates need.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{fixture::*, *};
use crate::{
    decisions::reason::Cause,
    records::release::{CliRelease, MovedTag},
    values::{digest::Digest, platform::Platform},
};

fn pin(version: &str, letter: char) -> Value {
    json!({"version": version, "digest": digest(letter)})
}

fn pinned(letter: char) -> Value {
    json!({"pins": [pin("v1.1.0", letter)]})
}

/// The same fixture where the tag of v1.1.0 was moved from `0…` to `a…`.
fn moved(mut fixture: VerdictFixture) -> VerdictFixture {
    let mut entry = version_seen("v1.1.0", "2026-11-20T12:00:00Z");
    entry["moved"] = json!({"from": digest('0'), "at": "2026-11-20T12:00:00Z"});
    fixture.release = Some(release(NOW, &[&entry]));
    fixture
}

#[test]
fn pins_of_all_policies_must_hold() {
    let pins = |list: Vec<Value>| auto(&json!({"pins": list}), &json!({}));
    for (specs, expected) in [
        // Of the index, of the manifest, of the layer.
        (vec![pins(vec![pin("v1.1.0", 'a')])], vec![]),
        (vec![pins(vec![pin("v1.1.0", 'b')])], vec![]),
        (vec![pins(vec![pin("v1.1.0", 'c')])], vec![]),
        (vec![pins(vec![pin("1.1.0+b", 'a'), pin("v1.1.0", 'c')])], vec![]),
        (vec![pins(vec![pin("v1.1.0", 'd')])], vec!["NotPinned"]),
        (vec![pins(vec![pin("v1.1.0", 'a'), pin("v1.1.0", 'd')])], vec!["NotPinned"]),
        (vec![pins(vec![pin("v1.1.0", 'a')]), pins(vec![pin("v1.1.0", 'd')])], vec!["NotPinned"]),
        // It does not bind other versions.
        (vec![pins(vec![pin("v1.2.0", 'd')])], vec![]),
    ] {
        assert_eq!(VerdictFixture::of(&specs).codes(change(U, "v1.1.0", "v1.0.0")), expected, "{specs:?}");
    }
}

#[test]
fn a_pin_binds_all_but_a_repair() {
    let fixture = VerdictFixture::auto(&pinned('d'), &json!({}));
    for (intent, expected) in [(A, vec!["NotPinned"]), (U, vec!["NotPinned"]), (X, vec!["NotPinned"]), (R, vec![])] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{intent:?}");
    }
}

#[test]
fn rule_6_a_pin_acknowledges_a_moved_tag() {
    let refuse = json!({"integrity": {"movedTags": "Refuse"}});
    for (rule, rest, expected) in [
        (json!({}), refuse.clone(), vec!["TagMoved"]),
        (json!({}), json!({}), vec!["TagMoved"]),
        (json!({}), json!({"integrity": {"movedTags": "Soak"}}), vec![]),
        (pinned('a'), refuse.clone(), vec![]),
        (pinned('c'), json!({}), vec![]),
        // A pin to the old bytes acknowledges nothing.
        (pinned('0'), refuse.clone(), vec!["NotPinned", "TagMoved"]),
    ] {
        assert_eq!(
            moved(VerdictFixture::auto(&rule, &rest)).codes(change(U, "v1.1.0", "v1.0.0")),
            expected,
            "{rule} {rest}"
        );
    }
    // Another policy's pin does, for the move is one and the same.
    let specs = [auto(&pinned('a'), &json!({})), auto(&json!({}), &refuse)];
    assert_eq!(moved(VerdictFixture::of(&specs)).codes(change(U, "v1.1.0", "v1.0.0")), [""; 0]);
    // It lifts nothing else.
    let soaking = auto(&json!({"pins": [pin("v1.1.0", 'a')], "minAge": "72h"}), &refuse);
    assert_eq!(moved(VerdictFixture::of(&[soaking])).codes(change(U, "v1.1.0", "v1.0.0")), ["Soaking"]);
}

#[test]
fn soak_lets_the_age_count_from_the_move() {
    let rest = json!({"integrity": {"movedTags": "Soak"}});
    for (min_age, expected) in [("72h", vec!["Soaking"]), ("48h", vec![])] {
        let fixture = moved(VerdictFixture::auto(&json!({"minAge": min_age}), &rest));
        assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), expected, "{min_age}");
    }
}

#[test]
fn rule_19_what_is_on_disk_is_compared_by_its_receipt() {
    let digests = |letters: &str| Some(letters.chars().map(|l| digest(l).parse().unwrap()).collect::<Vec<_>>());
    let refuse = json!({"integrity": {"movedTags": "Refuse"}});
    for (rule, stored, recorded, expected) in [
        (pinned('5'), digests("45"), true, vec![]),
        // The record is of other bytes, to which the pin is.
        (pinned('a'), digests("45"), true, vec!["NotPinned"]),
        // The record is of these bytes: it knows the index too.
        (pinned('a'), digests("bc"), true, vec![]),
        (pinned('d'), digests("bc"), true, vec!["NotPinned"]),
        // Nothing tells.
        (pinned('d'), digests("45"), false, vec!["NoRecord"]),
        (pinned('d'), digests(""), true, vec!["NoRecord"]),
        // The bytes installed before the move are not at fault.
        (json!({}), digests("45"), true, vec![]),
        (json!({}), None, true, vec!["TagMoved"]),
    ] {
        let mut fixture = VerdictFixture { stored, ..moved(VerdictFixture::auto(&rule, &refuse)) };
        if !recorded {
            fixture.release = None;
        }
        assert_eq!(fixture.codes(change(X, "v1.1.0", "v1.2.0")), expected, "{rule} {:?}", fixture.stored);
    }
}

#[test]
fn rule_2_a_version_off_its_pin_is_left() {
    let rule = json!({"majorUpdates": "Stay", "pins": [pin("v1.0.0", 'd')]});
    let fixture = VerdictFixture::auto(&rule, &json!({}));
    // By the record what is installed is not what was pinned, so another major may be taken.
    assert_eq!(fixture.codes(change(A, "v2.0.0", "v1.0.0")), [""; 0]);
    // By the receipt it is.
    let good = VerdictFixture { active_digests: vec![digest('d').parse().unwrap()], ..fixture.clone() };
    assert_eq!(good.codes(change(A, "v2.0.0", "v1.0.0")), ["MajorStays"]);
    // Nothing tells.
    let unknown = VerdictFixture { release: None, ..fixture };
    assert_eq!(unknown.codes(change(A, "v2.0.0", "v1.0.0")), ["MajorStays"]);
    // The tag moved off the pinned bytes, which may be those that are installed.
    let mut entry = version_seen("v1.0.0", "2026-11-20T12:00:00Z");
    entry["moved"] = json!({"from": digest('d'), "at": "2026-11-20T12:00:00Z"});
    let moved = VerdictFixture { release: Some(release(NOW, &[&entry])), ..unknown };
    assert_eq!(moved.codes(change(A, "v2.0.0", "v1.0.0")), ["MajorStays"]);
}

#[test]
fn guidance_of_a_pinned_version() {
    let labels = labels();
    let (component, active) = ("stronghold".parse().unwrap(), version("v1.0.0"));
    let host = bastion(&labels);
    let set = set(&[auto(&json!({"pins": [pin("v1.0.0", 'd')]}), &json!({}))]);
    let other = [digest('8').parse().unwrap()];
    let fixture = VerdictFixture::of(&[]);
    let case = Candidate::new(host, &component, &active, A, fixture.now).release(fixture.release.as_ref());
    for (case, leave) in [(case, true), (case.release(None), false), (case.active_digests(&other), true)] {
        assert_eq!(
            set.for_host(host).guidance_for(&case).active_forbidden.map(|reason| reason.code()),
            leave.then_some(ReasonCode::NotPinned)
        );
    }
    assert_eq!(set.for_host(host).guidance(&component, Some(&active)).active_forbidden, None);
}

/// A record of v1.0.0, v1.1.0 and v1.2.0, each with these layers by platform.
fn layered(layers: [&[(Option<&str>, char)]; 3]) -> CliRelease {
    let entries = ["v1.0.0", "v1.1.0", "v1.2.0"].into_iter().zip(layers).map(|(version, layers)| {
        let mut entry = version_seen(version, "2026-11-20T12:00:00Z");
        let artifact = |(platform, layer): &(Option<&str>, char)| {
            let mut artifact = json!({"manifest": digest('b'), "layer": digest(*layer), "sizeBytes": 1});
            if let Some(platform) = platform {
                artifact["platform"] = json!(platform);
            }
            artifact
        };
        entry["artifacts"] = layers.iter().map(artifact).collect();
        entry
    });
    let entries: Vec<Value> = entries.collect();
    release(NOW, &entries.iter().collect::<Vec<_>>())
}

/// Evaluates a run and an installation of v1.1.0 where v1.2.0 is blocked. Returns the blocked version in the reason.
fn blocked_by_layer(host: Host<'_>, record: &CliRelease, digests: &[Digest]) -> (Option<Version>, Option<Version>) {
    let (component, candidate) = ("stronghold".parse().unwrap(), version("v1.1.0"));
    let set = set(&[auto(&json!({"block": ["v2.0.0", "v1.2.0"]}), &json!({}))]);
    let policies = set.for_host(host);
    let case = Candidate::new(host, &component, &candidate, U, at(NOW)).release(Some(record));
    let same_layer_as = |reason: &Reason| match &reason.cause {
        Cause::Blocked { same_layer_as, .. } => same_layer_as.as_deref().cloned(),
        _ => None,
    };
    let verdict = policies.evaluate(&case);
    let run = policies.run_allowed_for(&case.active_digests(digests)).err();
    (verdict.reasons().iter().find_map(same_layer_as), run.and_then(|reason| same_layer_as(&reason)))
}

#[test]
fn rule_6_a_block_holds_for_versions_with_the_same_layer() {
    const LINUX: Option<&str> = Some("linux-amd64");
    const ARM: Option<&str> = Some("linux-arm64");
    let labels = labels();
    let (linux, arm): (Platform, Platform) = ("linux-amd64".parse().unwrap(), "linux-arm64".parse().unwrap());
    let other = [(LINUX, '1'), (ARM, '1')];
    for (what, own, blocked, platform, is_blocked) in [
        ("the same layer", &[(LINUX, 'c')][..], &[(LINUX, 'c')][..], Some(&linux), true),
        ("another layer", &[(LINUX, 'c')], &[(LINUX, 'd')], Some(&linux), false),
        (
            "the same one on another platform",
            &[(LINUX, 'c'), (ARM, 'e')],
            &[(LINUX, 'd'), (ARM, 'e')],
            Some(&linux),
            false,
        ),
        ("the same one on this platform", &[(LINUX, 'c'), (ARM, 'e')], &[(LINUX, 'd'), (ARM, 'e')], Some(&arm), true),
        ("of no platform", &[(None, 'c')], &[(LINUX, 'c')], Some(&linux), true),
        ("of no platform, and another", &[(None, 'c')], &[(LINUX, 'd'), (ARM, 'c')], Some(&linux), false),
        ("not for this platform", &[(ARM, 'c')], &[(ARM, 'c')], Some(&linux), false),
        ("layers are not known", &[], &[], Some(&linux), false),
        ("no platform known: all layers", &[(LINUX, 'c'), (ARM, 'e')], &[(LINUX, 'c'), (ARM, 'e')], None, true),
        ("no platform known: one layer", &[(LINUX, 'c'), (ARM, 'e')], &[(LINUX, 'c'), (ARM, 'f')], None, false),
    ] {
        let host = Host::unattended("bastion-1", &labels, platform);
        let expected = is_blocked.then(|| version("v1.2.0"));
        let found = blocked_by_layer(host, &layered([&other, own, blocked]), &[]);
        assert_eq!(found, (expected.clone(), expected), "{what}");
    }
}

#[test]
fn rule_6_moved_tags_and_receipts() {
    let labels = labels();
    let linux: Platform = "linux-amd64".parse().unwrap();
    let host = Host::unattended("bastion-1", &labels, Some(&linux));
    let layer = |letter| [(Some("linux-amd64"), letter)];
    let record = layered([&layer('1'), &layer('c'), &layer('c')]);
    for (what, moved) in [("a moved tag takes no block", 1), ("a moved tag gives no block", 2)] {
        let mut record = record.clone();
        let moved_tag = MovedTag { from: digest('0'), at: Time(at(NOW)) };
        record.status.as_mut().unwrap().versions[moved].moved = Some(moved_tag);
        assert_eq!(blocked_by_layer(host, &record, &[]), (None, None), "{what}");
    }
    // The layer of the active version is the one in its receipt, if that names one.
    let digests =
        |letters: &str| letters.chars().map(|letter| digest(letter).parse().unwrap()).collect::<Vec<Digest>>();
    let blocked = Some(version("v1.2.0"));
    for (what, record, receipt, run) in [
        ("the receipt has the blocked layer", layered([&layer('1'), &layer('2'), &layer('c')]), "c", blocked.clone()),
        ("the receipt has another layer", record.clone(), "5", None),
        ("the receipt has the manifest only", record.clone(), "b", blocked.clone()),
        ("no receipt", record, "", blocked),
    ] {
        assert_eq!(blocked_by_layer(host, &record, &digests(receipt)).1, run, "{what}");
    }
}

#[test]
fn the_reason_of_a_block_by_layer_names_both_versions() {
    let mut fixture = VerdictFixture::of(&[auto(&json!({"block": ["v1.2.0"]}), &json!({}))]);
    let layer = [(Some("linux-amd64"), 'c')];
    fixture.release = Some(layered([&[(Some("linux-amd64"), '1')], &layer, &layer]));
    assert_eq!(
        fixture.sentences(change(U, "v1.1.0", "v1.0.0")),
        "Blocked: policy p0, rules[0].block: stronghold v1.1.0 has the same layer as v1.2.0, which is blocked; \
         run `d8 plugins why stronghold` to find another version\n"
    );
}
