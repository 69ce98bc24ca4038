//! SIGKILL at a random instant, 200 times, on one store that is never cleaned in between.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rand::RngExt as _;

use crate::{
    Case, own,
    points::{reads, setup},
    scratch,
    support::{run_current, tree},
};

pub const CASES: &[Case] = &[("killed_200_times_at_random", random)];

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

fn random() {
    let folder = scratch();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let begun = Instant::now();
    setup(&root, "install a=v1.0.0");
    // The kills fall all over a change, and some behind its end.
    let span = begun.elapsed().as_micros() * 3 / 2;
    let span = u64::try_from(span).unwrap();
    let mut killed = 0;
    let mut rng = rand::rng();
    for round in 0..200 {
        let command = COMMANDS[rng.random_range(0..COMMANDS.len())];
        let mut child = Command::new(own()).arg("child").arg(&root).arg(command).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(rng.random_range(0..span)));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        let what = format!("round {round}, {command}");
        whole(&root, &what);
        // A crash during the repair of a crash is a case too: mostly the next round does it.
        if round % 4 == 0 {
            setup(&root, "repair a b");
            whole(&root, &what);
        }
    }
    println!("  {killed} of 200 were killed before their end");
    setup(&root, "install a=v3.0.0 b=v3.0.0");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v3.0.0"));
    assert_eq!(run_current(&root, "b").as_deref(), Some("b v3.0.0"));
    reads(&root, "at the end");
    setup(&root, "remove a");
    setup(&root, "remove b");
    let left = tree(&root);
    assert_eq!(left, ["cache/ 0755", "cache/contracts/ 0755", "digests.jsonl 0644", "plugins/ 0755"]);
}

/// What is there runs, and says that it is one of the versions; what is not active is not broken.
fn whole(root: &Path, what: &str) {
    for name in ["a", "b"] {
        if let Some(said) = run_current(root, name) {
            assert!(said.starts_with(&format!("{name} v")), "{what}: {said}");
        }
    }
    reads(root, what);
}
