//! Tables of outcomes and what a host reports of them.

use std::time::Duration;

use super::*;
use crate::decisions::{
    reason::{Cause, Origin, Source, Subject},
    selection::PublishedVersion,
    verdict::Verdict,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn published(text: &str) -> PublishedVersion {
    PublishedVersion { version: version(text), tag: text.parse().unwrap(), registry_tag: text.parse().unwrap() }
}

fn reason(cause: Cause) -> Reason {
    let subject = Subject {
        component: "tool".parse().unwrap(),
        version: Some(version("v1.1.0")),
        active: None,
        evaluated_at: None,
    };
    Reason { subject: subject.into(), cause }
}

fn by() -> Source {
    Source::Policy { policy: "p".into(), origin: Origin::Rule(0), field: None }
}

/// Held until 2026-11-01T01:00:00Z.
fn soaking() -> Verdict {
    let first_seen = at("2026-11-01T00:00:00Z");
    let cause = Cause::Soaking { by: by(), min_age: Duration::from_hours(1), first_seen, expedited: false };
    Verdict::new(vec![reason(cause)])
}

fn denied() -> Reason {
    reason(Cause::Denied { by: by(), message: None })
}

fn keep(passed_over: Vec<(PublishedVersion, Verdict)>) -> Outcome {
    Outcome::Keep { forbidden: false, passed_over }
}

#[test]
fn the_state_of_a_component() {
    use ComponentState::{Forbidden, Held, Pending, UpToDate};
    let newer = || vec![(published("v1.1.0"), soaking())];
    let nothing = |passed_over| Outcome::Nothing { why: NoCandidate::AllPassedOver, major: None, passed_over };
    let unpublished = || Outcome::Nothing { why: NoCandidate::NotPublished, major: None, passed_over: Vec::new() };
    let take = || Outcome::Take { version: published("v1.1.0"), passed_over: Vec::new() };
    for (what, active, forbidden, outcome, expected) in [
        ("a newer version can be taken", Some("v1.0.0"), None, take(), (Pending, Some("v1.1.0"), None)),
        (
            "a forbidden one is replaced",
            Some("v1.0.0"),
            Some(denied()),
            take(),
            (Pending, Some("v1.1.0"), Some("Denied")),
        ),
        ("a newer one is held", Some("v1.0.0"), None, keep(newer()), (Held, Some("v1.1.0"), Some("Soaking"))),
        ("nothing is newer", Some("v1.0.0"), None, keep(Vec::new()), (UpToDate, Some("v1.0.0"), None)),
        ("a forbidden one stays", Some("v1.0.0"), Some(denied()), keep(newer()), (Forbidden, None, Some("Denied"))),
        ("a required one is held", None, None, nothing(newer()), (Held, Some("v1.1.0"), Some("Soaking"))),
        (
            "a required one is denied",
            None,
            None,
            nothing(vec![(published("v1.1.0"), Verdict::new(vec![denied()]))]),
            (Forbidden, None, Some("Denied")),
        ),
        ("a required one is not published", None, None, unpublished(), (Held, None, Some("NotPublished"))),
    ] {
        let active = ActiveArtifact { version: active.map(version), digest: None };
        let found = ComponentReport::of(active, forbidden.as_ref(), &outcome);
        let (state, target, reason) = expected;
        let target = target.map(version);
        assert_eq!((found.state, &found.target, found.reason.as_deref()), (state, &target, reason), "{what}");
        assert_eq!(found.message.is_some(), reason.is_some(), "{what}");
        let is_soaking = reason == Some("Soaking");
        assert_eq!(found.until, is_soaking.then(|| at("2026-11-01T01:00:00Z")), "{what}");
    }
}

#[test]
fn a_change_succeeds_or_fails() {
    let active = || ActiveArtifact { version: Some(version("v1.0.0")), digest: None };
    let take = Outcome::Take { version: published("v1.1.0"), passed_over: Vec::new() };
    let planned = ComponentReport::of(active(), None, &take);
    let changed = ComponentReport::changed(ActiveArtifact { version: Some(version("v1.1.0")), digest: None });
    assert_eq!(
        (changed.state, changed.active, changed.target),
        (ComponentState::UpToDate, Some(version("v1.1.0")), Some(version("v1.1.0")),)
    );
    let message = format!("exit status 1{}", "x".repeat(4096));
    let failed = planned.failed(&FailedAttempt { version: version("v1.1.0"), reason: "Smoke".into(), message });
    assert_eq!((failed.state, failed.active), (ComponentState::Failed, Some(version("v1.0.0"))));
    assert_eq!(failed.message.unwrap().chars().count(), limits::STATUS_MESSAGE);
}

fn report(state: ComponentState) -> HostReport {
    let component = ComponentReport {
        active: Some(version("v1.0.0")),
        digest: None,
        target: Some(version("v1.0.0")),
        state,
        reason: None,
        message: None,
        until: None,
    };
    HostReport {
        platform: "linux-amd64".into(),
        agent_version: "v0.1.0".into(),
        policies: vec![("p".into(), 3)],
        components: BTreeMap::from([("tool".parse().unwrap(), component)]),
        clock_offset: Some(SignedDuration::ZERO),
        machine: Some("m".into()),
        ..HostReport::default()
    }
}

fn condition<'a>(status: &'a CliHostStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

#[test]
fn a_status_is_written_when_it_changes_and_every_six_hours() {
    let begin = at("2026-11-01T00:00:00Z");
    let hours = |hours| begin + SignedDuration::from_hours(hours);
    let first = report(ComponentState::UpToDate).status(&CliHostStatus::default(), 1, begin).unwrap();
    assert_eq!(first.last_seen, Some(Time(begin)));
    assert_eq!(condition(&first, "Ready").reason, "UpToDate");
    let same = report(ComponentState::UpToDate);
    assert_eq!(same.status(&first, 1, hours(5)), None);
    let later = same.status(&first, 1, hours(6)).unwrap();
    assert_eq!(later, CliHostStatus { last_seen: Some(Time(hours(6))), ..first.clone() });

    let failed = report(ComponentState::Failed).status(&first, 1, hours(1)).unwrap();
    let ready = condition(&failed, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Failed"));
    assert_eq!(ready.message, "the last change failed: tool");
    assert_eq!(ready.last_transition_time, Time(hours(1)));
    assert_eq!(condition(&failed, "ClockSynced").last_transition_time, Time(begin));
    assert_eq!(failed.components[0].last_change, Some(Time(hours(1))));
    // A new message of the same state does not move `lastChange`.
    let mut explained = report(ComponentState::Failed);
    explained.components.values_mut().for_each(|component| component.message = Some("why".into()));
    let explained = explained.status(&failed, 1, hours(2)).unwrap();
    assert_eq!(explained.components[0].last_change, Some(Time(hours(1))));
}

#[test]
fn whether_the_host_follows_its_policies() {
    use ComponentState::{Failed, Forbidden, Held, Pending, Switching, Unfit, UpToDate};
    for (state, expected) in [
        (UpToDate, ("True", "UpToDate")),
        (Held, ("True", "Waiting")),
        (Pending, ("True", "Waiting")),
        (Switching, ("True", "Waiting")),
        (Failed, ("False", "Failed")),
        (Forbidden, ("False", "Forbidden")),
        (Unfit, ("False", "Unfit")),
    ] {
        let ready = report(state).ready();
        assert_eq!((ready.status, ready.reason.as_str()), expected);
    }
    let ungoverned = HostReport { policies: Vec::new(), ..report(UpToDate) };
    assert_eq!(ungoverned.ready().reason, "NotGoverned");
    let skewed = HostReport { clock_offset: Some(SignedDuration::from_secs(-301)), ..report(UpToDate) };
    let status = skewed.status(&CliHostStatus::default(), 1, at("2026-11-01T00:00:00Z")).unwrap();
    assert_eq!(condition(&status, "ClockSynced").reason, "ClockSkew");
}

#[test]
fn what_was_reported_stays_while_the_policies_cannot_be_read() {
    let begin = at("2026-11-01T00:00:00Z");
    let before = report(ComponentState::UpToDate).status(&CliHostStatus::default(), 1, begin).unwrap();
    let unreadable = HostReport { unreadable: Some("no access".into()), ..HostReport::default() };
    let status = unreadable.status(&before, 1, begin + SignedDuration::from_mins(1)).unwrap();
    assert_eq!((&status.components, &status.policies), (&before.components, &before.policies));
    let synced = condition(&status, "PolicySynced");
    assert_eq!((synced.status.as_str(), synced.message.as_str()), ("False", "no access"));
    let ready = condition(&status, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "PolicyUnreadable"));
}

#[test]
fn a_second_machine_is_a_condition_while_it_is_seen() {
    let status = |duplicate| {
        let report = HostReport { duplicate, ..report(ComponentState::UpToDate) };
        report.status_now(&CliHostStatus::default(), 1, at("2026-11-01T00:00:00Z"))
    };
    let alone = status(false);
    assert!(alone.conditions.iter().all(|condition| condition.type_ != DUPLICATE_IDENTITY));
    assert_eq!(alone.machine.as_deref(), Some("m"));
    let (both, of) = (status(true), DUPLICATE_IDENTITY);
    assert_eq!(condition(&both, of).status, "True");
    assert!(condition(&both, of).message.contains("`d8 host rotate"), "{both:?}");
}
