//! Compares the oracle with the implementation under test.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, thread};

use serde_json::{Value, json};

use crate::{
    clock,
    evaluate::evaluate,
    generate::{self, Field},
    next::next,
    shrink, subject,
};

const CASES: u64 = 100_000;
const THREADS: u64 = 2;
/// Each evaluates many versions at several instants.
const NEXT_CASES: u64 = 4000;
/// The fields of the second edition that the library has.
const COMPARED: &[Field] = &[
    Field::Blackouts,
    Field::WindowsFor,
    Field::Emergency,
    Field::ExpediteOfMoved,
    Field::CanaryPercent,
    Field::RequireSucceeded,
    Field::Resume,
    Field::Subjects,
];

/// The differences of two answers.
fn differences(oracle: &Value, subject: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let reasons = |answer: &Value| -> Vec<String> {
        answer["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str().map(str::to_owned)).collect()
    };
    let (a, b) = (reasons(oracle), reasons(subject));
    out.extend(a.iter().filter(|reason| !b.contains(reason)).map(|reason| format!("{reason} by the oracle only")));
    out.extend(b.iter().filter(|reason| !a.contains(reason)).map(|reason| format!("{reason} by the subject only")));
    if a.len() == b.len() && out.is_empty() && a != b {
        out.push("the order of the reasons".to_owned());
    }
    if out.is_empty() {
        if oracle["verdict"] != subject["verdict"] {
            out.push("verdict".to_owned());
        }
        if !same_instant(&oracle["until"], &subject["until"]) {
            out.push("until".to_owned());
        }
    }
    if oracle["runAllowed"] != subject["runAllowed"] {
        out.push("runAllowed".to_owned());
    }
    out
}

/// Whether two times are equal within a second: a wave may end between two seconds.
fn same_instant(left: &Value, right: &Value) -> bool {
    let read = |value: &Value| value.as_str().and_then(clock::instant);
    match (read(left), read(right)) {
        (Some(left), Some(right)) => (left - right).abs() <= clock::SECOND,
        _ => left == right,
    }
}

/// The implementation under test.
type Subject = fn(&Value) -> Result<Value, String>;

/// The kinds of difference in one case: what differs, with intent and component.
fn kinds(case: &Value, subject: Subject) -> Vec<String> {
    let found = match (evaluate(case), subject(case)) {
        (Ok(oracle), Ok(subject)) => differences(&oracle, &subject),
        (Err(_), Err(_)) => vec![],
        (Ok(_), Err(error)) => vec![format!("the subject fails: {error}")],
        (Err(error), Ok(_)) => vec![format!("the oracle fails: {error}")],
    };
    let component = match case["component"].as_str() {
        Some("d8") => "d8",
        Some("my_plugin") => "a name without a record",
        _ => "a plugin",
    };
    let intent = case["intent"].as_str().unwrap_or_default();
    found.into_iter().map(|what| format!("{what} ({intent}, {component})")).collect()
}

/// By kind: the number of cases, and the smallest case.
#[derive(Default)]
struct Found(BTreeMap<String, (usize, Value)>);

impl Found {
    fn add(&mut self, kind: String, count: usize, case: &Value) {
        let (total, smallest) = self.0.entry(kind).or_insert_with(|| (0, case.clone()));
        *total += count;
        if case.to_string().len() < smallest.to_string().len() {
            *smallest = case.clone();
        }
    }
}

/// Compares the cases of these seeds.
fn search(seeds: Range<u64>, subject: Subject) -> Found {
    let mut found = Found::default();
    for seed in seeds {
        let case = generate::case_with(seed, COMPARED);
        for kind in kinds(&case, subject) {
            found.add(kind, 1, &case);
        }
    }
    found
}

/// Shrinks a case that differs in this kind. Valid policies stay valid: an invalid policy would be another difference.
fn smallest(kind: &String, case: &Value, subject: Subject) -> Value {
    let is_invalid =
        |case: &Value| evaluate(case).is_ok_and(|answer| answer["reasons"].to_string().contains("InvalidPolicy"));
    let was_invalid = is_invalid(case);
    shrink::shrink(case.clone(), &|case| kinds(case, subject).contains(kind) && is_invalid(case) == was_invalid)
}

#[test]
fn both_implementations_agree_on_the_next_version() {
    let (mut found, mut later) = (0, 0);
    for seed in 0..NEXT_CASES {
        let mut case = generate::case_with(seed, COMPARED);
        if let Some(fields) = case.as_object_mut() {
            fields.remove("version");
            fields.remove("intent");
        }
        case["candidates"] = json!(generate::VERSIONS);
        let (oracle, subject) = (next(&case), subject::next(&case));
        match (&oracle, &subject) {
            (Ok(oracle), Ok(subject)) => {
                let same = oracle["version"] == subject["version"] && same_instant(&oracle["at"], &subject["at"]);
                assert!(same, "{case}\n  subject: {subject}\n  oracle:  {oracle}");
                found += usize::from(!oracle.is_null());
                later += usize::from(!oracle.is_null() && oracle["at"] != case["now"]);
            }
            (Err(_), Err(_)) => {}
            _ => panic!("{case}\n  subject: {subject:?}\n  oracle:  {oracle:?}"),
        }
    }
    // Most cases have something that no time ends.
    assert!(found > 100 && later > 20, "{found} have a next version, {later} a later one");
}

#[test]
fn both_implementations_agree_on_100_000_random_cases() {
    let share = CASES / THREADS;
    let mut found = Found::default();
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || search(n * share..(n + 1) * share, subject::evaluate))).collect();
        for thread in running {
            for (kind, (count, case)) in thread.join().expect("a search").0 {
                found.add(kind, count, &case);
            }
        }
    });
    let mut report = String::new();
    for (kind, (count, case)) in &found.0 {
        let case = smallest(kind, case, subject::evaluate);
        let oracle = evaluate(&case).map_or_else(|error| error, |answer| answer.to_string());
        let subject = subject::evaluate(&case).map_or_else(|error| error, |answer| answer.to_string());
        let _ = write!(report, "\n{kind}: {count} cases\n  {case}\n  subject: {subject}\n  oracle:  {oracle}\n");
    }
    assert!(found.0.is_empty(), "{} kinds of difference in {CASES} cases:\n{report}", found.0.len());
}

/// Every operator before every form of a version, for the versions around its limits.
#[test]
fn both_implementations_agree_on_every_comparator_of_a_block() {
    const OPERATORS: [&str; 11] = ["", "=", "!=", "<", "<=", "=<", ">", ">=", "~", "~>", "^"];
    const OPERANDS: [&str; 14] = [
        "1",
        "1.3",
        "1.x",
        "1.3.*",
        "v1.3.2",
        "1.3.0",
        "1.3.2-rc.1",
        "1.4.0-0",
        "0",
        "0.3",
        "0.3.1",
        "0.0",
        "0.0.3",
        "2.0.0-rc.1",
    ];
    const VERSIONS: [&str; 22] = [
        "0.0.3-rc.1",
        "0.0.3",
        "0.0.4-rc.1",
        "0.1.0-rc.1",
        "0.3.0-rc.1",
        "0.3.1",
        "0.4.0-rc.1",
        "0.4.0",
        "1.0.0-rc.1",
        "1.2.9",
        "1.3.0-rc.1",
        "1.3.0",
        "1.3.2-alpha",
        "1.3.2-rc.1",
        "1.3.2-rc.2",
        "1.3.2",
        "1.3.9",
        "1.4.0-0",
        "1.4.0-rc.1",
        "1.4.0",
        "2.0.0-rc.1",
        "2.0.0",
    ];
    let mut different = Vec::new();
    for entry in OPERATORS.iter().flat_map(|operator| OPERANDS.map(|operand| format!("{operator}{operand}"))) {
        for version in VERSIONS {
            let case = blocking(&entry, version);
            let (oracle, subject) = (evaluate(&case).unwrap(), subject::evaluate(&case).unwrap());
            if oracle != subject {
                different.push(format!("{entry}, {version}: oracle {oracle}, subject {subject}"));
            }
        }
    }
    assert!(different.is_empty(), "{} cases:\n{}", different.len(), different.join("\n"));
}

/// A repair of a version under a policy that blocks this entry.
fn blocking(entry: &str, version: &str) -> Value {
    json!({
        "component": "stronghold", "version": version, "active": version, "intent": "R",
        "now": "2026-11-22T09:00:00Z", "confirmed": "2026-11-22T09:00:00Z",
        "host": {"id": "bastion-1", "labels": {}, "newRoot": false},
        "policies": [{
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"},
            "spec": {"hostSelector": {}, "rules": [{"plugins": ["stronghold"], "block": [entry]}]},
        }],
        "release": null,
    })
}

/// The comparison itself can fail: it finds an implementation that ignores the age of the policies, with a case that
/// has nothing else in it.
#[test]
fn a_mistake_is_found_and_shrunk() {
    fn without_confirmation(case: &Value) -> Result<Value, String> {
        let mut case = case.clone();
        case["confirmed"] = case["now"].clone();
        evaluate(&case)
    }
    let found = search(0..1000, without_confirmation);
    let all: Vec<&String> = found.0.keys().collect();
    assert!(all.iter().any(|kind| *kind == "PolicyStale by the oracle only (A, a plugin)"), "{all:?}");
    assert!(all.iter().all(|kind| kind.contains("(A, ")), "{all:?}");
    // An invalid policy stays invalid, so it is not removed.
    let is_valid = |case: &Value| !evaluate(case).unwrap().to_string().contains("InvalidPolicy");
    let stale: Vec<_> =
        found.0.iter().filter(|(kind, (_, case))| kind.starts_with("PolicyStale") && is_valid(case)).collect();
    assert!(!stale.is_empty(), "{all:?}");
    for (kind, (_, case)) in stale {
        let case = smallest(kind, case, without_confirmation);
        assert_eq!(case["policies"], serde_json::json!([]), "{case}");
        assert!(case["release"].is_null() && case["active"].is_null(), "{case}");
    }
}
