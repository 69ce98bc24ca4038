//! Every path, anchor, rule and make target that the repository names exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex_lite::Regex;

use crate::repository::{self, TextFile};
use crate::{Finding, assert_none, rust_source};

/// A file that people read, or whose comments they read.
const READ: [&str; 8] = ["md", "rs", "sh", "go", "toml", "yaml", "tpl", ""];

/// What there is to refer to.
struct Targets {
    /// Top directories of the repository.
    directories: BTreeSet<String>,
    rules: BTreeSet<u32>,
    make: BTreeSet<String>,
}

impl Targets {
    fn read() -> Self {
        let root = repository::root();
        let read = |name: &str| std::fs::read_to_string(root.join(name)).expect(name);
        let entries = std::fs::read_dir(&root).expect("the root").flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let number = |heading: &str| heading.split(':').next()?.parse().ok();
        let makefile = read("Makefile");
        Self {
            directories: directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
            rules: read("docs/policies.md").lines().filter_map(|l| number(l.strip_prefix("### Rule ")?)).collect(),
            make: makefile.lines().filter_map(|l| Some(l.split_once(':')?.0.to_owned())).collect(),
        }
    }
}

/// Returns the anchors of a page: its headings in lower case, blanks as dashes, without punctuation.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let anchor =
        |heading: &str| -> String { heading.to_lowercase().replace(' ', "-").chars().filter(|c| kept(*c)).collect() };
    headings.map(anchor).collect()
}

/// Returns the lines in which a file refers to something: all of a page, comments and literals of a program.
fn lines(file: &TextFile) -> Vec<(usize, String)> {
    if file.extension() == "rs" {
        let words = rust_source::words(&file.text);
        return words.comments.into_iter().chain(words.literals).map(|piece| (piece.line, piece.text)).collect();
    }
    file.text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

/// Returns what is wrong with the references of a file.
fn check(file: &TextFile, targets: &Targets) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in lines(file) {
        let problems = [paths(file, &text, targets), links(file, &text), rules(&text, targets), other(&text, targets)];
        let place = || file.place(line);
        findings.extend(problems.into_iter().flatten().map(|problem| Finding { place: place(), problem }));
    }
    findings
}

/// Returns the directories that a path in this file may start from: the root, the file's crate, its own directory, and
/// `docs`.
fn directories(file: &TextFile) -> Vec<PathBuf> {
    let root = repository::root();
    let part = root.join(file.path.split('/').next().unwrap_or_default());
    let own = root.join(&file.path).parent().unwrap_or(&root).to_owned();
    vec![root.clone(), part, own, root.join("docs")]
}

fn exists(file: &TextFile, path: &str) -> bool {
    directories(file).iter().any(|directory| directory.join(path).exists())
}

fn paths(file: &TextFile, text: &str, targets: &Targets) -> Vec<String> {
    static PATH: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"([A-Za-z0-9_.~<>{}*/-]*[A-Za-z0-9_]\.(?:md|rs|yaml|sh|jsonl|toml|mod|tpl|snap))(#[a-z0-9-]+)?\b")
            .expect("a pattern")
    });
    let mut problems = Vec::new();
    for found in PATH.captures_iter(text) {
        let (path, anchor) = (&found[1], found.get(2).map(|anchor| &anchor.as_str()[1..]));
        let top = path.split('/').next().unwrap_or_default();
        let is_page = Path::new(path).extension().is_some_and(|extension| extension == "md");
        let is_ours = is_page || (path.contains('/') && targets.directories.contains(top));
        let is_temporary = path.contains("/.");
        if !is_ours || is_temporary || path.contains(['<', '{', '*', '~']) || path.starts_with('/') {
            continue;
        }
        if !exists(file, path) {
            problems.push(format!("{path} does not exist"));
        } else if let Some(anchor) = anchor {
            problems.extend(missing_anchor(file, path, anchor));
        }
    }
    problems
}

fn missing_anchor(file: &TextFile, path: &str, anchor: &str) -> Option<String> {
    let page = directories(file).iter().find_map(|directory| std::fs::read_to_string(directory.join(path)).ok())?;
    (!anchors(&page).contains(anchor)).then(|| format!("{path} has no heading for #{anchor}"))
}

/// Links of a page to its own headings, and to files without an extension that [`paths`] knows.
fn links(file: &TextFile, text: &str) -> Vec<String> {
    static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern"));
    if file.extension() != "md" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for found in LINK.captures_iter(text) {
        let target = &found[1];
        if let Some(anchor) = target.strip_prefix('#') {
            if !anchors(&file.text).contains(anchor) {
                problems.push(format!("there is no heading for #{anchor}"));
            }
        } else if !target.contains("://") && !exists(file, target.split('#').next().unwrap_or_default()) {
            problems.push(format!("link to {target}, which does not exist"));
        }
    }
    problems
}

/// `rule 7`, `rules 8, 13 and 16` of `docs/policies.md`.
fn rules(text: &str, targets: &Targets) -> Vec<String> {
    static RULES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b[Rr]ules? (\d+(?:(?:, | and | to )\d+)*)\b").expect("a pattern"));
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+").expect("a pattern"));
    let cited = RULES.captures_iter(text).flat_map(|found| {
        let numbers = found.get(1).map_or("", |numbers| numbers.as_str()).to_owned();
        NUMBER.find_iter(&numbers).filter_map(|number| number.as_str().parse().ok()).collect::<Vec<u32>>()
    });
    let missing = cited.filter(|rule| !targets.rules.contains(rule));
    missing.map(|rule| format!("docs/policies.md has no rule {rule}")).collect()
}

/// Make targets, and words for pages that are not in the repository.
fn other(text: &str, targets: &Targets) -> Vec<String> {
    static MAKE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"`make ([a-z-]+)").expect("a pattern"));
    static ELSEWHERE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b[Ii]ssues? #?\d+|\bthe design(?:'s| says| has)|\bof the design\b|\brpp-protocol\b")
            .expect("a pattern")
    });
    let targets = MAKE.captures_iter(text).map(|found| found[1].to_owned()).filter(|t| !targets.make.contains(t));
    let mut problems: Vec<String> = targets.map(|target| format!("there is no `make {target}`")).collect();
    problems.extend(ELSEWHERE.find_iter(text).map(|found| format!("\"{}\" is not in the repository", found.as_str())));
    problems
}

#[test]
fn every_reference_exists() {
    let targets = Targets::read();
    let files = repository::files();
    let read: Vec<&TextFile> = files.iter().filter(|file| READ.contains(&file.extension())).collect();
    let findings: Vec<Finding> = read.iter().flat_map(|file| check(file, &targets)).collect();
    assert_none(&findings);
    assert!(read.len() > 300 && targets.rules.len() > 15 && targets.make.len() > 10, "too little was found");
}

#[test]
fn wrong_references_are_found() {
    let targets = Targets::read();
    for (path, text, problem) in [
        ("crds/src/lib.rs", "//! See `docs/behaviour.md`.", "docs/behaviour.md does not exist"),
        ("crds/src/lib.rs", "//! See policy.md.", "policy.md does not exist"),
        ("crds/src/lib.rs", "// tests/data/nope.jsonl", "tests/data/nope.jsonl does not exist"),
        (
            "crds/src/lib.rs",
            "const A: &str = \"see docs/policies.md#nope\";",
            "docs/policies.md has no heading for #nope",
        ),
        ("crds/src/lib.rs", "// `docs/policies.md`, rule 99", "docs/policies.md has no rule 99"),
        ("crds/src/lib.rs", "// rules 8, 13 and 98", "docs/policies.md has no rule 98"),
        ("crds/src/lib.rs", "// as the design says", "\"the design says\" is not in the repository"),
        ("docs/proxy.md", "See [there](#nope).", "there is no heading for #nope"),
        ("docs/proxy.md", "See [there](nope).", "link to nope, which does not exist"),
        ("README.md", "`make frobnicate`", "there is no `make frobnicate`"),
    ] {
        let found = check(&TextFile { path: path.to_owned(), text: text.to_owned() }, &targets);
        assert!(found.len() == 1 && found[0].problem == problem, "{text}: {found:?}");
    }
    for (path, text) in [
        ("docs/proxy.md", "See [rule 7](policies.md#rule-7-waves) and docs/adr/0004-when-a-wave-begins.md."),
        ("tests/README.md", "`src/lab.rs` and crds/tests/data/constraints.jsonl"),
        ("crds/src/lib.rs", "// `~/.deckhouse-cli/policy/<key>.json`, `plugins/a/b.json`, rules[0]"),
    ] {
        assert_eq!(check(&TextFile { path: path.to_owned(), text: text.to_owned() }, &targets), [], "{text}");
    }
}
