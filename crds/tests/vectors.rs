//! Every row that Go's Masterminds/semver v3.3.1 produced, against our reading of it.

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
fn all_rows_agree() {
    let rows: Vec<Row> = include_str!("data/constraints.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row of test data"))
        .collect();
    assert_eq!(rows.len(), 7320);
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let constraint = Constraint::parse(&row.constraint);
            let version = Version::parse(&row.version);
            let matches = constraint.as_ref().ok().zip(version.as_ref().ok()).map(|(c, v)| c.matches(v));
            let ours = (constraint.is_ok(), version.is_ok(), matches);
            // Our one deviation: the empty constraint means any version.
            let theirs = if row.constraint.is_empty() {
                (true, row.version_valid, row.version_valid.then_some(true))
            } else {
                (row.valid, row.version_valid, row.matches)
            };
            (ours != theirs).then(|| format!("{:?} {:?}: {ours:?}, not {theirs:?}", row.constraint, row.version))
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}
