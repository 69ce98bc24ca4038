//! Sentences as people read them: each names policy, rule and the next step.

use super::*;

fn sentence(spec: &Value, ask: Ask<'_>) -> String {
    let judgement = judge(&set(std::slice::from_ref(spec)), ask);
    judgement.reasons().iter().map(|reason| reason.message.clone()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_reason_reads_as_a_sentence() {
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["stronghold"], "updates": "Auto"});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let cases = [
        (
            json!({"rules": [{"plugins": ["stronghold"], "access": "Deny", "message": "Runbook: https://wiki.example"}]}),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0, rules[0].access: stronghold is denied on this host; remove it with `d8 plugins remove \
             stronghold`, or ask for another rule (Runbook: https://wiki.example)",
        ),
        (
            json!({"defaults": {"access": "Deny"}}),
            ask(U, "v1.1.0", None),
            "policy p0, defaults.access: stronghold is denied on this host; ask for another rule, or for a policy \
             that leaves this host out",
        ),
        (
            rule(json!({"block": ["v1.1.0"]})),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0, rules[0].block: stronghold v1.1.0 is blocked; see `d8 plugins why stronghold` for another \
             version",
        ),
        (
            rule(json!({"versions": ">=1.2 <2"})),
            ask(X, "v1.1.0", "v1.0.0"),
            "policy p0, rules[0].versions: stronghold v1.1.0 is outside `>=1.2 <2`; see `d8 plugins why stronghold` \
             for the versions inside, or ask for a wider range",
        ),
        (
            rule(json!({"channel": "Stable"})),
            ask(X, "v1.1.0-rc.1", "v1.0.0"),
            "policy p0, rules[0].channel: stronghold v1.1.0-rc.1 is a pre-release and the channel is Stable; see \
             `d8 plugins why stronghold` for a release",
        ),
        (
            json!({"paused": true}),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0, paused: changes on this host are stopped until an admin sets it to false; stronghold v1.0.0 \
             goes on running",
        ),
        (
            rule(json!({"updates": "Frozen"})),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0, rules[0].updates: stronghold is Frozen at v1.0.0; ask for `updates: Manual` to replace it",
        ),
        (
            rule(json!({"updates": "Manual"})),
            ask(A, "v1.1.0", "v1.0.0"),
            "policy p0, rules[0].updates: a person starts updates of stronghold; run `d8 plugins update stronghold`",
        ),
        (
            json!({}),
            ask(A, "v1.1.0", None),
            "no policy sets `updates` for stronghold, so a person starts updates; run `d8 plugins install stronghold`",
        ),
        (
            rule(json!({"majorUpdates": "Stay"})),
            ask(U, "v2.0.0", "v1.0.0"),
            "policy p0, rules[0].majorUpdates: stronghold is installed in major 1; run `d8 plugins install stronghold \
             --version v2.0.0` to cross to v2.0.0",
        ),
        (
            rule(json!({})),
            ask(U, "v1.1.0-rc.1", "v1.0.0"),
            "stronghold v1.1.0-rc.1 is a pre-release; name it to have it: `d8 plugins install stronghold --version \
             v1.1.0-rc.1`",
        ),
        (
            json!({"defaults": {"minAge": "72h"}}),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0, defaults.minAge: this release cannot judge that yet, so stronghold v1.1.0 stays held; have \
             an admin leave it out of the policy",
        ),
        (
            json!({"rules": [{"plugins": ["a"]}, {"plugins": ["b"], "versions": "what"}]}),
            ask(U, "v1.1.0", "v1.0.0"),
            "policy p0: it is invalid and acts as paused; correct spec.rules[1].versions: `what` is not a version \
             constraint: ",
        ),
    ];
    for (spec, ask, expected) in cases {
        let sentence = sentence(&spec, ask);
        assert!(sentence.starts_with(expected), "{sentence}\nis not\n{expected}");
        assert!(!sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn words_from_outside_are_made_printable() {
    let hostile = json!({"rules": [
        {"plugins": ["stronghold"], "access": "Deny", "message": "\u{1b}[2Jgone\n\u{202e}x"}]});
    let odd = json!({"rules": [{"plugins": ["\u{1b}]0;x\u{7}"]}]});
    let odd_name = policy("p\u{9b}0", &json!({"paused": true}));
    let reasons = judge(&PolicySet::from_json([&odd_name]), ask(U, "v1.1.0", "v1.0.0"));
    assert!(!reasons.reasons()[0].message.contains('\u{9b}'));
    let undecodable = json!({"rules": [{"plugins": ["x"], "access": "\u{1b}[31m"}]});
    for spec in [hostile, odd, undecodable] {
        let sentence = sentence(&spec, ask(U, "v1.1.0", "v1.0.0"));
        assert!(!sentence.is_empty());
        assert!(!sentence.contains(|c: char| c.is_control() || c == '\u{202e}'), "{sentence:?}");
    }
    let unmet = ["requires \u{1b}[31m".to_owned()];
    let judgement = judge_full(&PolicySet::default(), ask(U, "v1.1.0", "v1.0.0"), &unmet, None);
    assert!(!judgement.reasons()[0].message.contains('\u{1b}'));
}

#[test]
fn as_json() {
    let judgement = judge(&set(&[json!({"paused": true})]), ask(U, "v1.1.0", "v1.0.0"));
    let value = serde_json::to_value(judgement.reasons()).unwrap();
    assert_eq!(value[0]["code"], "Paused");
    assert_eq!(value[0]["policy"], "p0");
    assert_eq!(value[0]["rule"], "paused");
    assert!(value[0].get("until").is_none());
}
