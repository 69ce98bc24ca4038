//! What holds for any policies: hostile texts end in a verdict, order never matters, adding a policy
//! never permits more, and holds never refuse a run.

use proptest::prelude::*;

use super::*;

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

fn intent() -> impl Strategy<Value = Intent> {
    proptest::sample::select(vec![A, U, X, R])
}

fn version_text() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["v0.9.0", "v1.0.0", "v1.1.0", "v1.1.0-rc.1", "v2.0.0"])
}

proptest! {
    #[test]
    fn any_policy_ends_in_a_verdict_whose_words_are_printable(
        specs in proptest::collection::vec(spec(any_text), 0..4), intent in intent(), candidate in version_text(),
    ) {
        for reason in judge(&set(&specs), ask(intent, candidate, "v1.0.0")).reasons() {
            prop_assert!(!reason.message.chars().any(char::is_control), "{:?}", reason.message);
        }
    }

    #[test]
    fn order_never_matters(
        specs in proptest::collection::vec(spec(tame_text), 0..4), intent in intent(), candidate in version_text(),
    ) {
        let policies: Vec<_> = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect();
        let there = judge(&PolicySet::from_json(&policies), ask(intent, candidate, "v1.0.0"));
        let back = judge(&PolicySet::from_json(policies.iter().rev()), ask(intent, candidate, "v1.0.0"));
        prop_assert_eq!(there, back);
    }

    #[test]
    fn one_policy_more_never_permits_what_was_forbidden(
        specs in proptest::collection::vec(spec(tame_text), 1..4), intent in intent(), candidate in version_text(),
    ) {
        let fewer = judge(&set(&specs[1..]), ask(intent, candidate, "v1.0.0")).class();
        let more = judge(&set(&specs), ask(intent, candidate, "v1.0.0")).class();
        prop_assert!(fewer != Class::Forbidden || more == Class::Forbidden);
    }

    #[test]
    fn only_what_binds_a_repair_refuses_a_run(
        specs in proptest::collection::vec(spec(tame_text), 0..4), active in version_text(),
    ) {
        let set = set(&specs);
        let labels = labels();
        let host = Host { id: "bastion-1", labels: &labels, new_root: false };
        let runs = set.run_allowed(&host, &"stronghold".parse().unwrap(), &version(active)).is_ok();
        prop_assert_eq!(runs, judge(&set, ask(R, active, active)).is_eligible());
    }
}
