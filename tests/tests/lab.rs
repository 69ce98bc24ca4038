//! `d8-lab`: the demo gives the expected output, the instructions of the lab work, and both leave no process and no
//! file, whatever ends them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use d8_tests::process::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LAB: &str = env!("CARGO_BIN_EXE_d8-lab");

/// `d8-lab` with its own directory for temporary files, to see what it leaves there.
fn lab(command: &str, temporary: &Path) -> Command {
    let mut lab = Command::new(LAB);
    lab.arg(command).env("TMPDIR", temporary).stdin(Stdio::null());
    lab
}

/// Waits until the directory is empty and no process has a path of it in its command line.
fn assert_nothing_left(temporary: &Path) {
    let gone = || {
        let empty = std::fs::read_dir(temporary).is_ok_and(|mut files| files.next().is_none());
        (empty && processes_naming(temporary).is_empty()).then_some(())
    };
    if let Err(error) = wait_for("the removal of all files and processes", Duration::from_secs(10), gone) {
        let files: Vec<_> = std::fs::read_dir(temporary).into_iter().flatten().flatten().collect();
        panic!("{error}: {files:?} {:?}", processes_naming(temporary));
    }
}

fn processes_naming(path: &Path) -> Vec<String> {
    let path = path.display().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&path)).collect()
}

#[test]
fn the_demo_gives_the_expected_output() {
    let temporary = TempDir::new().expect("a directory");
    let finished = lab("demo", temporary.path()).output().expect("the demo runs");
    let output = String::from_utf8_lossy(&finished.stdout);
    assert!(finished.status.success(), "{output}\n{}", String::from_utf8_lossy(&finished.stderr));
    let headlines = output.lines().filter(|line| line.chars().all(|c| c == '-') && !line.is_empty()).count();
    assert_eq!(headlines, 16, "{output}");
    assert!(output.contains("alice $ d8 plugins why stronghold"), "{output}");
    assert_nothing_left(temporary.path());
}

/// Starts the lab and reads its instructions. Returns its stdout too: it must stay open while the lab prints.
fn start(temporary: &Path) -> (Child, impl BufRead + use<>, String) {
    let mut child = lab("lab", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{error}"));
    let stdout = child.stdout.take().unwrap_or_else(|| panic!("stdout is piped"));
    let mut lines = BufReader::new(stdout);
    let mut instructions = String::new();
    while !instructions.contains("Press Ctrl-C here to stop the lab.") {
        let read = lines.read_line(&mut instructions).unwrap_or_default();
        assert_ne!(read, 0, "the lab ended: {instructions}");
    }
    (child, lines, instructions)
}

#[test]
fn the_instructions_of_the_lab_work_and_every_end_is_clean() {
    for (signal, code) in [(Signal::INT, Some(0)), (Signal::TERM, Some(0)), (Signal::KILL, None)] {
        let temporary = TempDir::new().expect("a directory");
        let (mut child, mut rest, instructions) = start(temporary.path());
        let exports: String =
            instructions.lines().filter(|line| line.trim_start().starts_with("export ")).collect::<Vec<_>>().join("\n");
        let script =
            format!("set -e\n{exports}\nkubectl get crel,ppol\nd8 plugins install hello >/dev/null\nd8 hello\n");
        assert!(exports.contains("export HOME="), "the commands write nothing into the home of the person: {exports}");
        let finished = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
        let output = String::from_utf8_lossy(&finished.stdout);
        assert!(finished.status.success(), "{output}\n{}", String::from_utf8_lossy(&finished.stderr));
        assert!(output.contains("NEXT-WINDOW") && output.ends_with("This is hello v1.1.0.\n"), "{output}");

        kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
        assert_eq!(child.wait().expect("the lab ends").code(), code);
        rest.read_to_string(&mut String::new()).expect("its stdout ends");
        assert_nothing_left(temporary.path());
    }
}
