//! SIGKILL at every failpoint of every kind of change.

use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _, path::Path, process::Command};

use d8_agent::{ActiveVersion, Store, testing};

use crate::{
    Case, block_on, child, copy_tree, own, scratch,
    support::{run_current, tree},
};

pub const CASES: &[Case] = &[("killed_at_every_failpoint", every_failpoint), ("killed_while_undoing", undoing)];

/// A change: what was there before, the command that is killed, the one that comes next, and what runs
/// at the end.
struct Scenario {
    what: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    /// What each plugin may say before and after.
    plugins: &'static [(&'static str, Option<&'static str>, Option<&'static str>)],
    /// A command that leads to the wanted state from both the old and the new one.
    next: &'static str,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        what: "first install",
        before: &[],
        command: "install a=v1.0.0",
        plugins: &[("a", None, Some("a v1.0.0"))],
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "update within a major",
        before: &["install a=v1.0.0"],
        command: "install a=v1.1.0",
        plugins: &[("a", Some("a v1.0.0"), Some("a v1.1.0"))],
        next: "install a=v1.1.0",
    },
    Scenario {
        what: "update across majors",
        before: &["install a=v1.0.0"],
        command: "install a=v2.0.0",
        plugins: &[("a", Some("a v1.0.0"), Some("a v2.0.0"))],
        next: "install a=v2.0.0",
    },
    Scenario {
        what: "the same again by force",
        before: &["install a=v1.0.0"],
        command: "force a=v1.0.0",
        plugins: &[("a", Some("a v1.0.0"), Some("a v1.0.0"))],
        next: "force a=v1.0.0",
    },
    Scenario {
        what: "rollback",
        before: &["install a=v1.0.0", "install a=v1.1.0"],
        command: "rollback a",
        plugins: &[("a", Some("a v1.1.0"), Some("a v1.0.0"))],
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "rollback across majors",
        before: &["install a=v1.0.0", "install a=v2.0.0"],
        command: "rollback a",
        plugins: &[("a", Some("a v2.0.0"), Some("a v1.0.0"))],
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "two plugins at once",
        before: &["install a=v1.0.0", "install b=v1.0.0"],
        command: "install a=v1.1.0 b=v2.0.0",
        plugins: &[("a", Some("a v1.0.0"), Some("a v1.1.0")), ("b", Some("b v1.0.0"), Some("b v2.0.0"))],
        next: "install a=v1.1.0 b=v2.0.0",
    },
    Scenario {
        what: "an update that brings in a dependency",
        before: &["install b=v1.0.0"],
        command: "install a=v1.0.0 b=v1.1.0",
        plugins: &[("a", None, Some("a v1.0.0")), ("b", Some("b v1.0.0"), Some("b v1.1.0"))],
        next: "install a=v1.0.0 b=v1.1.0",
    },
    Scenario {
        what: "remove",
        before: &["install a=v1.0.0", "install a=v2.0.0"],
        command: "remove a",
        plugins: &[("a", Some("a v2.0.0"), None)],
        next: "remove a",
    },
    Scenario {
        what: "prune",
        before: &["install a=v1.0.0", "install a=v1.1.0", "install a=v1.2.0", "install a=v1.3.0"],
        command: "prune a",
        plugins: &[("a", Some("a v1.3.0"), Some("a v1.3.0"))],
        next: "prune a",
    },
    Scenario {
        what: "update of what the Go d8 installed",
        before: &["go a v1.0.0"],
        command: "install a=v1.1.0",
        plugins: &[("a", Some("a v1.0.0"), Some("a v1.1.0"))],
        next: "install a=v1.1.0",
    },
];

/// Runs a command in this process; `go <name> <tag>` installs as the Go d8 does.
pub fn setup(root: &Path, command: &str) {
    if let ["go", name, tag] = command.split(' ').collect::<Vec<_>>().as_slice() {
        install_as_go(root, name, tag);
    } else {
        block_on(child::run(root, command)).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}

/// As the Go d8 lays a plugin out: one file, one link, one contract.
pub fn install_as_go(root: &Path, name: &str, tag: &str) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = root.join("plugins").join(name);
    let major = folder.join(tag.split('.').next().unwrap());
    fs::create_dir_all(&major).unwrap();
    fs::create_dir_all(root.join("cache/contracts")).unwrap();
    let binary = major.join(name);
    fs::write(&binary, crate::support::script(name, tag)).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&binary, folder.join("current")).unwrap();
    fs::write(
        root.join(format!("cache/contracts/{name}.json")),
        format!(r#"{{"name":"{name}","version":"{tag}","description":"by go"}}"#),
    )
    .unwrap();
}

fn every_failpoint() {
    let folder = scratch();
    let (root, template, done) =
        (folder.path().join("root"), folder.path().join("template"), folder.path().join("done"));
    let mut reached = BTreeSet::new();
    let mut kills = 0;
    for scenario in SCENARIOS {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        for command in scenario.before {
            setup(&root, command);
        }
        copy_tree(&root, &template).unwrap();
        setup(&root, scenario.command);
        copy_tree(&root, &done).unwrap();
        let wanted = tree(&root);
        for point in testing::ALL.iter().filter(|point| !point.starts_with("disk.") && !point.starts_with("own.")) {
            // The first time it is reached, and the second: two plugins, two tries.
            for nth in 1..=2 {
                copy_tree(&template, &root).unwrap();
                let child = Command::new(own())
                    .arg("child")
                    .arg(&root)
                    .arg(scenario.command)
                    .env("D8_FAILPOINT", format!("{point}#{nth}=kill"))
                    .output()
                    .unwrap();
                if child.status.signal() != Some(9) {
                    assert!(child.status.success(), "{} at {point}: {child:?}", scenario.what);
                    break;
                }
                kills += 1;
                reached.insert(*point);
                check(scenario, &root, &format!("{}, killed at {point}#{nth}", scenario.what), &wanted);
            }
        }
    }
    // What the change itself never reaches: undoing is killed in its own test, exchange needs no aside.
    let missed: Vec<_> = testing::ALL
        .iter()
        .filter(|point| !reached.contains(*point) && !point.starts_with("undo.") && **point != "switch.aside")
        .filter(|point| !point.starts_with("disk.") && !point.starts_with("own."))
        .collect();
    assert!(missed.is_empty(), "never killed at {missed:?}");
    println!("  {kills} kills at {} places", reached.len());
}

/// What has to hold right after a kill, after the next command, and at the end.
fn check(scenario: &Scenario, root: &Path, what: &str, wanted: &[String]) {
    let said = |name| run_current(root, name);
    for (name, old, new) in scenario.plugins {
        let now = said(name);
        assert!(now.as_deref() == *old || now.as_deref() == *new, "{what}: {name} says {now:?}");
    }
    reads(root, what);
    // The next command, whichever it is and whichever of the plugins it is about, makes it all or none.
    let first = scenario.plugins[0].0;
    setup(root, &format!("repair {first}"));
    let old = scenario.plugins.iter().all(|(name, old, _)| said(name).as_deref() == *old);
    let new = scenario.plugins.iter().all(|(name, _, new)| said(name).as_deref() == *new);
    assert!(old || new, "{what}: half of it stands after the repair");
    reads(root, what);
    setup(root, scenario.next);
    for (name, _, new) in scenario.plugins {
        assert_eq!(said(name).as_deref(), *new, "{what}");
    }
    assert_eq!(tree(root), wanted, "{what}: what is on the disk is not what an undisturbed change leaves");
}

/// The repair of a crash crashes, at every one of its steps.
fn undoing() {
    let folder = scratch();
    let (root, template) = (folder.path().join("root"), folder.path().join("template"));
    fs::create_dir(&root).unwrap();
    for command in ["install a=v1.0.0", "install b=v1.0.0"] {
        setup(&root, command);
    }
    copy_tree(&root, &template).unwrap();
    let before = tree(&root);
    let killed = |point: &str, command: &str| {
        let child = Command::new(own())
            .arg("child")
            .arg(&root)
            .arg(command)
            .env("D8_FAILPOINT", format!("{point}=kill"))
            .output()
            .unwrap();
        child.status.signal() == Some(9)
    };
    let mut kills = 0;
    for point in testing::ALL.iter().filter(|point| point.starts_with("undo.")) {
        for (nth, command) in [
            (1, "install a=v1.1.0 b=v2.0.0"),
            (2, "install a=v1.1.0 b=v2.0.0"),
            (1, "force a=v1.0.0"),
            (3, "install a=v1.1.0 b=v2.0.0 c=v1.0.0"),
        ] {
            let what = format!("{command}, undone up to {point}#{nth}");
            copy_tree(&template, &root).unwrap();
            assert!(killed("switch.done", command), "{what}");
            assert!(killed(&format!("{point}#{nth}"), "repair b"), "{what}");
            for name in ["a", "b"] {
                assert!(run_current(&root, name).is_some(), "{what}");
            }
            setup(&root, "repair a");
            for name in ["a", "b"] {
                assert_eq!(run_current(&root, name), Some(format!("{name} v1.0.0")), "{what}");
            }
            reads(&root, &what);
            setup(&root, "repair a b c");
            let left: Vec<_> = tree(&root).into_iter().filter(|line| line != "plugins/c/ 0755").collect();
            assert_eq!(left, before, "{what}");
            kills += 1;
        }
    }
    println!("  {kills} kills");
}

/// Everything in the store reads, and nothing in it is broken.
pub fn reads(root: &Path, what: &str) {
    let store = Store::at(root).unwrap();
    for entry in store.list().unwrap() {
        assert!(!matches!(entry.active, ActiveVersion::Broken { .. }), "{what}: {entry:?}");
        assert!(entry.damaged.is_empty(), "{what}: {entry:?}");
        let contract = store.contract(&entry.name).unwrap();
        assert!(contract.is_some(), "{what}: {} has no contract", entry.name);
    }
}
