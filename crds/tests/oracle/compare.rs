//! The comparison of both implementations.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, thread};

use serde_json::Value;

use crate::{clock, first, generate, page, shrink};

const CASES: u64 = 100_000;
const THREADS: u64 = 2;

/// In what two answers differ, an entry each.
fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let reasons = |answer: &Value| -> Vec<String> {
        answer["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str().map(str::to_owned)).collect()
    };
    let (a, b) = (reasons(ours), reasons(theirs));
    out.extend(a.iter().filter(|reason| !b.contains(reason)).map(|reason| format!("{reason} by the second only")));
    out.extend(b.iter().filter(|reason| !a.contains(reason)).map(|reason| format!("{reason} by the first only")));
    if a.len() == b.len() && out.is_empty() && a != b {
        out.push("the reasons' order".to_owned());
    }
    if out.is_empty() {
        if ours["verdict"] != theirs["verdict"] {
            out.push("verdict".to_owned());
        }
        if !same_instant(&ours["until"], &theirs["until"]) {
            out.push("until".to_owned());
        }
    }
    if ours["runAllowed"] != theirs["runAllowed"] {
        out.push("runAllowed".to_owned());
    }
    out
}

/// A wave opens between two seconds: which of them is named does not matter.
fn same_instant(left: &Value, right: &Value) -> bool {
    let read = |value: &Value| value.as_str().and_then(clock::instant);
    match (read(left), read(right)) {
        (Some(left), Some(right)) => (left - right).abs() <= clock::SECOND,
        _ => left == right,
    }
}

/// The implementation to compare with.
type First = fn(&Value) -> Result<Value, String>;

/// Kinds of difference in one case: what differs, for whom.
fn kinds(case: &Value, first: First) -> Vec<String> {
    let found = match (page::answer(case), first(case)) {
        (Ok(ours), Ok(theirs)) => differences(&ours, &theirs),
        (Err(_), Err(_)) => vec![],
        (Ok(_), Err(error)) => vec![format!("the first fails: {error}")],
        (Err(error), Ok(_)) => vec![format!("the second fails: {error}")],
    };
    let component = match case["component"].as_str() {
        Some("d8") => "d8",
        Some("my_plugin") => "a name without a record",
        _ => "a plugin",
    };
    let intent = case["intent"].as_str().unwrap_or_default();
    found.into_iter().map(|what| format!("{what} ({intent}, {component})")).collect()
}

/// By kind: how many cases, and the smallest of them.
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

/// Compares the cases of some seeds.
fn search(seeds: Range<u64>, first: First) -> Found {
    let mut found = Found::default();
    for seed in seeds {
        let case = generate::case(seed);
        for kind in kinds(&case, first) {
            found.add(kind, 1, &case);
        }
    }
    found
}

/// The smallest case that differs in this kind. A readable policy stays readable on the way: a broken one
/// would only be another way to the same words.
fn smallest(kind: &String, case: &Value, first: First) -> Value {
    let unreadable =
        |case: &Value| page::answer(case).is_ok_and(|answer| answer["reasons"].to_string().contains("InvalidPolicy"));
    let was_unreadable = unreadable(case);
    shrink::shrink(case.clone(), &|case| kinds(case, first).contains(kind) && unreadable(case) == was_unreadable)
}

#[test]
fn both_readings_agree_on_100_000_random_cases() {
    let share = CASES / THREADS;
    let mut found = Found::default();
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || search(n * share..(n + 1) * share, first::answer))).collect();
        for thread in running {
            for (kind, (count, case)) in thread.join().expect("a search").0 {
                found.add(kind, count, &case);
            }
        }
    });
    let mut report = String::new();
    for (kind, (count, case)) in &found.0 {
        let case = smallest(kind, case, first::answer);
        let second = page::answer(&case).map_or_else(|error| error, |answer| answer.to_string());
        let first = first::answer(&case).map_or_else(|error| error, |answer| answer.to_string());
        let _ = write!(report, "\n{kind}: {count} cases\n  {case}\n  first:  {first}\n  second: {second}\n");
    }
    assert!(found.0.is_empty(), "{} kinds of difference in {CASES} cases:\n{report}", found.0.len());
}

/// The comparison itself can fail: an implementation that never heard of old views is found out, and the
/// case it is shown with has nothing else in it.
#[test]
fn a_planted_mistake_is_found_and_shrunk() {
    fn forgetful(case: &Value) -> Result<Value, String> {
        let mut case = case.clone();
        case["confirmed"] = case["now"].clone();
        page::answer(&case)
    }
    let found = search(0..1000, forgetful);
    let all: Vec<&String> = found.0.keys().collect();
    assert!(all.iter().any(|kind| *kind == "PolicyStale by the second only (A, a plugin)"), "{all:?}");
    assert!(all.iter().all(|kind| kind.contains("(A, ")), "{all:?}");
    for (kind, (_, case)) in found.0.iter().filter(|(kind, _)| kind.starts_with("PolicyStale")) {
        let case = smallest(kind, case, forgetful);
        assert_eq!(case["policies"], serde_json::json!([]), "{case}");
        assert!(case["release"].is_null() && case["active"].is_null(), "{case}");
    }
}

/// A comparison says something only where every answer is common enough.
#[test]
fn random_cases_meet_every_reason_and_verdict() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..20_000 {
        let answer = page::answer(&generate::case(seed)).expect("a case that can be read");
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
    ];
    for name in wanted {
        assert!(seen.get(name).is_some_and(|count| *count >= 20), "{name} is too rare: {:?}", seen.get(name));
    }
}
