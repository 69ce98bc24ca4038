//! Every command line parses.

use d8_tests::Result;

use crate::extract::{CommandLine, command_lines};
use crate::programs::{Parsing, Programs, invocations};
use crate::{Finding, assert_none, repository};

/// Returns what is wrong with a command line.
fn check(programs: &Programs, line: &CommandLine) -> Result<Vec<Finding>> {
    let finding =
        |problem: String| Finding { place: line.place.clone(), problem: format!("`{}`: {problem}", line.text) };
    let found = match invocations(&line.text) {
        Ok(found) => found,
        Err(problem) => return Ok(vec![finding(problem)]),
    };
    let mut findings = Vec::new();
    for invocation in found {
        match programs.parse(&invocation)? {
            Parsing::Parsed => {}
            Parsing::Incomplete if line.may_be_incomplete => {}
            Parsing::Incomplete => findings.push(finding("arguments are missing".to_owned())),
            Parsing::Refused(problem) => findings.push(finding(problem)),
        }
    }
    Ok(findings)
}

#[test]
fn every_command_line_parses() -> Result<()> {
    let programs = Programs::new()?;
    let mut lines: Vec<CommandLine> = repository::files().iter().flat_map(command_lines).collect();
    // Each line once: hundreds of examples share a few commands.
    lines.sort_by(|a, b| (&a.text, a.may_be_incomplete).cmp(&(&b.text, b.may_be_incomplete)));
    lines.dedup_by(|a, b| (&a.text, a.may_be_incomplete) == (&b.text, b.may_be_incomplete));
    let mut findings = Vec::new();
    for line in &lines {
        findings.extend(check(&programs, line)?);
    }
    findings.sort();
    assert_none(&findings);
    let counted = |program: &str| lines.iter().filter(|line| line.text.starts_with(program)).count();
    let counts = [counted("d8 "), counted("d8-rpp "), counted("kubectl ")];
    assert!(counts[0] > 60 && counts[1] > 5 && counts[2] > 15, "too few command lines were found: {counts:?}");
    let left = std::fs::read_dir(programs.directory().join("root")).into_iter().flatten().count();
    assert_eq!(left, 0, "a command changed something");
    Ok(())
}

#[test]
fn wrong_command_lines_are_found() -> Result<()> {
    let programs = Programs::new()?;
    for (text, problem) in [
        ("d8 plugins frobnicate", "unrecognized subcommand 'frobnicate'"),
        ("d8 plugins install a --nope", "unexpected argument '--nope'"),
        ("d8 plugins install", "arguments are missing"),
        ("d8 plugins", "arguments are missing"),
        ("d8 plugins install a --version 1 --use-major 2", "cannot be used with"),
        ("d8 fleets status", "d8 has no command fleets"),
        ("d8 cli update --version", "a value is required"),
        ("d8-rpp pack --image deckhouse-cli --frobnicate", "unexpected argument '--frobnicate'"),
        ("kubectl annotate pluginpolicy a --nope b=c", "unknown flag: --nope"),
        ("kubectl frobnicate", "unknown command \"frobnicate\""),
        ("kubectl get pods -n", "flag needs an argument"),
        ("echo 'a | kubectl get pods", "a quote has no end"),
    ] {
        let line = CommandLine { place: "a message".to_owned(), text: text.to_owned(), may_be_incomplete: false };
        let found = check(&programs, &line)?;
        assert!(found.len() == 1 && found[0].problem.contains(problem), "{text}: {found:?}");
    }
    // Prose may name a command without its arguments.
    let line =
        CommandLine { place: "a page".to_owned(), text: "d8 plugins install".to_owned(), may_be_incomplete: true };
    assert_eq!(check(&programs, &line)?, []);
    Ok(())
}
