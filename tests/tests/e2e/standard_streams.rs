//! A full disk behind stdout or stderr, and closed pipes.

use std::process::Command;

use d8_tests::{Lab, Result, Workstation, run, tools};

/// Command lines that print a result, and the exit code when the result can be written.
const COMMANDS: &[(&str, i32)] = &[
    ("d8 --version", 0),
    ("d8 -V", 0),
    ("d8 --help", 0),
    ("d8 help plugins", 0),
    ("d8 plugins list --help", 0),
    ("d8 completion bash", 0),
    ("d8 completion zsh", 0),
    ("_D8_COMPLETE=fish d8 -- d8 pl", 0),
    ("d8 plugins list", 0),
    ("d8 plugins list -o json", 0),
    ("d8 plugins list -o yaml", 0),
    ("d8 plugins list -o name", 0),
    ("d8 plugins remove absent", 0),
    ("d8 plugins why hello", 0),
    ("d8 plugins why hello -o json", 0),
    ("d8 policy get", 0),
    ("d8 policy get --effective", 0),
    ("d8 policy check -f policy.yaml", 0),
    ("d8 policy diff -f policy.yaml", 0),
    ("d8 cli capabilities", 0),
    ("d8 cli fallback show", 0),
    ("d8-rpp --version", 0),
    ("d8-rpp --help", 0),
    ("d8-rpp pack --help", 0),
    ("d8-rpp pack --image deckhouse-cli --version v1.0.0 --platform linux-amd64=d8 --to layout", 0),
    ("d8-operator --version", 0),
    ("d8-operator --help", 0),
];

const POLICY: &str = "apiVersion: cli.deckhouse.io/v1alpha1\nkind: PluginPolicy\nmetadata: {name: streams}\n\
                      spec: {hostSelector: {matchLabels: {no: host}}}\n";

/// Runs a line with this redirection.
fn run_redirected(user: &Workstation, line: &str, redirection: &str) -> Result<d8_tests::CommandOutput> {
    let bin = tools::binary("d8")?;
    let path = std::env::join_paths(
        bin.parent().into_iter().map(Into::into).chain([std::path::PathBuf::from("/usr/bin"), "/bin".into()]),
    );
    run("bash", ["-c", &format!("{line} {redirection}")], |command: &mut Command| {
        user.environment(command);
        command.env("PATH", path.unwrap_or_default()).current_dir(user.home());
    })
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&d8_tests::catalog::Plugin::new("hello", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "hello"])?.expect_code(0)?;
    std::fs::write(alice.home().join("policy.yaml"), POLICY).expect("a file");
    std::fs::write(alice.home().join("d8"), "#!/bin/sh\n").expect("a file");
    for (line, code) in COMMANDS {
        let written = run_redirected(&alice, line, "")?.expect_code(*code)?;
        assert!(!written.stdout.is_empty(), "{written:?}");

        let full = run_redirected(&alice, line, ">/dev/full")?;
        assert_eq!(full.code(), 1, "{full:?}");
        // A completion script shows no errors, and ignores the exit code.
        if line.starts_with("_D8_COMPLETE") {
            continue;
        }
        assert!(full.stderr.contains("failed to write to stdout"), "{full:?}");
        assert!(full.stderr.contains("No space left on device"), "{full:?}");

        let closed = run_redirected(&alice, line, "2>errors | true; echo ${PIPESTATUS[0]} >&2; cat errors >&2")?;
        let mut lines = closed.stderr.lines();
        assert_eq!(lines.next(), Some(&*code.to_string()), "{line}: {closed:?}");
        assert!(!lines.any(|line| line.contains("error")), "{line}: {closed:?}");
    }
    Ok(())
}

/// Without stderr there is nowhere to report an error; the exit code stays, and nothing panics (101).
#[test]
fn errors_that_cannot_be_written_keep_their_exit_code() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    for (line, code) in [
        ("d8 plugins install a/b", 2),
        ("d8 -v plugins why nowhere --kubeconfig /nowhere", 5),
        ("d8 policy check -f /nowhere", 1),
        ("d8-rpp serve", 2),
        ("d8-rpp unpublish --image deckhouse-cli --version v1.0.0 --from /nowhere", 1),
        ("d8-operator --log-level '=='", 2),
        ("KUBECONFIG=/nowhere d8-operator --listen 127.0.0.1:0", 2),
    ] {
        for redirection in ["2>/dev/full", "2>&-"] {
            assert_eq!(run_redirected(&alice, line, redirection)?.code(), code, "{line} {redirection}");
        }
    }
    Ok(())
}
