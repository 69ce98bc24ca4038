//! SIGKILL and failures while an install mends a `current` that is not a link, as in a copy that followed links. With
//! and without a system that exchanges two names in one step.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output},
};

use d8_agent::testing;

use crate::{
    TestCase, copy_tree, own,
    points::{check_readable, position, setup},
    scratch,
    support::{run_current, tree},
};

pub const CASES: &[TestCase] = &[("a_current_that_is_no_link_is_restored", interrupted)];

/// What is in place of the link, and how it gets there.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 2] = [
    ("a file", |current| {
        fs::copy(current, current.with_extension("copy")).unwrap();
        fs::rename(current.with_extension("copy"), current).unwrap();
    }),
    ("a directory", |current| {
        fs::remove_file(current).unwrap();
        fs::create_dir(current).unwrap();
        fs::write(current.join("file"), "").unwrap();
    }),
];

/// A system that exchanges names, and one that does not.
const SYSTEMS: [&str; 2] = ["", "disk.exchange#*=fail,"];

const INSTALL: &str = "install a=v1.1.0";

fn child(root: &Path, command: &str, failpoints: &str) -> Output {
    Command::new(own()).arg("child").arg(root).arg(command).env("D8_FAILPOINT", failpoints).output().unwrap()
}

fn interrupted() {
    let mut kills = 0;
    for (what, damage) in DAMAGES {
        for system in SYSTEMS {
            kills += interrupt(&format!("{what} {system}"), damage, system);
        }
    }
    println!("  {kills} kills");
}

/// Interrupts an install at each failpoint. Returns how often it was killed.
fn interrupt(what: &str, damage: fn(&Path), system: &str) -> usize {
    let directory = scratch();
    let [root, template] = ["root", "template"].map(|name| directory.path().join(name));
    setup(&root, "install a=v1.0.0");
    damage(&root.join("plugins/a/current"));
    copy_tree(&root, &template).unwrap();
    let before = tree(&root);
    assert!(child(&root, INSTALL, system).status.success(), "{what}");
    let done = tree(&root);
    let mut killed = Vec::new();
    for point in testing::ALL.iter().filter(|point| {
        ["lock.", "stage.", "switch.", "journal.", "release."].iter().any(|prefix| point.starts_with(prefix))
    }) {
        copy_tree(&template, &root).unwrap();
        if child(&root, INSTALL, &format!("{system}{point}=kill")).status.signal() == Some(9) {
            killed.push(*point);
            setup(&root, "repair a");
            let is_done = position(point) >= position("journal.removed");
            assert_eq!(tree(&root), if is_done { done.clone() } else { before.clone() }, "{what}: killed at {point}");
            finish(&root, &done, &format!("{what}: killed at {point}"));
        }
        copy_tree(&template, &root).unwrap();
        if !child(&root, INSTALL, &format!("{system}{point}=fail")).status.success() {
            assert_eq!(tree(&root), before, "{what}: failed at {point}");
            finish(&root, &done, &format!("{what}: failed at {point}"));
        }
    }
    assert_eq!(killed.contains(&"switch.current_aside"), !system.is_empty(), "{what}: {killed:?}");
    assert!(killed.contains(&"switch.current") && killed.contains(&"journal.written"), "{what}: {killed:?}");
    killed.len() + rolled_back(what, &root, &template, &before, system)
}

/// Kills the rollback of a killed install at each of its steps. Returns how often it was killed.
fn rolled_back(what: &str, root: &Path, template: &Path, before: &[String], system: &str) -> usize {
    let points: Vec<_> = testing::ALL.iter().filter(|point| point.starts_with("undo.")).collect();
    for point in &points {
        copy_tree(template, root).unwrap();
        assert_eq!(child(root, INSTALL, &format!("{system}switch.done=kill")).status.signal(), Some(9), "{what}");
        assert_eq!(child(root, "repair a", &format!("{system}{point}=kill")).status.signal(), Some(9), "{what}");
        setup(root, "repair a");
        assert_eq!(tree(root), before, "{what}: rollback killed at {point}");
    }
    2 * points.len()
}

/// Repeats the install.
fn finish(root: &Path, done: &[String], what: &str) {
    setup(root, INSTALL);
    assert_eq!(tree(root), done, "{what}");
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"), "{what}");
    check_readable(root, what);
}
