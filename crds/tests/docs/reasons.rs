//! The section "Reasons as JSON": its tables have the keys and types that the code writes.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::reason::{Cause, Reason},
    values::duration,
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{PAGE, samples, unique_keys::UniqueKeys};

/// Keys of an object with their types; a type with `?` belongs to a key that may be absent.
type Keys = BTreeMap<String, String>;

/// Returns the rows of the table below this header row in the section, as cells.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("## Reasons as JSON").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().skip_while(|line| *line != header).skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<_>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "the section has no table {header}");
    rows
}

/// Parses a cell such as `` `minAge` duration, `firstSeen` time? ``.
fn parse_keys(cell: &str) -> Keys {
    if cell == "none" {
        return Keys::new();
    }
    let key = |entry: &str| {
        let (key, kind) = entry.trim().split_once("` ").unwrap_or_else(|| panic!("`{entry}` is not a key and a type"));
        (key.trim_start_matches('`').to_owned(), kind.to_owned())
    };
    cell.split(',').map(key).collect()
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) if text.parse::<Timestamp>().is_ok() => "time".to_owned(),
        Value::String(text) if text.starts_with("sha256:") => "digest".to_owned(),
        Value::String(text) if duration::parse(text).is_ok() => "duration".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(entries) => format!("list of {}s", entries.first().map(type_of).unwrap_or_default()),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Returns the keys of an object that has all values, compared with one that lacks those that may be absent.
fn keys_of(full: &Map<String, Value>, minimal: &Map<String, Value>) -> Keys {
    let extra: Vec<_> = minimal.keys().filter(|key| !full.contains_key(*key)).collect();
    assert!(extra.is_empty(), "{extra:?} only without the optional values");
    let kind = |key: &String, value: &Value| {
        let optional = if minimal.contains_key(key) { "" } else { "?" };
        format!("{}{optional}", type_of(value))
    };
    full.iter().map(|(key, value)| (key.clone(), kind(key, value))).collect()
}

/// Serializes a value, and reads it back without loss: no key is repeated.
fn json(value: &impl serde::Serialize) -> Value {
    let text = serde_json::to_string(value).expect("JSON");
    let UniqueKeys(value) = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match json(value) {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

/// The keys that every reason may have.
fn common() -> Keys {
    table("| key | type | value |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned()))
        .collect()
}

/// Returns code and own keys of a reason, after the common keys are checked.
fn own_keys((full, minimal): &(Reason, Reason)) -> (String, Keys) {
    let (full, minimal) = (object(full), object(minimal));
    let mut keys = keys_of(&full, &minimal);
    for (key, kind) in common() {
        let found = keys.remove(&key);
        let required = !kind.ends_with('?');
        assert!(found.is_some() || !required, "{full:?} has no `{key}`");
        let found = found.unwrap_or_else(|| kind.clone());
        assert_eq!(found.trim_end_matches('?'), kind.trim_end_matches('?'), "`{key}` of {full:?}");
        assert!(!required || !found.ends_with('?'), "`{key}` is absent in {minimal:?}");
    }
    (full["code"].as_str().unwrap_or_default().to_owned(), keys)
}

fn reasons() -> Vec<(Reason, Reason)> {
    samples::causes().into_iter().map(|(full, minimal)| (samples::reason(full), samples::reason(minimal))).collect()
}

fn conflict_reasons() -> Vec<(Reason, Reason)> {
    let reason = |conflict| samples::reason(Cause::Plugins(Box::new(conflict)));
    samples::conflicts().into_iter().map(|(full, minimal)| (reason(full), reason(minimal))).collect()
}

#[test]
fn every_shape_has_a_sample() {
    let names = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    let causes = samples::causes().into_iter().flat_map(|(full, minimal)| [full, minimal]);
    let mut found: BTreeSet<_> = causes.map(|cause| samples::cause_shape(&cause)).collect();
    found.insert("Plugins");
    let all = [samples::CAUSES, samples::UNMET, samples::UNCHECKED].concat();
    assert_eq!(found, names(&all));
    let conflicts = samples::conflicts().into_iter().flat_map(|(full, minimal)| [full, minimal]);
    let found: BTreeSet<_> = conflicts.map(|conflict| samples::conflict_shape(&conflict)).collect();
    assert_eq!(found, names(samples::CONFLICTS));
    let found: BTreeSet<_> = samples::all_requirements().iter().map(samples::requirement_shape).collect();
    assert_eq!(found, names(samples::REQUIREMENTS));
    let found: BTreeSet<_> = samples::all_found().iter().map(samples::found_shape).collect();
    assert_eq!(found, names(samples::FOUND));
}

#[test]
fn the_keys_of_each_code_are_listed() {
    let mut listed = BTreeSet::new();
    for row in table("| code | keys | value |") {
        for code in row[0].split(',') {
            let row = (code.trim().to_owned(), parse_keys(row[1]));
            assert!(listed.insert(row.clone()), "{row:?} is listed twice");
        }
    }
    let written: BTreeSet<_> = reasons().iter().map(own_keys).collect();
    assert_eq!(written, listed);
}

#[test]
fn the_keys_of_each_conflict_are_listed() {
    let of_dependency: Keys = table("| key of a dependency | type | value |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned()))
        .collect();
    let mut written = Vec::new();
    for sample in conflict_reasons() {
        let tag = |key: &str| object(&sample.0).get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let (code, mut keys) = own_keys(&sample);
        let (conflict, problem) = (tag("conflict"), tag("problem"));
        keys.retain(|key, _| !["conflict", "problem"].contains(&key.as_str()));
        if ["Dependency", "TooDeep"].contains(&conflict.as_str()) {
            for (key, kind) in &of_dependency {
                assert_eq!(keys.remove(key).as_ref(), Some(kind), "`{key}` of {conflict} {problem}");
            }
        }
        written.push((conflict, problem, code, keys));
    }
    let listed: Vec<_> = table("| conflict | problem | code | keys | value |")
        .into_iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned(), parse_keys(row[3])))
        .collect();
    assert_eq!(written, listed);
}

#[test]
fn requirements_and_findings_are_listed() {
    let without = |mut object: Map<String, Value>, tag: &str| {
        let name = object.remove(tag).and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        (name, keys_of(&object, &object))
    };
    let listed =
        |header| -> Vec<_> { table(header).into_iter().map(|row| (row[0].to_owned(), parse_keys(row[1]))).collect() };
    let written: Vec<_> = samples::all_requirements().iter().map(|one| without(object(one), "kind")).collect();
    assert_eq!(written, listed("| kind | keys |"));
    let written: Vec<_> = samples::all_found().iter().map(|one| without(object(one), "is")).collect();
    assert_eq!(written, listed("| is | keys |"));
}

#[test]
fn the_example_is_a_reason() {
    let section = PAGE.split("## Reasons as JSON").nth(1).expect("the section");
    let example = section.split("```json\n").nth(1).and_then(|text| text.split("```").next()).expect("an example");
    let example: Value = serde_json::from_str(example).expect("JSON");
    assert!(reasons().iter().any(|(full, _)| json(full) == example), "{example:#} is not the JSON of a sample");
}

/// Every reason as JSON. A difference in the snapshot is a difference for scripts.
#[test]
fn every_reason_as_json() {
    let samples = reasons().into_iter().chain(conflict_reasons());
    let documents = samples.flat_map(|(full, minimal)| if full == minimal { vec![full] } else { vec![full, minimal] });
    let documents: Vec<String> = documents.map(|reason| format!("{:#}", json(&reason))).collect();
    insta::assert_snapshot!(documents.join("\n"));
}
