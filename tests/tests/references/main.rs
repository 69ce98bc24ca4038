//! Every command line, path, anchor and rule that a message, a page or a comment names exists.
//!
//! Commands are parsed by the programs themselves: `d8`, `d8-rpp` and the kubectl of the test control plane.
//! They run in an empty directory without a cluster, so a correct command line fails later than its parsing.

#![allow(clippy::expect_used, reason = "a pattern of the test itself, or a repository that cannot be read")]

mod commands;
mod extract;
mod named_tests;
mod opened_files;
mod paths;
mod programs;
mod repository;
mod rust_source;

/// A wrong reference, and its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// `docs/policies.md:17`.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) problem: String,
}

/// Fails with one line for each finding.
#[track_caller]
pub(crate) fn assert_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.place, f.problem)).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}
