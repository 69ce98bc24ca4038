//! `d8 cli update` under adverse conditions: parallel updates, interrupts, kills, a candidate that hangs or prints
//! too much, and a proxy that sends no digest.

#![expect(clippy::unwrap_used, reason = "processes of the test's own: that they cannot be started is its report")]

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use d8_tests::catalog::Plugin;
use d8_tests::process::wait_for;
use d8_tests::proxy::serve;
use d8_tests::{Lab, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::self_update::{Machine, publish};

/// An argument that identifies a process of the candidate that hangs.
const HANGS: &str = "98761234";

#[test]
fn d8_cli_update_under_adverse_conditions() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    for version in ["v0.13.1", "v0.14.0"] {
        publish(lab, version)?;
    }
    let hangs = format!("#!/bin/sh\ncase \"$1\" in --version) sleep {HANGS}; esac\n");
    lab.publish(&Plugin::new("d8", "v0.1.1").with_executable(&hangs))?;
    let verbose = "#!/bin/sh\ncase \"$1\" in --version) printf 'd8 v9.9.9 \\033[31m\\r\\n'; yes | head -c 3000000;; \
                  cli) printf '{\"capabilities\":[\"\\033]0;policy/v1alpha1'; exit 0;; esac\n";
    lab.publish(&Plugin::new("d8", "v0.1.2").with_executable(verbose))?;
    // A poll between the first and the second version would leave the second one out of the record.
    lab.create_releases(&["d8"])?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.14.0")?;
    parallel_updates(lab)?;
    interrupts(lab)?;
    verbose_candidate(lab)?;
    proxies_without_digests(lab)
}

/// Starts `d8` in the background.
fn start(machine: &Machine, line: &str) -> Child {
    let mut command = Command::new(&machine.d8);
    machine.user.environment(&mut command);
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn parallel_updates(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let updates: Vec<Child> = (0..3).map(|_| start(&alice, "cli update")).collect();
    let mut downloads = 0;
    for update in updates {
        let output = update.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        downloads += usize::from(String::from_utf8_lossy(&output.stderr).contains("Updating"));
    }
    assert_eq!(downloads, 1, "one update downloads, the others use its version");
    assert_eq!(alice.version()?, "d8 v0.14.0");
    let files = alice.files();
    let stray = |file: &&String| [".d8-link-", "install.lock", ".staging"].iter().any(|name| file.contains(name));
    assert_eq!(files.iter().find(stray), None, "{files:?}");
    let stored: Vec<_> = files.iter().filter(|file| file.ends_with("/d8") && !file.contains(" -> ")).collect();
    assert_eq!(stored.len(), 2, "{files:?}");
    Ok(())
}

/// Counts processes with this argument.
fn running(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).split('\0').any(|part| part == argument)).count()
}

fn interrupts(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    alice.offline("cli use v0.13.1")?.expect_code(0)?;
    let before = alice.files();
    let lock = alice.store().join("install.lock");
    let limit = Duration::from_secs(20);
    for phase in ["waiting for the lock", "smoke test"] {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let waits_for_lock = phase == "waiting for the lock";
            if waits_for_lock {
                std::fs::write(&lock, "").unwrap();
            }
            let mut update = start(&alice, "cli update --version v0.1.1");
            if waits_for_lock {
                wait_for_lock_note(&mut update);
            } else {
                let hangs = wait_for("the candidate to hang", limit, || (running(HANGS) > 0).then_some(()));
                hangs.unwrap();
            }
            // The lock stays and the candidate hangs: only the signal ends the command.
            kill_process(Pid::from_child(&update), signal).unwrap();
            let status = update.wait().unwrap();
            wait_for("the end of the candidate", limit, || (running(HANGS) == 0).then_some(()))?;
            if waits_for_lock {
                std::fs::remove_file(&lock).unwrap();
            }
            if signal == Signal::KILL {
                // The next change removes what the killed command left.
                alice.offline("cli fallback set /bin/true")?.expect_code(0)?;
                alice.offline("cli fallback unset")?.expect_code(0)?;
            } else {
                assert_eq!(status.code(), Some(130), "{phase}, {signal:?}");
            }
            assert_eq!(alice.files(), before, "{phase}, {signal:?}");
            assert!(!alice.store().with_file_name(".staging").exists(), "{phase}, {signal:?}");
        }
    }
    Ok(())
}

/// Waits until a command prints that it waits for a lock.
fn wait_for_lock_note(child: &mut Child) {
    let mut printed = Vec::new();
    while !String::from_utf8_lossy(&printed).contains("waiting for") {
        let mut byte = [0];
        let bytes = child.stderr.as_mut().unwrap().read(&mut byte).unwrap();
        assert_eq!(bytes, 1, "the command ended: {}", String::from_utf8_lossy(&printed));
        printed.extend(byte);
    }
}

fn verbose_candidate(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let done = alice.d8("cli update --version v0.1.2 --allow-ungoverned")?.expect_code(0)?;
    assert!(done.stderr.contains("v0.1.2 reports another version: d8 "), "{done:?}");
    assert!(done.stderr.contains("v0.1.2 does not support policies"), "{done:?}");
    assert!(!done.stderr.contains(['\u{1b}', '\r', '\u{7}']) && done.stderr.len() < 2000, "{done:?}");
    Ok(())
}

/// A version that is not in the record yet: d8 knows it from the proxy only.
fn proxies_without_digests(lab: &Lab) -> Result<()> {
    publish(lab, "v0.14.1")?;
    for (generation, by) in [("1", "transport"), ("2", "transport"), ("3", "digest")] {
        let flags = ["--layout".into(), lab.proxy().layout().into(), "--generation".into(), generation.into()];
        let (_server, address) = serve(lab.plane(), &format!("self-update-{generation}"), flags)?;
        let alice = Machine::new(lab, "v0.13.1")?;
        let proxy = format!("--rpp-endpoint https://{address} --rpp-ca-file {}", lab.plane().ca_file().display());
        alice.d8(&format!("cli update --version v0.14.1 {proxy}"))?.expect_code(0)?;
        assert_eq!(alice.version()?, "d8 v0.14.1");
        assert_eq!(verified(&alice.store(), "v0.14.1").as_deref(), Some(by), "generation {generation}");
        assert_eq!(verified(&alice.store(), "v0.13.1").as_deref(), Some("adopted"));
    }
    Ok(())
}

/// Field `verified` of the receipt of a version.
fn verified(store: &Path, version: &str) -> Option<String> {
    let receipt = std::fs::read(store.join("versions").join(version).join("receipt.json")).ok()?;
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).ok()?;
    Some(receipt["verified"].as_str()?.to_owned())
}
