use d8_crds::records::release::{Fit, MovedTag};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::fixtures::{artifact, recorded},
    *,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn history(digest: &Digest, second: i64) -> TagHistory {
    TagHistory { digest: digest.clone(), first_seen: at(second), moved: None }
}

/// Applies the changes that `decide` makes to a ledger.
fn apply(ledger: &mut ReleaseLedger, decide: impl FnOnce(&mut Draft<'_>)) {
    let mut draft = Draft { ledger, changes: ReleaseLedgerChanges::default() };
    decide(&mut draft);
    let changes = draft.changes;
    ledger.apply(changes);
}

/// Notes that v1.0.0 points at a digest; returns its history then.
fn see(
    ledger: &mut ReleaseLedger,
    digest: &Digest,
    facts: &VersionFacts,
    recorded: Option<&ReleaseVersion>,
    second: i64,
) -> TagHistory {
    apply(ledger, |draft| draft.see(&tag("v1.0.0"), digest, facts, recorded, at(second)));
    ledger.tags[&tag("v1.0.0")].clone()
}

#[test]
fn first_seen_of_a_new_version() {
    let listed = || FirstSync::Running([tag("v1.0.0")].into());
    for (what, first_sync, created, expected) in [
        ("first sync: the date of the image", listed(), Some(at(50)), 50),
        ("first sync: never later than now", listed(), Some(at(500)), 100),
        ("first sync: an image without a date", listed(), None, 100),
        ("first sync: published after its list", FirstSync::Running([tag("v0.9.0")].into()), Some(at(50)), 100),
        ("after the first sync", FirstSync::Done, Some(at(50)), 100),
    ] {
        let mut ledger = ReleaseLedger { first_sync, ..ReleaseLedger::default() };
        let facts = VersionFacts { created, ..VersionFacts::default() };
        let seen = see(&mut ledger, &Digest::of(b"1"), &facts, None, 100);
        assert_eq!((seen.first_seen, seen.moved), (at(expected), None), "{what}");
    }
}

#[test]
fn a_tag_moves_if_a_recorded_platform_or_the_contract_changes() {
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let linux = artifact(Some("linux-amd64"), b"l");
    let (darwin, other) = (artifact(Some("darwin-arm64"), b"d"), artifact(Some("linux-amd64"), b"x"));
    let described = Some("changed".to_owned());
    for (what, before, artifacts, description, moved) in [
        ("a platform was added", vec![linux.clone()], vec![linux.clone(), darwin.clone()], None, false),
        ("only the index changed", vec![linux.clone()], vec![linux.clone()], None, false),
        ("the manifest of a platform changed", vec![linux.clone()], vec![other.clone(), darwin.clone()], None, true),
        ("a platform was removed", vec![linux.clone(), darwin.clone()], vec![linux.clone()], None, true),
        ("the contract changed", vec![linux.clone()], vec![linux.clone()], described, true),
    ] {
        let tags = [(tag("v1.0.0"), history(&old, 50))].into();
        let mut ledger = ReleaseLedger { first_sync: FirstSync::Done, tags };
        let recorded = ReleaseVersion { digest: old.to_string(), artifacts: before, ..recorded("v1.0.0", Fit::Fits) };
        let facts = VersionFacts { artifacts, description, ..VersionFacts::default() };
        let seen = see(&mut ledger, &new, &facts, Some(&recorded), 100);
        let expected = moved.then(|| TagMove { from: old.clone(), at: at(100) });
        assert_eq!(seen.moved, expected, "{what}");
        assert_eq!(seen.first_seen, if moved { at(100) } else { at(50) }, "{what}");
        assert_eq!(see(&mut ledger, &new, &facts, Some(&recorded), 200), seen, "{what}: seen again");
    }
}

#[test]
fn another_digest_without_a_record_is_a_move() {
    let mut ledger = ReleaseLedger { first_sync: FirstSync::Done, ..ReleaseLedger::default() };
    see(&mut ledger, &Digest::of(b"old"), &VersionFacts::default(), None, 50);
    let seen = see(&mut ledger, &Digest::of(b"new"), &VersionFacts::default(), None, 100);
    assert_eq!(seen.moved, Some(TagMove { from: Digest::of(b"old"), at: at(100) }));
}

#[test]
fn a_lost_ledger_is_restored_from_the_status() {
    let moved = Some(MovedTag { from: Digest::of(b"0").to_string(), at: Time(at(40)) });
    let version = ReleaseVersion { first_seen: Some(Time(at(50))), moved, ..recorded("v1.0.0", Fit::Fits) };
    let status = CliReleaseStatus { versions: vec![version], ..CliReleaseStatus::default() };
    let mut ledger = ReleaseLedger::default();
    apply(&mut ledger, |draft| draft.restore(&status, at(45)));
    assert_eq!(ledger.first_sync, FirstSync::Done, "no first sync again");
    let restored = &ledger.tags[&tag("v1.0.0")];
    assert_eq!(restored.first_seen, at(45), "never later than now");
    assert_eq!(restored.moved, Some(TagMove { from: Digest::of(b"0"), at: at(40) }));
}

#[test]
fn a_full_ledger_drops_unpublished_tags_first_and_shown_ones_last() {
    let digest = Digest::of(b"1");
    let mut ledger = ReleaseLedger { first_sync: FirstSync::Done, ..ReleaseLedger::default() };
    let mut published: BTreeSet<Tag> = (0..MAX_TAGS).map(|n| tag(&format!("v1.{n}.0"))).collect();
    ledger.tags = published.iter().map(|tag| (tag.clone(), history(&digest, 1))).collect();
    ledger.tags.insert(tag("v9.0.0"), history(&digest, 1000));
    let oldest = tag("v1.0.0");
    ledger.tags.insert(oldest.clone(), history(&digest, 0));
    published.insert(tag("v1.9999.0"));
    apply(&mut ledger, |draft| {
        draft.set(tag("v1.9999.0"), history(&digest, 2000));
        draft.trim(&[&oldest].into(), &published);
    });
    assert_eq!(ledger.tags.len(), MAX_TAGS);
    assert!(!ledger.tags.contains_key(&tag("v9.0.0")), "not published");
    assert!(ledger.tags.contains_key(&oldest), "the record shows it");
}
