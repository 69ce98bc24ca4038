//! What a record keeps over time: first-seen times, moved and withdrawn tags, failed polls.

use super::*;

#[test]
fn first_seen_outlives_a_lost_status_and_a_lost_ledger() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]).evaluate();
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!((fixture.first_seen("v1.0.0"), fixture.first_seen("v1.1.0")), (500, fixture.now));
    let published = fixture.now;
    fixture.wait(HOUR).status = CliReleaseStatus::default();
    fixture.evaluate();
    assert_eq!(fixture.first_seen("v1.1.0"), published, "after a lost status, from the ledger");
    fixture.wait(HOUR).ledger = ReleaseLedger::default();
    fixture.evaluate();
    assert_eq!(fixture.first_seen("v1.1.0"), published, "after a lost ledger, from the status");
    assert_eq!(fixture.ledger.first_sync, FirstSync::Done);
}

#[test]
fn versions_of_the_first_list_take_the_date_of_their_image() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0", "v1.1.0"]);
    fixture.observed.digests.remove(&tag("v1.0.0"));
    fixture.observed.reading = true;
    let evaluation = fixture.evaluate();
    assert_eq!((evaluation.pending, fixture.condition("Reconciling").as_str()), (1, "True/Reading"));
    assert!(matches!(fixture.ledger.first_sync, FirstSync::Running(_)));
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0"]).evaluate();
    let seen = ["v1.0.0", "v1.1.0", "v1.2.0"].map(|v| fixture.first_seen(v));
    assert_eq!(seen, [500, 500, fixture.now], "v1.2.0 was not in the first list");
    assert_eq!(fixture.ledger.first_sync, FirstSync::Done);
}

#[test]
fn what_appears_after_an_answer_that_found_nothing_is_new() {
    type Answer = fn(&mut ReleaseFixture);
    let not_published: Answer = |fixture| drop(fixture.fail_poll(NOT_PUBLISHED).evaluate());
    let empty: Answer = |fixture| drop(fixture.poll(&[]).evaluate());
    let no_version: Answer = |fixture| drop(fixture.poll(&["latest", "v1"]).evaluate());
    let not_selected: Answer = |fixture| drop(fixture.poll(&["v1.0.0-rc.1"]).evaluate());
    let not_evaluated: Answer = |fixture| {
        fixture.poll(&[]);
    };
    let unanswered: Answer = |fixture| drop(fixture.fail_poll("Unavailable").evaluate());
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
            ("after a restart", |fixture| {
                fixture.restart();
            }),
            ("after a lost ledger", |fixture| fixture.ledger = ReleaseLedger::default()),
            ("after a lost status", |fixture| fixture.status = CliReleaseStatus::default()),
        ] {
            let mut fixture = ReleaseFixture::new();
            answer(&mut fixture);
            let answered = fixture.now;
            if what.contains("not evaluated") && !lost.is_empty() {
                continue;
            }
            lose(&mut fixture);
            fixture.wait(HOUR).poll(&["v1.0.0"]).evaluate();
            let first_seen = fixture.first_seen("v1.0.0");
            assert_eq!(first_seen >= answered, is_new, "{what} {lost}: first seen at {first_seen}");
        }
    }
}

#[test]
fn a_moved_tag_starts_a_new_age() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0=a"]).evaluate();
    fixture.wait(60).poll(&["v1.0.0=b"]).evaluate();
    let moved = fixture.version("v1.0.0").moved.clone().unwrap();
    assert_eq!((moved.from, moved.at.0), (Digest::of(b"a").to_string(), at(fixture.now)));
    assert_eq!(fixture.first_seen("v1.0.0"), fixture.now, "a new age");
    let status = fixture.status.clone();
    fixture.wait(60).restart().evaluate();
    assert_eq!(fixture.status, status, "a restart forgets no move");
}

#[test]
fn a_withdrawn_version_stays_and_can_come_back() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).evaluate();
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(fixture.version("v1.2.0").withdrawn, Some(Time(at(fixture.now))));
    assert_eq!(fixture.status.latest.as_deref(), Some("v1.1.0"));
    assert_eq!(fixture.status.latest_fitting.as_deref(), Some("v1.1.0"), "a withdrawn version cannot be installed");
    let withdrawn = fixture.now;
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0"]).evaluate();
    assert_eq!(fixture.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))), "the time does not move");
    fixture.wait(60).restart().evaluate();
    assert_eq!(fixture.version("v1.2.0").withdrawn, Some(Time(at(withdrawn))));
    fixture.wait(60).poll(&["v1.0.0", "v1.1.0", "v1.2.0=c@>=1.0"]).evaluate();
    assert_eq!((fixture.version("v1.2.0").withdrawn.clone(), fixture.version("v1.2.0").moved.clone()), (None, None));
    assert_eq!(fixture.first_seen("v1.2.0"), 500, "the same image");
}

#[test]
fn old_withdrawn_versions_are_dropped_unless_they_are_retained() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0"]).evaluate();
    fixture.retained.active = [Version::parse("v1.0.0").unwrap()].into();
    fixture.wait(60).poll(&["v1.2.0", "v1.3.0", "v1.4.0"]).evaluate();
    assert_eq!(fixture.names(), "v1.4.0 v1.3.0 v1.2.0 v1.0.0");
    assert!(fixture.version("v1.0.0").withdrawn.is_some());
}

#[test]
fn failed_polls_drop_no_data() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]).evaluate();
    for (seconds, ready) in [(60, "True/Published"), (23 * HOUR, "True/Published"), (HOUR, "False/RecordOld")] {
        let evaluation = fixture.wait(seconds).fail_poll("Unavailable").evaluate();
        assert_eq!(
            (fixture.condition("Synced"), fixture.condition("Ready")),
            ("False/Unavailable".into(), ready.into())
        );
        assert_eq!((fixture.names().as_str(), fixture.status.latest.as_deref()), ("v1.0.0", Some("v1.0.0")));
        assert_eq!(
            evaluation.recheck_after.is_some(),
            ready == "True/Published",
            "evaluated again when it becomes old"
        );
    }
    fixture.wait(1).poll(&["v1.0.0"]).evaluate();
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("True/Synced".into(), "True/Published".into())
    );
}

#[test]
fn a_failed_first_poll() {
    let mut fixture = ReleaseFixture::new();
    fixture.fail_poll("NotFound").evaluate();
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("False/NotFound".into(), "False/NeverSynced".into())
    );
}
