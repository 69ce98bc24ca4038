//! The random cases have every answer, and every field matters in many of them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    evaluate::evaluate,
    generate::{self, FIELDS, Field},
};

const CASES: u64 = 20_000;

/// The comparison is meaningful only if every answer is common enough.
#[test]
fn random_cases_have_every_reason_and_verdict() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..CASES {
        let answer = evaluate(&generate::case(seed)).expect("a case that can be read");
        let mut add = |name: &str| *seen.entry(name.to_owned()).or_default() += 1;
        add(answer["verdict"].as_str().unwrap());
        for reason in answer["reasons"].as_array().unwrap() {
            add(reason.as_str().unwrap());
        }
        if answer["until"].is_string() {
            add("until");
        }
        if answer["runAllowed"] == false {
            add("refused run");
        }
    }
    println!("{seen:#?}");
    let wanted = [
        "Eligible",
        "Held",
        "Unfit",
        "Forbidden",
        "until",
        "refused run",
        "Denied",
        "Blocked",
        "VersionNotPermitted",
        "NotPinned",
        "ChannelNotPermitted",
        "TagMoved",
        "Paused",
        "Frozen",
        "Manual",
        "Soaking",
        "NoRecord",
        "RecordStale",
        "NotInWave",
        "WaveHalted",
        "OutsideWindow",
        "WindowsNeverMeet",
        "PolicyStale",
        "PolicyNotObserved",
        "MajorStays",
        "PreRelease",
        "InvalidPolicy",
        "NotGoverned",
        "RequirementsUnknown",
        "Blackout",
        "AwaitingEvidence",
    ];
    for name in wanted {
        assert!(seen.get(name).is_some_and(|count| *count >= 20), "{name} is too rare: {:?}", seen.get(name));
    }
}

/// Every field changes the answer often enough.
#[test]
fn random_cases_depend_on_every_field() {
    for field in FIELDS {
        let mut different = 0;
        for seed in 0..CASES / 4 {
            let case = generate::case(seed);
            let without = without(&case, field);
            let (with, without) = (evaluate(&case).unwrap(), evaluate(&without).unwrap());
            // A moved tag is a reason of its own.
            let soaks = |answer: &Value| answer["reasons"].to_string().contains("Soaking");
            different +=
                u32::from(with != without && (field != Field::ExpediteOfMoved || soaks(&with) != soaks(&without)));
        }
        println!("{field:?}: {different}");
        assert!(different >= 10, "{field:?} matters in {different} cases");
    }
}

/// The case without a field.
fn without(case: &Value, field: Field) -> Value {
    let mut case = case.clone();
    for policy in case["policies"].as_array_mut().into_iter().flatten() {
        let pointer = match field {
            Field::Blackouts => "/spec/blackouts",
            Field::WindowsFor => "/spec/windowsFor",
            Field::Emergency => "/spec/emergency",
            // Without it, a rollout that needs evidence would be invalid.
            Field::CanaryPercent if !policy["spec"]["rollout"]["requireSucceeded"].is_null() => continue,
            Field::CanaryPercent => "/spec/rollout/canaryPercent",
            Field::RequireSucceeded => "/spec/rollout/requireSucceeded",
            Field::Resume => "/metadata/annotations",
            Field::Subjects => "/spec/subjects",
            Field::ExpediteOfMoved => "",
        };
        if let Some(value) = policy.pointer_mut(pointer).filter(|_| !pointer.is_empty()) {
            *value = Value::Null;
        }
    }
    if field == Field::ExpediteOfMoved {
        for version in case.pointer_mut("/release/status/versions").and_then(Value::as_array_mut).into_iter().flatten()
        {
            version["moved"] = Value::Null;
        }
    }
    case
}
