//! What holds for any policies: hostile texts end in a verdict, order never matters, adding a policy
//! never permits more, and holds never refuse a run.

use crate::decisions::intent::Intent;
use proptest::prelude::*;

use super::{fixture::*, *};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("stronghold".to_owned()),
        Just("*".to_owned()),
        Just("v1.1.0".to_owned()),
        Just("<1.1".to_owned()),
        Just("1h".to_owned()),
        "[a-z0-9.*<>=v -]{0,8}",
        "(?s:.{0,8})",
    ]
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::sample::select(words).prop_map(|word| json!(word))
}

fn fields(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| proptest::option::of(value).prop_map(move |value| (name.to_owned(), value)))
        .collect();
    fields.prop_map(|pairs| pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// A policy that is valid, for most of the time.
fn spec(texts: fn() -> BoxedStrategy<String>) -> impl Strategy<Value = Value> {
    let value = move || texts().prop_map(Value::from).boxed();
    let list = move || proptest::collection::vec(value(), 1..3).prop_map(Value::from).boxed();
    let settings = move || {
        vec![
            ("access", word(&["Allow", "Deny", "Require"]).boxed()),
            ("channel", word(&["Stable", "Prerelease"]).boxed()),
            ("updates", word(&["Auto", "Manual", "Frozen"]).boxed()),
            ("majorUpdates", word(&["Stay", "Cross"]).boxed()),
        ]
    };
    let rule = move || {
        let mut all = settings();
        all.extend([("versions", value()), ("block", list()), ("message", value()), ("minAge", value())]);
        (list(), fields(all)).prop_map(|(plugins, mut rule)| {
            rule.insert("plugins".to_owned(), plugins);
            Value::Object(rule)
        })
    };
    fields(vec![
        ("paused", any::<bool>().prop_map(Value::from).boxed()),
        ("defaults", fields(settings()).prop_map(Value::Object).boxed()),
        ("rules", proptest::collection::vec(rule(), 0..3).prop_map(Value::from).boxed()),
        (
            "hostSelector",
            (value(), value()).prop_map(|(k, v)| json!({"matchLabels": {k.as_str().unwrap_or("k"): v}})).boxed(),
        ),
    ])
    .prop_map(Value::Object)
}

fn any_text() -> BoxedStrategy<String> {
    text().boxed()
}

/// Texts that are fine in every field they may land in, bar some.
fn tame_text() -> BoxedStrategy<String> {
    proptest::sample::select(vec!["stronghold", "1.1.0", "1.0.0", "strong*"]).prop_map(str::to_owned).boxed()
}

pub(super) fn intent() -> impl Strategy<Value = Intent> {
    proptest::sample::select(vec![A, U, X, R])
}

fn version_text() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["v0.9.0", "v1.0.0", "v1.1.0", "v1.1.0-rc.1", "v2.0.0"])
}

proptest! {
    #[test]
    fn every_policy_has_a_verdict_with_printable_text(
        specs in proptest::collection::vec(spec(any_text), 0..4), intent in intent(), candidate in version_text(),
    ) {
        for reason in evaluate(&set(&specs), change(intent, candidate, "v1.0.0")).reasons() {
            let text = explain::to_person(reason);
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn order_never_matters(
        specs in proptest::collection::vec(spec(tame_text), 0..4), intent in intent(), candidate in version_text(),
    ) {
        let policies: Vec<_> = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect();
        let there = evaluate(&PolicySet::from_json(&policies), change(intent, candidate, "v1.0.0"));
        let back = evaluate(&PolicySet::from_json(policies.iter().rev()), change(intent, candidate, "v1.0.0"));
        prop_assert_eq!(there, back);
    }

    #[test]
    fn one_policy_more_never_permits_what_was_forbidden(
        specs in proptest::collection::vec(spec(tame_text), 1..4), intent in intent(), candidate in version_text(),
    ) {
        let fewer = evaluate(&set(&specs[1..]), change(intent, candidate, "v1.0.0")).class();
        let more = evaluate(&set(&specs), change(intent, candidate, "v1.0.0")).class();
        prop_assert!(fewer != Class::Forbidden || more == Class::Forbidden);
    }

    #[test]
    fn only_what_binds_a_repair_refuses_a_run(
        specs in proptest::collection::vec(spec(tame_text), 0..4), active in version_text(),
    ) {
        let set = set(&specs);
        let labels = labels();
        let host = bastion(&labels);
        let runs = set.for_host(host).run_allowed(&"stronghold".parse().unwrap(), &version(active)).is_ok();
        prop_assert_eq!(runs, evaluate(&set, change(R, active, active)).is_eligible());
    }
}

/// A valid rule with gates of every kind, and the rest of its policy.
fn gated() -> impl Strategy<Value = Value> {
    let chance = |value: BoxedStrategy<Value>| proptest::option::weighted(0.4, value).boxed();
    let pick = |values: Vec<Value>| chance(proptest::sample::select(values).boxed());
    let rule = (
        pick(vec![json!("0s"), json!("1h"), json!("40h"), json!("60h")]),
        pick(vec![json!(["1.0.0"]), json!(["1.1.0", "2.0.0"])]),
        pick(vec![json!(["1.1.0"])]),
        pick(vec![json!("<2"), json!(">=1.1"), json!("=1.1.0-rc.1")]),
        pick(vec![json!("Stable"), json!("Prerelease")]),
        pick(vec![json!("Auto"), json!("Manual"), json!("Frozen")]),
        pick(vec![
            json!([{"version": "v1.1.0", "digest": digest('a')}]),
            json!([{"version": "v1.0.0", "digest": digest('d')}]),
        ]),
    );
    let rest = (
        pick(vec![
            json!({"over": "1h"}),
            json!({"over": "100h"}),
            json!({"over": "100h", "canarySelector": {"matchLabels": {"role": "bastion"}}}),
        ]),
        pick(vec![json!([{"start": "11:00", "duration": "2h"}]), json!([{"start": "20:00", "duration": "16h1m"}])]),
        pick(vec![json!({"movedTags": "Refuse"}), json!({"movedTags": "Soak"})]),
        pick(vec![json!(true)]),
        pick(vec![
            json!([{"from": "2026-11-22T00:00", "to": "2026-11-22T13:00", "reason": "audit"}]),
            json!([{"from": "2026-11-22T13:00", "to": "2026-11-25T00:00", "timeZone": "Asia/Kathmandu", "reason": "sale"}]),
        ]),
        pick(vec![json!("Agent"), json!("Everyone")]),
    );
    (rule, rest).prop_map(|((min_age, block, expedite, versions, channel, updates, pins), rest)| {
        let some = |pairs: Vec<(&str, Option<Value>)>| {
            pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect::<serde_json::Map<_, _>>()
        };
        let mut rule = some(vec![
            ("minAge", min_age),
            ("block", block),
            ("expedite", expedite),
            ("versions", versions),
            ("channel", channel),
            ("updates", updates),
            ("pins", pins),
        ]);
        rule.insert("plugins".to_owned(), json!(["stronghold"]));
        let (rollout, windows, integrity, paused, blackouts, windows_for) = rest;
        let mut spec = some(vec![
            ("rollout", rollout),
            ("windows", windows),
            ("integrity", integrity),
            ("paused", paused),
            ("blackouts", blackouts),
            ("windowsFor", windows_for),
        ]);
        spec.insert("rules".to_owned(), json!([rule]));
        Value::Object(spec)
    })
}

pub(super) fn gated_policies() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(gated(), 1..4)
}

pub(super) fn recorded_version() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["v1.0.0", "v1.1.0", "v1.1.0-rc.1", "v1.5.0", "v2.0.0"])
}

/// Why the active version is forbidden.
fn active_forbidden(fixture: &VerdictFixture, active: &str) -> Option<ReasonCode> {
    let labels = labels();
    let (component, active) = ("stronghold".parse().unwrap(), version(active));
    let host = Host { new_root: fixture.new_root, ..Host::unattended(fixture.host, &labels, None) };
    let case = Candidate::new(host, &component, &active, A, fixture.now).release(fixture.release.as_ref());
    PolicySet::from_json(&fixture.policies)
        .for_host(host)
        .guidance_for(&case)
        .active_forbidden
        .map(|reason| reason.code())
}

/// Makes a time gate of the first policy tighter.
fn tightened(mut fixture: VerdictFixture, by: usize) -> VerdictFixture {
    let spec = &mut fixture.policies[0]["spec"];
    match by {
        0 => spec["rules"][0]["minAge"] = json!("8760h"),
        1 => spec["rollout"] = json!({"over": "720h"}),
        2 => spec["windows"] = json!([{"start": "00:00", "duration": "1m"}]),
        3 => spec["blackouts"] = json!([{"from": "2026-01-01T00:00", "to": "2027-01-01T00:00", "reason": "all year"}]),
        4 => spec["windowsFor"] = json!("Everyone"),
        _ => spec["rules"][0]["expedite"] = json!([]),
    }
    fixture
}

proptest! {
    #[test]
    fn order_of_objects_never_matters(
        specs in gated_policies(), intent in intent(), candidate in recorded_version(),
    ) {
        let fixture = VerdictFixture::of(&specs);
        let mut back = fixture.clone();
        back.policies.reverse();
        back.release.as_mut().unwrap().status.as_mut().unwrap().versions.reverse();
        prop_assert_eq!(fixture.evaluate(change(intent, candidate, "v1.0.0")), back.evaluate(change(intent, candidate, "v1.0.0")));
    }

    #[test]
    fn adding_a_policy_never_makes_a_forbidden_version_permitted(
        specs in gated_policies(), intent in intent(), candidate in recorded_version(),
    ) {
        let fewer = VerdictFixture::of(&specs[1..]).evaluate(change(intent, candidate, "v1.0.0")).class();
        let more = VerdictFixture::of(&specs).evaluate(change(intent, candidate, "v1.0.0")).class();
        prop_assert!(fewer != Class::Forbidden || more == Class::Forbidden);
    }

    #[test]
    fn held_never_removes(specs in gated_policies(), active in recorded_version()) {
        let fixture = VerdictFixture::of(&specs);
        let as_it_is = fixture.evaluate(change(A, active, active));
        prop_assert_eq!(active_forbidden(&fixture, active).is_some(), as_it_is.class() == Class::Forbidden);
    }

    #[test]
    fn tightening_a_time_gate_never_moves_an_installed_version(
        specs in gated_policies(), active in recorded_version(), by in 0_usize..6, intent in intent(),
    ) {
        let fixture = VerdictFixture::of(&specs);
        let tight = tightened(fixture.clone(), by);
        prop_assert_eq!(active_forbidden(&fixture, active), active_forbidden(&tight, active));
        // And permits nothing that was not.
        let is_eligible = |fixture: &VerdictFixture| fixture.evaluate(change(intent, "v1.1.0", "v1.0.0")).is_eligible();
        prop_assert!(!is_eligible(&tight) || is_eligible(&fixture));
    }

    #[test]
    fn a_wave_is_monotonic_in_time_and_in_its_speed(
        over in 1_u64..720, sooner in 1_u64..720, since in proptest::option::of(0_i64..100), hours in 0_i64..800,
        later in 0_i64..800, host in proptest::sample::select(vec!["bastion-1", "bastion-2", "ci-7", "x"]),
    ) {
        let start = at("2026-11-20T12:00:00Z");
        let after = |hours: i64| start + jiff::SignedDuration::from_hours(hours);
        let in_wave = |over: u64, hours: i64| {
            let fixture = VerdictFixture::auto(&json!({}), &json!({"rollout": {"over": format!("{over}h")}}));
            let since = since.map(|hours| after(hours).to_string());
            let mut fixture = fixture.status(&wave("v1.1.0", &json!({"since": since})));
            (fixture.now, fixture.host) = (after(hours), host);
            !fixture.codes(change(U, "v1.1.0", "v1.0.0")).contains(&"NotInWave")
        };
        let now = in_wave(over, hours);
        prop_assert!(!now || in_wave(over, hours + later), "permitted at f, it stays permitted at f' > f");
        prop_assert!(!now || in_wave(over.min(sooner), hours));
        prop_assert!(hours < over.cast_signed() + since.unwrap_or_default() || now, "at f = 1 all hosts have it");
    }

    #[test]
    fn a_hold_that_ends_is_over_at_its_end(specs in gated_policies(), candidate in recorded_version()) {
        let mut fixture = VerdictFixture::of(&specs);
        if let Some(until) = fixture.evaluate(change(A, candidate, "v1.0.0")).until() {
            // What each reason waited for has come; a window may have closed meanwhile.
            fixture.now = until;
            fixture.confirmed = Some(until);
            let left = fixture.evaluate(change(A, candidate, "v1.0.0"));
            let waits = ["Soaking", "NotInWave"];
            prop_assert!(!codes(&left).iter().any(|code| waits.contains(code)), "{:?}", left);
        }
    }
}
