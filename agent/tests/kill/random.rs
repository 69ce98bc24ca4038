//! SIGKILL at random times, 200 times, in one store that is never cleaned in between.
//!
//! The commands and the times follow from a seed. The test prints it; `D8_KILL_SEED` sets it.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    TestCase, own,
    points::{check_readable, setup},
    scratch,
    support::{run_current, tree},
};

pub const CASES: &[TestCase] = &[("killed_200_times_at_random", killed_at_random)];

const ROUNDS: usize = 200;

/// Environment variable with the seed.
const SEED: &str = "D8_KILL_SEED";

const COMMANDS: &[&str] = &[
    "install a=v1.0.0",
    "install a=v1.1.0",
    "install a=v2.0.0",
    "force a=v1.1.0",
    "install a=v1.2.0 b=v1.0.0",
    "install a=v1.0.0 b=v2.0.0",
    "rollback a",
    "prune a",
    "remove a",
    "remove b",
];

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().expect("D8_KILL_SEED is a number"),
        Err(_) => rand::random(),
    }
}

fn killed_at_random() {
    let seed = seed();
    println!("  {SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = scratch();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let begun = Instant::now();
    setup(&root, "install a=v1.0.0");
    // Most kills are during a change, some after its end.
    let longest = begun.elapsed().mul_f64(1.5);
    let mut during_change = 0;
    for round in 0..ROUNDS {
        let command = COMMANDS[random.random_range(0..COMMANDS.len())];
        let delay = longest.mul_f64(random.random_range(0.0..1.0));
        let before = staging_dirs(&root);
        let mut child = Command::new(own()).arg("child").arg(&root).arg(command).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        // The staging directory of the child is still there.
        during_change += usize::from(!staging_dirs(&root).is_subset(&before));
        let what = format!("{SEED}={seed}, round {round}, {command}");
        check_store(&root, &what);
        // The next round repairs the store and may be killed while it does. Every fourth round is repaired here.
        if round % 4 == 0 {
            setup(&root, "repair a b");
            check_store(&root, &what);
        }
    }
    println!("  {during_change} of {ROUNDS} were killed during a change");
    assert!(during_change > 0, "{SEED}={seed}: no change was interrupted");
    setup(&root, "install a=v3.0.0 b=v3.0.0");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v3.0.0"));
    assert_eq!(run_current(&root, "b").as_deref(), Some("b v3.0.0"));
    check_readable(&root, "at the end");
    setup(&root, "remove a");
    setup(&root, "remove b");
    assert_eq!(tree(&root), ["cache/ 0755", "cache/contracts/ 0755", "digests.jsonl 0644", "plugins/ 0755"]);
}

/// Returns the names of the staging directories.
fn staging_dirs(root: &Path) -> BTreeSet<OsString> {
    fs::read_dir(root.join(".staging")).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// Checks that every active version can be run, and that nothing in the store is damaged.
fn check_store(root: &Path, what: &str) {
    for name in ["a", "b"] {
        if let Some(output) = run_current(root, name) {
            assert!(output.starts_with(&format!("{name} v")), "{what}: {output}");
        }
    }
    check_readable(root, what);
}
