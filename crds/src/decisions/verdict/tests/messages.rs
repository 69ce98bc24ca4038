//! Sentences as people read them: each names policy, rule and the next step.

use super::{fixture::*, *};
use crate::decisions::requirements::Findings;

fn sentence(spec: &Value, change: VersionChange<'_>) -> String {
    let verdict = evaluate(&set(std::slice::from_ref(spec)), change);
    verdict.reasons().iter().map(explain::in_record).collect::<Vec<_>>().join("\n")
}

/// Each case with all its reasons as sentences. A difference in the snapshot is a difference of what people read.
#[test]
fn every_reason_reads_as_a_sentence() {
    let mut text = String::new();
    let mut codes_seen: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
    for (title, fixture, change) in cases() {
        codes_seen.extend(fixture.codes(change));
        let sentences = fixture.sentences(change);
        assert!(!sentences.is_empty(), "{title}");
        for sentence in sentences.lines() {
            assert!(!sentence.contains("  ") && !sentence.ends_with('.'), "{sentence}");
        }
        text.extend(["# ", title, "\n", &sentences, "\n"]);
    }
    // The planner has its own tests of its conflicts; `runs` covers removals.
    let missing: Vec<_> = ReasonCode::ALL
        .iter()
        .filter(|code| !codes_seen.contains(code.as_str()))
        .filter(|code| !matches!(code, ReasonCode::Required | ReasonCode::DependencyDenied))
        .collect();
    assert!(missing.is_empty(), "no sentence is shown of {missing:?}");
    insta::assert_snapshot!(text);
}

/// What acts on the machine where it is typed is no advice about another host.
#[test]
fn sentences_about_another_host_name_no_command_that_acts_here() {
    let acting = ["install", "update", "remove"].map(|command| format!("`d8 plugins {command}"));
    let mut named = 0;
    for (title, fixture, change) in cases() {
        let verdict = fixture.evaluate(change);
        for reason in verdict.reasons().iter().filter(|reason| reason.code() != ReasonCode::InvalidPolicy) {
            let sentence = explain::about_host(reason, "bastion-1");
            let acts = acting.iter().any(|command| sentence.contains(command)) || sentence.contains("`d8 cli");
            assert!(!acts && !sentence.contains("  "), "{title}: {sentence}");
            let why = sentence.contains("`d8 plugins why stronghold --host bastion-1`");
            named += u32::from(why || sentence.contains("`kubectl get clihost bastion-1 -o yaml`"));
        }
    }
    assert!(named > 10, "{named}");
}

#[allow(clippy::too_many_lines, reason = "a list")]
fn cases() -> Vec<(&'static str, VerdictFixture, VersionChange<'static>)> {
    let own = |rule: Value| VerdictFixture::auto(&rule, &json!({}));
    let rest = |rest: Value| VerdictFixture::auto(&json!({}), &rest);
    let pin = |letter| json!([{"version": "v1.1.0", "digest": digest(letter)}]);
    let window = |start: &str| json!({"windows": [{"start": start, "duration": "1h"}]});
    let blackout = |to: &str| {
        let span = json!({"from": "2026-11-20T00:00", "to": to, "timeZone": "Europe/Berlin", "reason": "Black Friday"});
        json!({"blackouts": [span]})
    };
    let everyone = || json!({"windowsFor": "Everyone"});
    let objects =
        |parts: &[Value]| Value::Object(parts.iter().filter_map(Value::as_object).flat_map(Clone::clone).collect());
    let halt = json!({"state": "Halted", "haltedAt": "2026-11-22T09:00:00Z", "failed": 3, "since": NOW});
    let behind = |mut fixture: VerdictFixture, observed: Value| {
        fixture.policies[0]["metadata"]["generation"] = json!(4);
        fixture.policies[0]["status"] = json!({"observedGeneration": observed});
        fixture
    };
    let moved = |fixture: VerdictFixture| {
        let mut entry = version_seen("v1.1.0", "2026-11-20T12:00:00Z");
        entry["moved"] = json!({"from": digest('0'), "at": "2026-11-20T12:00:00Z"});
        VerdictFixture { release: Some(release(NOW, &[&entry])), ..fixture }
    };
    let unrecorded = |fixture: VerdictFixture| VerdictFixture { release: None, ..fixture };
    let d8 = |change: VersionChange<'static>| VersionChange { component: "d8", ..change };
    let up = |intent| change(intent, "v1.1.0", "v1.0.0");
    let slow = json!({"rollout": {"over": "720h"}});
    let local_rules = LocalRules::read([("stronghold", "v1.2.0")], ["evil", "stronghold@v1.3.0"]).unwrap();
    let with_minimum = VerdictFixture { local_rules: Some(local_rules), ..own(json!({})) };
    let note = json!({"plugins": ["stronghold"], "access": "Deny", "message": "Runbook: https://wiki.example"});
    vec![
        ("denied, with the rule's message", VerdictFixture::of(&[json!({"rules": [note]})]), up(U)),
        (
            "denied by default, not installed",
            VerdictFixture::of(&[json!({"defaults": {"access": "Deny"}})]),
            change(U, "v1.1.0", None),
        ),
        ("blocked", own(json!({"block": ["v1.1.0"]})), up(U)),
        ("blocked, and active", own(json!({"block": ["v1.1.0"]})), change(R, "v1.1.0", "v1.1.0")),
        ("outside of versions", own(json!({"versions": ">=1.2 <2"})), up(X)),
        (
            "d8 outside of versions",
            VerdictFixture::of(&[json!({"cli": {"versions": ">=0.13"}})]),
            d8(change(X, "v0.12.0", "v0.13.0")),
        ),
        ("not pinned", own(json!({"pins": pin('d')})), up(X)),
        ("a set channel", unrecorded(own(json!({"channel": "Stable"}))), change(X, "v1.1.0-rc.1", "v1.0.0")),
        ("below the host's minimum", with_minimum.clone(), up(X)),
        ("refused by the host", with_minimum.clone(), VersionChange { component: "evil", ..up(X) }),
        ("a version refused by the host", with_minimum, change(X, "v1.3.0", "v1.2.0")),
        ("moved, no policy sets it", moved(own(json!({}))), up(U)),
        ("moved, and refused", moved(rest(json!({"integrity": {"movedTags": "Refuse"}}))), up(U)),
        ("paused", rest(json!({"paused": true})), up(U)),
        ("paused, not installed", rest(json!({"paused": true})), change(U, "v1.1.0", None)),
        ("frozen", own(json!({"updates": "Frozen"})), up(U)),
        ("manual", own(json!({"updates": "Manual"})), up(A)),
        ("manual, no policy sets it", VerdictFixture::of(&[json!({})]), change(A, "v1.1.0", None)),
        ("soaking", own(json!({"minAge": "72h"})), up(U)),
        (
            "soaking after a move, and expedited",
            moved(VerdictFixture::auto(
                &json!({"minAge": "72h", "expedite": ["v1.1.0"]}),
                &json!({"integrity": {"movedTags": "Soak"}}),
            )),
            up(U),
        ),
        ("soaking for seconds", own(json!({"minAge": "48h5s"})), up(U)),
        ("no record", unrecorded(own(json!({"minAge": "72h"}))), up(U)),
        ("not in the record", unrecorded(own(json!({"pins": pin('a')}))), up(U)),
        ("not in the record's versions", rest(slow.clone()), change(U, "v1.5.0", "v1.0.0")),
        (
            "a stale record",
            VerdictFixture {
                release: Some(release("2026-11-21T10:30:00Z", &[&version_seen("v1.1.0", "2026-11-01T00:00:00Z")])),
                ..own(json!({"minAge": "72h"}))
            },
            up(U),
        ),
        ("not in its wave", rest(slow.clone()), up(U)),
        ("not in its wave, and named", rest(slow.clone()), up(X)),
        (
            "a wave that waits for evidence",
            rest(
                json!({"rollout": {"over": "1h", "canaryPercent": 1, "requireSucceeded": {"hosts": 3, "for": "90m"}}}),
            )
            .status(&wave("v1.1.0", &json!({"state": "AwaitingEvidence", "succeeded": 1}))),
            up(A),
        ),
        (
            "a halted wave",
            rest(json!({"rollout": {"over": "1m", "maxFailed": 3}})).status(&wave("v1.1.0", &halt)),
            change(U, "v1.1.0", "v1.2.0"),
        ),
        (
            "a halt of unknown time",
            rest(slow.clone()).status(&wave("v1.1.0", &json!({"state": "Halted"}))),
            change(U, "v1.1.0", "v1.2.0"),
        ),
        ("outside of a window", rest(window("18:30")), up(A)),
        (
            "outside of windows",
            VerdictFixture::of(&[
                auto(&json!({}), &window("13:00")),
                auto(&json!({}), &json!({"windows": [{"start": "13:30", "duration": "1h"}]})),
            ]),
            up(A),
        ),
        (
            "windows that never meet",
            VerdictFixture::of(&[auto(&json!({}), &window("13:00")), auto(&json!({}), &window("15:00"))]),
            up(A),
        ),
        ("a blackout", rest(blackout("2026-11-27T00:00")), up(A)),
        ("a blackout that holds people too", rest(objects(&[blackout("2026-11-27T00:00"), everyone()])), up(X)),
        (
            "a blackout, and no window in it or after it",
            rest(objects(&[blackout("2026-11-27T00:00"), window("18:30")])),
            up(A),
        ),
        ("outside of a window that holds people too", rest(objects(&[window("18:30"), everyone()])), up(U)),
        (
            "a blackout that does not end within 400 days",
            rest(objects(&[blackout("2028-01-01T00:00"), everyone()])),
            up(U),
        ),
        ("a stale view", VerdictFixture { confirmed: Some(at("2026-11-22T11:48:30Z")), ..own(json!({})) }, up(A)),
        ("a view that was never confirmed", VerdictFixture { confirmed: None, ..own(json!({})) }, up(A)),
        ("not observed", behind(rest(json!({"rollout": {"over": "1h"}})), json!(3)), up(U)),
        ("never observed", behind(rest(json!({"rollout": {"over": "1h"}})), Value::Null), up(U)),
        ("another major", own(json!({"majorUpdates": "Stay"})), change(U, "v2.0.0", "v1.0.0")),
        ("another major, no policy sets it", VerdictFixture::of(&[json!({})]), change(U, "v2.0.0", "v1.0.0")),
        ("a pre-release", unrecorded(own(json!({}))), change(U, "v1.1.0-rc.1", "v1.0.0")),
        (
            "invalid",
            VerdictFixture::of(&[json!({"rules": [{"plugins": ["a"]}, {"plugins": ["b"], "versions": "what"}]})]),
            up(U),
        ),
        ("undecodable", VerdictFixture::of(&[json!({"rules": [{"plugins": ["a"], "access": "Sometimes"}]})]), up(U)),
        (
            "requirements that are not met",
            VerdictFixture {
                findings: Findings {
                    unmet: Unmet::recorded(&["requires Kubernetes >=1.34, the cluster runs v1.33.4".to_owned()]),
                    ..Findings::default()
                },
                ..own(json!({}))
            },
            up(U),
        ),
        (
            "requirements that are unknown",
            VerdictFixture {
                findings: Findings { unchecked: Unchecked::recorded(&[]), ..Findings::default() },
                ..own(json!({}))
            },
            up(A),
        ),
        (
            "requirements of d8 that are not met",
            VerdictFixture {
                findings: Findings { unmet: Unmet::recorded(&[]), ..Findings::default() },
                ..VerdictFixture::of(&[json!({"cli": {"updates": "Auto"}})])
            },
            d8(change(U, "v0.14.0", "v0.13.0")),
        ),
        ("not governed", VerdictFixture::of(&[]), up(A)),
        ("a skewed clock", VerdictFixture { server_time: Some(at("2026-11-22T13:10:00Z")), ..own(json!({})) }, up(A)),
        (
            "a d8 that does not know policies",
            VerdictFixture { unaware: Some(false), ..VerdictFixture::of(&[json!({})]) },
            d8(change(X, "v0.12.0", "v0.13.0")),
        ),
    ]
}

#[test]
fn foreign_text_is_made_printable() {
    let hostile = json!({"rules": [
        {"plugins": ["stronghold"], "access": "Deny", "message": "\u{1b}[2Jgone\n\u{202e}x"}]});
    let odd = json!({"rules": [{"plugins": ["\u{1b}]0;x\u{7}"]}]});
    let odd_name = policy("p\u{9b}0", &json!({"paused": true}));
    let reasons = evaluate(&PolicySet::from_json([&odd_name]), change(U, "v1.1.0", "v1.0.0"));
    assert!(!explain::in_record(&reasons.reasons()[0]).contains('\u{9b}'));
    let undecodable = json!({"rules": [{"plugins": ["x"], "access": "\u{1b}[31m"}]});
    for spec in [hostile, odd, undecodable] {
        let sentence = sentence(&spec, change(U, "v1.1.0", "v1.0.0"));
        assert!(!sentence.is_empty());
        assert!(!sentence.contains(|c: char| c.is_control() || c == '\u{202e}'), "{sentence:?}");
    }
    let unmet = Unmet::recorded(&["requires \u{1b}[31m".to_owned()]);
    let verdict = evaluate_with(&PolicySet::default(), change(U, "v1.1.0", "v1.0.0"), &unmet, None);
    assert!(!explain::in_record(&verdict.reasons()[0]).contains('\u{1b}'));
}

#[test]
fn as_json() {
    let verdict = evaluate(&set(&[json!({"paused": true})]), change(U, "v1.1.0", "v1.0.0"));
    let value = serde_json::to_value(verdict.reasons()).unwrap();
    assert_eq!(value[0]["code"], "Paused");
    assert_eq!(value[0]["policy"], "p0");
    assert_eq!(value[0]["rule"], "paused");
    assert!(value[0].get("until").is_none());
}
