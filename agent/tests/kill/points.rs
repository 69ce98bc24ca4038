//! SIGKILL at every failpoint of every kind of change. The state after each kill is known exactly.

use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _, path::Path, process::Command};

use d8_agent::{ActiveVersion, Store, testing};

use crate::{
    TestCase, block_on, child, copy_tree, own, scratch,
    support::{run_current, tree},
};

pub const CASES: &[TestCase] =
    &[("killed_at_every_failpoint", every_failpoint), ("killed_during_rollback", killed_during_rollback)];

/// A plugin in a scenario.
struct Plugin {
    name: &'static str,
    /// Output of the active version before the change, `None` if it is not installed.
    old: Option<&'static str>,
    /// The same after the change.
    new: Option<&'static str>,
    /// The failpoint at which the active version is the new one.
    visible_at: &'static str,
}

/// A change that is killed.
struct Scenario {
    what: &'static str,
    /// Commands before the change.
    before: &'static [&'static str],
    command: &'static str,
    /// The plugins, in the order of the change.
    plugins: &'static [Plugin],
    /// Whether the change has a journal: it is rolled back unless the journal was removed.
    journal: bool,
    /// A command that leads to the new state from the old and from the new one.
    next: &'static str,
}

const fn plugin(
    name: &'static str,
    old: Option<&'static str>,
    new: Option<&'static str>,
    visible_at: &'static str,
) -> Plugin {
    Plugin { name, old, new, visible_at }
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        what: "first install",
        before: &[],
        command: "install a=v1.0.0",
        plugins: &[plugin("a", None, Some("a v1.0.0"), "switch.current")],
        journal: false,
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "update within a major",
        before: &["install a=v1.0.0"],
        command: "install a=v1.1.0",
        plugins: &[plugin("a", Some("a v1.0.0"), Some("a v1.1.0"), "switch.major")],
        journal: false,
        next: "install a=v1.1.0",
    },
    Scenario {
        what: "update across majors",
        before: &["install a=v1.0.0"],
        command: "install a=v2.0.0",
        plugins: &[plugin("a", Some("a v1.0.0"), Some("a v2.0.0"), "switch.current")],
        journal: false,
        next: "install a=v2.0.0",
    },
    Scenario {
        what: "the same version by force",
        before: &["install a=v1.0.0"],
        command: "force a=v1.0.0",
        plugins: &[plugin("a", Some("a v1.0.0"), Some("a v1.0.0"), "switch.major")],
        journal: true,
        next: "force a=v1.0.0",
    },
    Scenario {
        what: "rollback",
        before: &["install a=v1.0.0", "install a=v1.1.0"],
        command: "rollback a",
        plugins: &[plugin("a", Some("a v1.1.0"), Some("a v1.0.0"), "switch.major")],
        journal: false,
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "rollback across majors",
        before: &["install a=v1.0.0", "install a=v2.0.0"],
        command: "rollback a",
        plugins: &[plugin("a", Some("a v2.0.0"), Some("a v1.0.0"), "switch.current")],
        journal: false,
        next: "install a=v1.0.0",
    },
    Scenario {
        what: "two plugins",
        before: &["install a=v1.0.0", "install b=v1.0.0"],
        command: "install a=v1.1.0 b=v2.0.0",
        plugins: &[
            plugin("a", Some("a v1.0.0"), Some("a v1.1.0"), "switch.major"),
            plugin("b", Some("b v1.0.0"), Some("b v2.0.0"), "switch.current"),
        ],
        journal: true,
        next: "install a=v1.1.0 b=v2.0.0",
    },
    Scenario {
        what: "an install and an update",
        before: &["install b=v1.0.0"],
        command: "install a=v1.0.0 b=v1.1.0",
        plugins: &[
            plugin("a", None, Some("a v1.0.0"), "switch.current"),
            plugin("b", Some("b v1.0.0"), Some("b v1.1.0"), "switch.major"),
        ],
        journal: true,
        next: "install a=v1.0.0 b=v1.1.0",
    },
    Scenario {
        what: "remove",
        before: &["install a=v1.0.0", "install a=v2.0.0"],
        command: "remove a",
        plugins: &[plugin("a", Some("a v2.0.0"), None, "remove.current")],
        journal: false,
        next: "remove a",
    },
    Scenario {
        what: "prune",
        before: &["install a=v1.0.0", "install a=v1.1.0", "install a=v1.2.0", "install a=v1.3.0"],
        command: "prune a",
        plugins: &[plugin("a", Some("a v1.3.0"), Some("a v1.3.0"), "prune.moved")],
        journal: false,
        next: "prune a",
    },
    Scenario {
        what: "update of an install of the d8 written in Go",
        before: &["go a v1.0.0"],
        command: "install a=v1.1.0",
        plugins: &[plugin("a", Some("a v1.0.0"), Some("a v1.1.0"), "switch.major")],
        journal: false,
        next: "install a=v1.1.0",
    },
];

/// Position of a failpoint in a change.
pub fn position(point: &str) -> usize {
    testing::ALL.iter().position(|name| *name == point).expect("a failpoint")
}

impl Scenario {
    /// Returns whether a failpoint is reached in the repair at the beginning of the command, before the change. The
    /// repair records the active version of each plugin again.
    fn is_in_repair(&self, point: &str, nth: usize) -> bool {
        let by_go = self.before.iter().any(|command| command.starts_with("go "));
        let recorded = self.plugins.iter().filter(|plugin| plugin.old.is_some() && !by_go).count();
        point == "switch.history" && nth <= recorded
    }

    /// Returns whether each plugin is new after a kill at a failpoint that was reached for the `nth` time.
    fn visible(&self, point: &str, nth: usize) -> Vec<bool> {
        let (at, in_repair) = (position(point), self.is_in_repair(point, nth));
        let in_loop = (position("switch.begun")..=position("switch.current")).contains(&at);
        let visible = |(number, plugin): (usize, &Plugin)| {
            let passed = at >= position(plugin.visible_at);
            let in_turn = if in_loop { number + 1 < nth || number + 1 == nth && passed } else { passed };
            in_turn && !in_repair
        };
        self.plugins.iter().enumerate().map(visible).collect()
    }

    /// Returns whether each plugin is new after the next command has repaired the store.
    fn repaired(&self, point: &str, nth: usize) -> Vec<bool> {
        let kept = position(point) >= position("journal.removed") && !self.is_in_repair(point, nth);
        if self.journal { self.plugins.iter().map(|_| kept).collect() } else { self.visible(point, nth) }
    }
}

/// Runs a command in this process. `go <name> <tag>` installs as the d8 written in Go does.
pub fn setup(root: &Path, command: &str) {
    if let ["go", name, tag] = command.split(' ').collect::<Vec<_>>().as_slice() {
        install_as_go(root, name, tag);
    } else {
        block_on(child::run(root, command)).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}

/// Installs a plugin as the d8 written in Go does: one file, one link, one contract.
pub fn install_as_go(root: &Path, name: &str, tag: &str) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let directory = root.join("plugins").join(name);
    let major = directory.join(tag.split('.').next().unwrap());
    fs::create_dir_all(&major).unwrap();
    fs::create_dir_all(root.join("cache/contracts")).unwrap();
    let binary = major.join(name);
    fs::write(&binary, crate::support::script(name, tag)).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&binary, directory.join("current")).unwrap();
    fs::write(
        root.join(format!("cache/contracts/{name}.json")),
        format!(r#"{{"name":"{name}","version":"{tag}","description":"by go"}}"#),
    )
    .unwrap();
}

fn every_failpoint() {
    let directory = scratch();
    let (root, template, done) =
        (directory.path().join("root"), directory.path().join("template"), directory.path().join("done"));
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
        for point in testing::ALL
            .iter()
            .filter(|point| !["disk.", "smoke.", "tree.", "d8."].iter().any(|prefix| point.starts_with(prefix)))
        {
            // The first and the second time that it is reached: a scenario has up to two plugins.
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
                check(scenario, &root, point, nth, &wanted);
            }
        }
    }
    // These changes never reach the failpoints of a rollback, which has its own test, and those of a system without
    // `exchange`.
    let missed: Vec<_> = testing::ALL
        .iter()
        .filter(|point| !reached.contains(*point) && !point.starts_with("undo.") && !point.ends_with("aside"))
        .filter(|point| !["disk.", "smoke.", "tree.", "d8."].iter().any(|prefix| point.starts_with(prefix)))
        .collect();
    assert!(missed.is_empty(), "never killed at {missed:?}");
    println!("  {kills} kills at {} failpoints", reached.len());
}

/// Checks the store right after a kill, after the repair by the next command, and after the change is repeated.
fn check(scenario: &Scenario, root: &Path, point: &str, nth: usize, wanted: &[String]) {
    let what = format!("{}, killed at {point}#{nth}", scenario.what);
    let check_plugins = |new: &[bool], when: &str| {
        for (plugin, new) in scenario.plugins.iter().zip(new) {
            let expected = if *new { plugin.new } else { plugin.old };
            assert_eq!(run_current(root, plugin.name).as_deref(), expected, "{what}: {} {when}", plugin.name);
        }
        check_readable(root, &what);
    };
    check_plugins(&scenario.visible(point, nth), "after the kill");
    // A command for one of the plugins repairs all of them.
    setup(root, &format!("repair {}", scenario.plugins[0].name));
    check_plugins(&scenario.repaired(point, nth), "after the repair");
    setup(root, scenario.next);
    check_plugins(&scenario.plugins.iter().map(|_| true).collect::<Vec<_>>(), "at the end");
    assert_eq!(tree(root), wanted, "{what}: the files differ from those of a change that was not interrupted");
}

/// Kills the rollback of a change that was killed, at each of its steps.
fn killed_during_rollback() {
    let directory = scratch();
    let (root, template) = (directory.path().join("root"), directory.path().join("template"));
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
            let what = format!("{command}, rollback killed at {point}#{nth}");
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
            check_readable(&root, &what);
            setup(&root, "repair a b c");
            let files: Vec<_> = tree(&root).into_iter().filter(|line| line != "plugins/c/ 0755").collect();
            assert_eq!(files, before, "{what}");
            kills += 1;
        }
    }
    println!("  {kills} kills");
}

/// Checks that everything in the store can be read and nothing is damaged.
pub fn check_readable(root: &Path, what: &str) {
    let store = Store::at(root).unwrap();
    for entry in store.list().unwrap() {
        assert!(!matches!(entry.active, ActiveVersion::Broken { .. }), "{what}: {entry:?}");
        assert!(entry.damaged.is_empty(), "{what}: {entry:?}");
        let contract = store.contract(&entry.name).unwrap();
        assert!(contract.is_some(), "{what}: {} has no contract", entry.name);
    }
}
