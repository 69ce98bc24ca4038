//! Every test that `docs/security.md` names exists.

use std::collections::BTreeSet;

use crate::repository;
use crate::{Finding, assert_none};

const PAGE: &str = "docs/security.md";

/// Returns the names between backquotes in the last column of the tables that have tests.
fn named(page: &str) -> Vec<(usize, &str)> {
    let mut in_tests = false;
    let mut found = Vec::new();
    for (number, line) in page.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            in_tests = false;
            continue;
        };
        let last = cells.rsplit('|').next().unwrap_or_default();
        if last.trim() == "test" {
            in_tests = true;
        } else if in_tests {
            found.extend(last.split('`').skip(1).step_by(2).map(|name| (number + 1, name)));
        }
    }
    found
}

#[test]
fn tests_of_the_security_page_exist() {
    let files = repository::files();
    let sources = files.iter().filter(|file| file.extension() == "rs").map(|file| file.text.as_str());
    // The files of this test are not among them.
    let identifiers: BTreeSet<&str> = sources
        .chain([include_str!("opened_files.rs")])
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    let page = files.iter().find(|file| file.path == PAGE).expect("the page");
    let named = named(&page.text);
    assert!(named.len() > 30, "{}", named.len());
    let exists = |name: &str| {
        let name = name.trim_end_matches("::*");
        name.split("::").all(|part| identifiers.contains(part))
    };
    let findings: Vec<Finding> = named
        .into_iter()
        .filter(|(_, name)| !exists(name))
        .map(|(line, name)| Finding { place: page.place(line), problem: format!("there is no test {name}") })
        .collect();
    assert_none(&findings);
}

#[test]
fn names_are_found() {
    let page = "| a | test |\n|---|---|\n| x `no` | `one`, `two` |\n\n| a | b |\n|---|---|\n| x | `not` |\n";
    assert_eq!(named(page), [(3, "one"), (3, "two")]);
}
