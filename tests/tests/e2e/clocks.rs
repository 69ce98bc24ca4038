//! A host whose clock was years ahead or behind, with the shipped binaries.
//!
//! No test can set the clock of its own machine for one process: the binaries are static, so nothing can be put before
//! a library, and time namespaces move only the monotonic clock. What a wrong clock meets and leaves is real instead:
//!
//! - the time of the API server differs by hours: `a_wrong_clock_does_not_end_min_age_early`;
//! - certificates that are not valid yet, or not any more: `a_clock_in_the_past_is_named` for the Kubernetes API, the
//!   tests of connections in `rpp` for the proxy;
//! - cached policies, receipts, contracts and locks of the year 1970 or 2090: here;
//! - a week of cached policies without the cluster's kinds, and copies in two roots: tests beside the code in
//!   `agent/src/cluster`;
//! - first-seen times and waves ahead of the clock: tests of the decisions in `crds`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, workstation};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Times that a wrong clock left.
const TIMES: [&str; 2] = ["1970-01-02T00:00:00Z", "2090-01-01T00:00:00Z"];

/// Returns the files with this ending below a directory.
fn find(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = workstation::files(directory).into_iter().filter(|file| file.ends_with(ending));
    files.map(|file| directory.join(file)).collect()
}

/// Sets a field of each of these JSON files, and the time of the files.
fn set_time(files: &[PathBuf], field: &str, time: &str) {
    let modified = SystemTime::from(time.parse::<Timestamp>().unwrap_or_default());
    for file in files {
        let text = fs::read(file).unwrap_or_default();
        let mut content: Value = serde_json::from_slice(&text).unwrap_or_default();
        assert!(content[field].is_string(), "{}: {content}", file.display());
        content[field] = time.into();
        let written = fs::write(file, content.to_string()).and_then(|()| File::options().write(true).open(file));
        assert!(written.is_ok_and(|file| file.set_modified(modified).is_ok()), "{}", file.display());
    }
}

/// Returns the cached policies of a user.
fn cached(user: &Workstation) -> Vec<PathBuf> {
    let policies = user.home().join(".deckhouse-cli/policy");
    find(&policies, ".json").into_iter().filter(|file| file.parent() == Some(&policies)).collect()
}

#[test]
fn files_of_a_wrong_clock_neither_end_nor_extend_anything() -> Result<()> {
    let lab = Lab::shared();
    for (name, version) in [("clocked", "v1.0.0"), ("clocked", "v1.1.0"), ("clock-denied", "v1.0.0")] {
        lab.publish(&Plugin::new(name, version))?;
    }
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "clocked", "clock-denied", "--version", "v1.0.0"])?.expect_code(0)?;
    lab.apply_policy(
        "clocks",
        &json!({"hostSelector": {}, "rules": [{"plugins": ["clock-denied"], "access": "Deny"}]}),
    )?;
    let offline = alice.clone().with_env("KUBECONFIG", "/nonexistent");
    for time in TIMES {
        alice.d8(["policy", "get"])?.expect_code(0)?;
        assert_eq!(cached(&alice).len(), 1, "{:?}", workstation::files(alice.home()));
        set_time(&cached(&alice), "confirmed", time);
        set_time(&find(alice.root(), "receipt.json"), "time", time);

        // The cached policies hold, however old or new they seem to be.
        let denied = offline.d8(["clock-denied"])?.expect_code(3)?;
        assert!(denied.stderr.contains(&time[..4]), "{denied:?}");
        offline.d8(["clocked"])?.expect_code(0)?;
        let list = offline.d8(["plugins", "list"])?.ok()?;
        assert!(!list.contains("broken") && !list.contains("damaged"), "{list}");

        // The next answer of the cluster replaces them.
        let updated = alice.d8(["plugins", "update", "clocked"])?.expect_code(0)?;
        assert!(updated.combined().contains("v1.1.0"), "{updated:?}");
        let content: Value = serde_json::from_slice(&fs::read(&cached(&alice)[0]).expect("a copy")).expect("JSON");
        let confirmed: Timestamp = content["confirmed"].as_str().unwrap_or_default().parse().expect("a time");
        assert!(Timestamp::now().duration_since(confirmed).abs() < jiff::SignedDuration::from_mins(5), "{confirmed}");
        alice.d8(["plugins", "install", "clocked", "--version", "v1.0.0"])?.expect_code(0)?;
        offline.d8(["clock-denied"])?.expect_code(3)?;
    }
    locks(&alice)
}

/// A lock of the former d8 has no record, so only its time says whether it is held.
fn locks(alice: &Workstation) -> Result<()> {
    let lock = alice.root().join("plugins/clocked/install.lock");
    let install = || alice.d8(["plugins", "install", "clocked", "--force", "--lock-timeout", "0s"]);
    let day = Duration::from_hours(24);
    for (time, held) in [(SystemTime::UNIX_EPOCH + day, false), (SystemTime::now() + 20_000 * day, true)] {
        let created = File::create(&lock).and_then(|file| file.set_modified(time));
        assert!(created.is_ok(), "{created:?}");
        let done = install()?;
        if held {
            let refused = done.expect_code(1)?;
            assert!(refused.stderr.contains(&format!("remove {}", lock.display())), "{refused:?}");
            assert!(fs::remove_file(&lock).is_ok());
            install()?.expect_code(0)?;
        } else {
            done.expect_code(0)?;
        }
        assert!(!lock.exists());
    }
    Ok(())
}
