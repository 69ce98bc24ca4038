//! `d8-lab` itself: the demo gives what it should, the lab can be used as it says, and however they
//! end, they leave no process and no file.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use d8_tests::process::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LAB: &str = env!("CARGO_BIN_EXE_d8-lab");

/// `d8-lab` with a folder of its own for temporary files, to see what it leaves there.
fn lab(command: &str, temporary: &Path) -> Command {
    let mut lab = Command::new(LAB);
    lab.arg(command).env("TMPDIR", temporary).stdin(Stdio::null());
    lab
}

/// Waits until nothing is left: neither a file, nor a process that was started with a path in there.
fn assert_nothing_left(temporary: &Path) {
    let gone = || {
        let empty = std::fs::read_dir(temporary).is_ok_and(|mut files| files.next().is_none());
        (empty && processes_naming(temporary).is_empty()).then_some(())
    };
    if let Err(error) = wait_for("an end without traces", Duration::from_secs(10), gone) {
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
fn the_demo_gives_what_it_should() {
    let temporary = TempDir::new().expect("a folder");
    let started = Instant::now();
    let told = lab("demo", temporary.path()).output().expect("the demo runs");
    let story = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{story}\n{}", String::from_utf8_lossy(&told.stderr));
    let headlines = story.lines().filter(|line| line.chars().all(|c| c == '-') && !line.is_empty()).count();
    assert_eq!(headlines, 15, "{story}");
    assert!(story.contains("alice $ d8 plugins why stronghold"), "{story}");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    assert_nothing_left(temporary.path());
}

/// Starts the lab and reads its instructions; its stdout stays open, or it could not print.
fn start(temporary: &Path) -> (Child, impl BufRead + use<>, String) {
    let mut child = lab("lab", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{error}"));
    let stdout = child.stdout.take().unwrap_or_else(|| panic!("stdout is piped"));
    let mut lines = BufReader::new(stdout);
    let mut said = String::new();
    while !said.contains("Ctrl-C here takes all down.") {
        let read = lines.read_line(&mut said).unwrap_or_default();
        assert_ne!(read, 0, "the lab ended: {said}");
    }
    (child, lines, said)
}

#[test]
fn the_lab_is_usable_as_it_says_and_every_end_is_clean() {
    for (signal, code) in [(Signal::INT, Some(0)), (Signal::TERM, Some(0)), (Signal::KILL, None)] {
        let temporary = TempDir::new().expect("a folder");
        let (mut child, mut rest, said) = start(temporary.path());
        let exports: String =
            said.lines().filter(|line| line.trim_start().starts_with("export ")).collect::<Vec<_>>().join("\n");
        let script =
            format!("set -e\n{exports}\nkubectl get crel,ppol\nd8 plugins install hello >/dev/null\nd8 hello\n");
        assert!(exports.contains("export HOME="), "what is tried leaves nothing in one's own home: {exports}");
        let tried = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
        let shown = String::from_utf8_lossy(&tried.stdout);
        assert!(tried.status.success(), "{shown}\n{}", String::from_utf8_lossy(&tried.stderr));
        assert!(shown.contains("NEXT-WINDOW") && shown.ends_with("This is hello v1.1.0.\n"), "{shown}");

        kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
        assert_eq!(child.wait().expect("the lab ends").code(), code);
        rest.read_to_string(&mut String::new()).expect("its stdout ends");
        assert_nothing_left(temporary.path());
    }
}
