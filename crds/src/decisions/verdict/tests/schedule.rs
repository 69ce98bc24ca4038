//! Rule 10: windows and blackouts, and whom they hold.

use super::{fixture::*, *};

/// A freeze that began before [`NOW`] and ends a day after it.
fn freeze() -> Value {
    json!({"blackouts": [{"from": "2026-11-20T00:00", "to": "2026-11-23T12:00", "reason": "sale"}]})
}

fn window(start: &str) -> Value {
    json!({"windows": [{"start": start, "duration": "2h"}]})
}

fn with(parts: &[Value]) -> Value {
    let mut all = json!({});
    for part in parts {
        all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    all
}

fn for_everyone(rest: &Value) -> Value {
    with(&[rest.clone(), json!({"windowsFor": "Everyone"})])
}

fn of(policies: &[Value]) -> VerdictFixture {
    VerdictFixture::of(&policies.iter().map(|rest| auto(&json!({}), rest)).collect::<Vec<_>>())
}

#[test]
fn a_blackout_closes_what_windows_open() {
    const END: &str = "2026-11-23T12:00:00Z";
    let year = |to: &str| json!({"blackouts": [{"from": "2026-11-20T00:00", "to": to, "reason": "sale"}]});
    for (policies, expected, until) in [
        (vec![freeze()], vec!["Blackout"], Some(END)),
        // No window is open either.
        (vec![with(&[freeze(), window("10:00")])], vec!["Blackout", "OutsideWindow"], Some("2026-11-24T10:00:00Z")),
        // The window is open.
        (vec![with(&[freeze(), window("11:00")])], vec!["Blackout"], Some("2026-11-23T12:00:00Z")),
        (vec![freeze(), window("10:00")], vec!["Blackout", "OutsideWindow"], Some("2026-11-24T10:00:00Z")),
        (vec![freeze(), freeze()], vec!["Blackout", "Blackout"], Some(END)),
        // One that is over, one that is ahead, and one that delays the opening.
        (vec![year("2026-11-22T12:00")], vec![], None),
        (
            vec![json!({"blackouts": [{"from": "2026-11-22T12:00:01", "to": END[..16], "reason": "sale"}]})],
            vec![],
            None,
        ),
        (
            vec![with(&[
                window("10:00"),
                json!({"blackouts": [{"from": "2026-11-23T09:00", "to": "2026-11-23T11:30", "reason": "sale"}]}),
            ])],
            vec!["OutsideWindow"],
            Some("2026-11-23T11:30:00Z"),
        ),
        // Nothing opens within 400 days.
        (vec![year("2028-01-01T00:00")], vec!["Blackout", "WindowsNeverMeet"], None),
        (vec![with(&[year("2028-01-01T00:00"), window("10:00")])], vec!["Blackout", "WindowsNeverMeet"], None),
        (vec![with(&[freeze(), window("10:00")]), window("14:00")], vec!["Blackout", "WindowsNeverMeet"], None),
    ] {
        let verdict = of(&policies).evaluate(change(A, "v1.1.0", "v1.0.0"));
        assert_eq!((codes(&verdict), verdict.until()), (expected, until.map(at)), "{policies:?}");
    }
}

#[test]
fn every_blackout_that_lasts_is_reported_with_its_reason() {
    let span = |from: &str, to: &str, reason: &str| json!({"from": from, "to": to, "reason": reason});
    let blackouts = json!({"blackouts": [
        span("2026-11-22T00:00", "2026-11-23T00:00", "audit"), span("2026-11-21T00:00", "2026-11-22T00:00", "over"),
        span("2026-11-20T00:00", "2026-11-25T00:00", "sale"), span("2026-11-20T00:00", "2026-11-25T00:00:00", "sale"),
    ]});
    let verdict = of(&[blackouts]).evaluate(change(A, "v1.1.0", "v1.0.0"));
    let reasons: Vec<_> = verdict.reasons().iter().filter_map(|reason| reason.cause.policy_message()).collect();
    assert_eq!(reasons, ["audit", "sale"]);
    assert!(verdict.reasons().iter().all(|reason| reason.until() == Some(at("2026-11-25T00:00:00Z"))));
}

#[test]
fn windows_for_decides_whom_each_policy_holds() {
    let closed = window("10:00");
    for (policies, expected) in [
        (vec![freeze()], [&["Blackout"][..], &[], &[], &[]]),
        (vec![with(&[freeze(), json!({"windowsFor": "Agent"})])], [&["Blackout"], &[], &[], &[]]),
        (vec![for_everyone(&freeze())], [&["Blackout"], &["Blackout"], &["Blackout"], &[]]),
        (vec![for_everyone(&closed)], [&["OutsideWindow"], &["OutsideWindow"], &["OutsideWindow"], &[]]),
        // Each policy for its own.
        (
            vec![for_everyone(&freeze()), closed.clone()],
            [&["Blackout", "OutsideWindow"], &["Blackout"], &["Blackout"], &[]],
        ),
        (vec![freeze(), json!({"windowsFor": "Everyone"})], [&["Blackout"], &[], &[], &[]]),
        (
            vec![for_everyone(&closed), window("14:00")],
            [&["WindowsNeverMeet"], &["OutsideWindow"], &["OutsideWindow"], &[]],
        ),
    ] {
        for (intent, expected) in [A, U, X, R].into_iter().zip(expected) {
            let active = if intent == R { "v1.1.0" } else { "v1.0.0" };
            assert_eq!(of(&policies).codes(change(intent, "v1.1.0", active)), expected, "{intent:?} {policies:?}");
        }
    }
    // A first install, d8 itself, and a plugin that cannot have a record.
    let everyone = of(&[for_everyone(&freeze())]);
    assert_eq!(everyone.codes(change(U, "v1.1.0", None)), ["Blackout"]);
    let of_component = |component| VersionChange { component, ..change(U, "v1.1.0", "v1.0.0") };
    assert_eq!(everyone.codes(of_component("d8")), ["Blackout"]);
    assert_eq!(everyone.codes(of_component("my_plugin")), [""; 0]);
}

#[test]
fn rule_6_expedite_lifts_windows_and_no_blackout() {
    let expedited = |rest: &Value| auto(&json!({"expedite": ["v1.1.0"]}), rest);
    let (closed, both) = (for_everyone(&window("10:00")), for_everyone(&with(&[freeze(), window("10:00")])));
    let other = auto(&json!({}), &json!({"windows": [{"start": "13:00", "duration": "30m"}]}));
    for (specs, expected, until) in [
        (vec![expedited(&closed)], vec![], None),
        (vec![expedited(&both)], vec!["Blackout"], Some("2026-11-23T12:00:00Z")),
        // The blackout delays the windows of the other policy, and the lifted windows do not.
        (vec![expedited(&both), other], vec!["Blackout", "OutsideWindow"], Some("2026-11-23T13:00:00Z")),
        (vec![expedited(&closed), auto(&json!({}), &closed)], vec!["OutsideWindow"], Some("2026-11-23T10:00:00Z")),
    ] {
        let verdict = VerdictFixture::of(&specs).evaluate(change(A, "v1.1.0", "v1.0.0"));
        assert_eq!((codes(&verdict), verdict.until()), (expected, until.map(at)), "{specs:?}");
    }
}

#[test]
fn rule_2_a_blocked_version_is_left_during_a_blackout() {
    let both = for_everyone(&with(&[freeze(), window("10:00")]));
    for (rule, expected) in
        [(json!({"block": ["v1.0.0"]}), vec![]), (json!({"versions": ">1.0.0"}), vec!["Blackout", "OutsideWindow"])]
    {
        for intent in [A, U, X] {
            let fixture = VerdictFixture::auto(&rule, &both);
            assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{intent:?} {rule}");
        }
    }
}

#[test]
fn people_are_told_to_update_only_if_nothing_holds_them() {
    let sentence = |policies: &[Value], intent| of(policies).sentences(change(intent, "v1.1.0", "v1.0.0"));
    let update = "run `d8 plugins update stronghold`";
    for (policies, intent, expected) in [
        (vec![freeze()], A, true),
        (vec![for_everyone(&freeze())], A, false),
        (vec![for_everyone(&freeze())], U, false),
        // Another policy holds people now.
        (vec![freeze(), for_everyone(&window("10:00"))], A, false),
        (vec![freeze(), for_everyone(&window("11:00"))], A, true),
        (vec![window("10:00"), for_everyone(&window("14:00"))], A, false),
    ] {
        let text = sentence(&policies, intent);
        assert_eq!(text.contains(update), expected, "{policies:?}: {text}");
    }
}
