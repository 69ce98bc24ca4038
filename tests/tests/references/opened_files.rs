//! Production code opens files only in a few modules, which refuse links, pipes and large files as each case needs.

use crate::repository::{self, TextFile};
use crate::rust_source::without_tests;
use crate::{Finding, assert_none};

/// Ways to open a file by its path.
const CALLS: [&str; 11] = [
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
    "File::open(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "open_with_mode(",
    "openat(",
];

/// Files that may use them, and why. All others call `d8_rpp::file`, `disk` or `StateDir`.
const ALLOWED: [(&str, &str); 13] = [
    ("rpp/src/file.rs", "opens what a person or a deployment names"),
    ("agent/src/disk.rs", "opens what is in a store: no links, no pipes"),
    ("agent/src/disk/mounts.rs", "files of /proc"),
    ("agent/src/install_root/state_dir.rs", "opens cached policies and pins relative to their directory"),
    ("agent/src/install_root/lockfile.rs", "locks: no links, no pipes"),
    ("agent/src/download/digest_log.rs", "appends: no links"),
    ("agent/src/smoke/resources.rs", "files of /proc"),
    ("agent/src/smoke/starter.rs", "files of /proc and the inherited executable"),
    ("agent/src/smoke/view.rs", "files of the sandbox's own view"),
    ("rpp/src/kubeconfig.rs", "a kubeconfig may be a pipe; read on a thread of its own, with a limit of time and size"),
    ("rpp/src/oci/layout.rs", "directories and index of an image layout"),
    ("rpp/src/pack/layer.rs", "the executable to pack, checked as a regular file before"),
    ("operator/src/run.rs", "the namespace file of the Pod"),
];

#[test]
fn files_are_opened_in_few_modules() {
    let sources = repository::files();
    let production = |file: &&TextFile| {
        let path = &file.path;
        ["agent/src/", "cli/src/", "rpp/src/", "operator/src/", "crds/src/"]
            .iter()
            .any(|directory| path.starts_with(directory))
            && file.extension() == "rs"
            && !path.contains("/tests/")
            && !path.ends_with("/tests.rs")
    };
    let mut used = std::collections::BTreeSet::new();
    let mut findings = Vec::new();
    for file in sources.iter().filter(production) {
        for (number, line) in without_tests(&file.text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !CALLS.iter().any(|call| calls(code, call)) {
                continue;
            }
            match ALLOWED.iter().find(|(path, _)| *path == file.path) {
                Some((path, _)) => {
                    used.insert(*path);
                }
                None => findings.push(Finding {
                    place: file.place(number + 1),
                    problem: format!("opens a file by itself; use d8_rpp::file or agent::disk: {}", line.trim()),
                }),
            }
        }
    }
    assert_none(&findings);
    let unused: Vec<_> = ALLOWED.iter().filter(|(path, _)| !used.contains(path)).collect();
    assert!(unused.is_empty(), "these open no file any more: {unused:?}");
}

/// Returns whether a line has the call, not as the end of a longer name.
fn calls(code: &str, call: &str) -> bool {
    let ends_a_name = |start: usize| code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(call).any(|(start, _)| !ends_a_name(start))
}

#[test]
fn calls_are_found() {
    for (code, found) in [
        ("File::open(path)?", true),
        ("std::fs::File::open(path)?", true),
        ("let file = SpoolFile::open(path);", false),
        ("// nothing", false),
    ] {
        assert_eq!(calls(code, "File::open("), found, "{code}");
    }
}
