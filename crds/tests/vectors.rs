//! Compares [`Constraint`] with rows that Go's Masterminds/semver v3.3.1 produced.

use d8_crds::values::{constraint::Constraint, version::Version};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    constraint: String,
    version: String,
    valid: bool,
    version_valid: bool,
    #[serde(rename = "match")]
    matches: Option<bool>,
}

#[test]
fn constraints_match_as_in_masterminds_semver() {
    let rows: Vec<Row> = include_str!("data/constraints.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a valid row"))
        .collect();
    assert_eq!(rows.len(), 7320);
    let differences: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let constraint = Constraint::parse(&row.constraint);
            let version = Version::parse(&row.version);
            let matches = constraint.as_ref().ok().zip(version.as_ref().ok()).map(|(c, v)| c.matches(v));
            let actual = (constraint.is_ok(), version.is_ok(), matches);
            // The one deviation: the empty constraint means any version.
            let expected = if row.constraint.is_empty() {
                (true, row.version_valid, row.version_valid.then_some(true))
            } else {
                (row.valid, row.version_valid, row.matches)
            };
            (actual != expected)
                .then(|| format!("{:?} {:?}: {actual:?}, not {expected:?}", row.constraint, row.version))
        })
        .collect();
    assert!(differences.is_empty(), "{} rows differ:\n{}", differences.len(), differences.join("\n"));
}
