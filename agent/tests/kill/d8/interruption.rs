//! Kills and failures during a switch of d8.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
};

use d8_agent::{
    SilentReporter, StoreError,
    d8_store::{D8Store, PathMigration},
    smoke::Sandbox,
    testing,
};
use d8_crds::values::version::Version;

use super::{TIMEOUT, child, entry, executable, output, plain, program, switch};
use crate::{
    block_on, copy_tree, scratch,
    support::{now, tag, tree},
};

/// The failpoints of a change.
fn points() -> impl Iterator<Item = &'static &'static str> {
    testing::ALL.iter().filter(|point| !["disk.", "smoke.", "tree."].iter().any(|prefix| point.starts_with(prefix)))
}

pub(super) fn killed() {
    let outer = scratch();
    let [directory, template] = ["world", "template"].map(|name| outer.path().join(name));
    let mut kills = 0;
    for (what, linked) in [("the first switch", false), ("a later switch", true)] {
        let _ = fs::remove_dir_all(&directory);
        executable(&directory.join("bin/d8"), &program("v1.0.0"));
        if linked {
            block_on(switch(&directory, "v1.1.0", Some("v1.0.0"))).unwrap();
        }
        copy_tree(&directory, &template).unwrap();
        let before = output(&directory);
        block_on(switch(&directory, "v2.0.0", Some("v1.0.0"))).unwrap();
        let wanted = tree(&directory);
        for point in points() {
            copy_tree(&template, &directory).unwrap();
            let child = child(&directory, "v2.0.0", &format!("{point}=kill"));
            if child.status.signal() != Some(9) {
                assert!(child.status.success(), "{what} at {point}: {child:?}");
                let reaches = point.starts_with("d8.") && *point != "d8.replaced";
                assert!(linked || !reaches, "{what} does not reach {point}");
                continue;
            }
            kills += 1;
            // The command on the PATH is new once `current` is, or, if it is still a file, once it is a link.
            let visible_at = if linked { "d8.current" } else { "d8.linked" };
            let position = |point: &str| testing::ALL.iter().position(|name| *name == point).unwrap();
            let expected = if position(point) < position(visible_at) { before.as_str() } else { "d8 v2.0.0" };
            assert_eq!(output(&directory), expected, "{what}, killed at {point}");
            block_on(switch(&directory, "v2.0.0", Some("v1.0.0"))).unwrap();
            assert_eq!(output(&directory), "d8 v2.0.0", "{what}, killed at {point}");
            assert_eq!(tree(&directory), wanted, "{what}, killed at {point}");
        }
    }
    println!("  {kills} kills");
}

/// The current version is damaged, and the system cannot exchange it with a whole one.
pub(super) fn without_exchange() {
    let outer = scratch();
    let [directory, template] = ["world", "template"].map(|name| outer.path().join(name));
    executable(&directory.join("bin/d8"), &program("v1.0.0"));
    block_on(switch(&directory, "v2.0.0", Some("v1.0.0"))).unwrap();
    let wanted = tree(&directory);
    let binary = directory.join("root/cli/versions/v2.0.0/d8");
    let whole = fs::read(&binary).unwrap();
    // Longer than its receipt says, and it still starts.
    executable(&binary, &(program("v2.0.0") + "# damaged\n"));
    copy_tree(&directory, &template).unwrap();
    let mut killed = Vec::new();
    for point in points() {
        for nth in 1..=2 {
            copy_tree(&template, &directory).unwrap();
            let child = child(&directory, "v2.0.0", &format!("disk.exchange#*=fail,{point}#{nth}=kill"));
            if child.status.signal() != Some(9) {
                assert!(child.status.success(), "{point}#{nth}: {child:?}");
                break;
            }
            killed.push(format!("{point}#{nth}"));
            assert_eq!(output(&directory), "d8 v2.0.0", "killed at {point}#{nth}");
            block_on(switch(&directory, "v2.0.0", Some("v1.0.0"))).unwrap();
            assert_eq!(fs::read(&binary).unwrap(), whole, "killed at {point}#{nth}");
            assert_eq!(tree(&directory), wanted, "killed at {point}#{nth}");
        }
    }
    assert!(["d8.replaced#1", "d8.replaced#2"].iter().all(|point| killed.iter().any(|at| at == point)), "{killed:?}");
    println!("  {} kills", killed.len());
}

pub(super) fn failing() {
    for linked in [false, true] {
        let directory = plain();
        if linked {
            block_on(switch(directory.path(), "v1.1.0", Some("v1.0.0"))).unwrap();
        }
        let (before, version) = (tree(directory.path()), output(directory.path()));
        for point in ["d8.seeded", "d8.placed", "d8.current", "d8.backup"] {
            let child = child(directory.path(), "v2.0.0", &format!("{point}=fail"));
            if linked && point == "d8.backup" {
                assert!(child.status.success(), "a link needs no backup");
                continue;
            }
            assert!(!child.status.success(), "{point}: {child:?}");
            assert_eq!(output(directory.path()), version, "{point}");
            let files: Vec<_> =
                tree(directory.path()).into_iter().filter(|line| !line.contains("digests.jsonl")).collect();
            let before: Vec<_> = before.iter().filter(|line| !line.contains("digests.jsonl")).cloned().collect();
            assert_eq!(files, before, "{point}");
        }
    }
}

/// A thread runs d8 in a loop while it is linked and switched 1,000 times.
pub(super) fn every_instant() {
    let directory = plain();
    let command = directory.path().join("bin/d8");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut calls = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                output(directory.path());
                calls += 1;
            }
            calls
        });
        for round in 0..1000 {
            if round % 2 == 0 {
                // Another tool replaces the link by a file, in one rename.
                let file = directory.path().join("bin/next");
                executable(&file, &program("v1.0.0"));
                fs::rename(&file, &command).unwrap();
            }
            block_on(switch_untested(directory.path(), if round % 2 == 0 { "v2.0.0" } else { "v1.0.0" })).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let calls: u32 = caller.join().unwrap();
        assert!(calls > 0);
        println!("  {calls} calls during 1000 changes");
    });
}

/// As [`switch`], for versions on disk and with a sandbox that always passes: only the switch matters here.
async fn switch_untested(directory: &Path, version: &str) -> Result<(), StoreError> {
    let sandbox: PathBuf = directory.join("sandbox");
    if !sandbox.exists() {
        executable(&sandbox, "#!/bin/sh\necho '{\"passed\":\"d8\"}'\n");
        switch(directory, "v2.0.0", Some("v1.0.0")).await?;
    }
    let store = D8Store::at(directory.join("root"))?.with_sandbox(Sandbox::of(&sandbox));
    let mut locked = store.lock(TIMEOUT, &SilentReporter).await?;
    let stored = store.find(&Version::parse(version).unwrap())?.unwrap();
    let tested = locked.test(&stored, &SilentReporter).await?;
    let migration = PathMigration::of(&entry(directory), Some(tag("v1.0.0")));
    locked.activate(tested, migration.as_ref(), &directory.join("bin/d8"), now(), &SilentReporter)?;
    Ok(())
}
