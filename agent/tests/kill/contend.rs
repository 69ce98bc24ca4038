//! Several processes compete for the same plugin. One of them may have ended, or be the d8 written in Go.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use d8_agent::{LockHolder, SilentReporter, Store, StoreChange, StoreError, StoreErrorKind, smoke::Sandbox, testing};

use crate::{
    TestCase, block_on, own,
    points::{check_readable, setup},
    scratch,
    support::{MemorySource, name, now, request, run_current, tree},
};

pub const CASES: &[TestCase] = &[
    ("the_lock_excludes", excludes),
    ("a_lock_is_held_until_its_process_ends", holder),
    ("the_lock_of_a_killed_process_is_free", killed),
    ("a_lock_without_a_record_counts_for_an_hour", foreign),
    ("several_locks_are_taken_all_or_none", all_or_none),
    ("a_lost_lock_rolls_back_the_change", lost),
    ("parallel_installs_of_one_plugin", parallel),
];

fn spawn(root: &Path, command: &str) -> Child {
    Command::new(own())
        .arg("child")
        .arg(root)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts a child that holds the locks.
fn hold(root: &Path, plugins: &str) -> Child {
    let mut child = spawn(root, &format!("hold {plugins}"));
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

fn attempt(root: &Path, plugins: &[&str]) -> Result<(), StoreError> {
    let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
    block_on(async { Store::at(root)?.lock(&names, Duration::ZERO, &SilentReporter).await.map(|_| ()) })
}

fn excludes() {
    let directory = scratch();
    fs::create_dir(directory.path().join("plugins")).unwrap();
    let children: Vec<Child> = (0..5).map(|_| spawn(directory.path(), "count a 25")).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_to_string(directory.path().join("counter")).unwrap(), "125");
    // The directory of the plugin was removed with the lock.
    assert_eq!(tree(directory.path()), ["counter 0644", "plugins/ 0755"]);
}

fn holder() {
    let directory = scratch();
    let mut child = hold(directory.path(), "a");
    let error = attempt(directory.path(), &["a"]).unwrap_err();
    match &error {
        StoreError::Locked { holder: LockHolder::Process { pid, program, .. }, .. } => {
            assert_eq!(*pid, child.id());
            assert!(program.starts_with("kill-"), "{program}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    attempt(directory.path(), &["b"]).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    attempt(directory.path(), &["a"]).unwrap();
}

fn killed() {
    let directory = scratch();
    let mut child = hold(directory.path(), "a b");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(directory.path().join("plugins/a/install.lock").exists());
    attempt(directory.path(), &["a"]).unwrap();
    attempt(directory.path(), &["a", "b"]).unwrap();
    // The empty directories of the killed process were removed.
    assert!(!directory.path().join("plugins/a").exists());
    assert!(!directory.path().join(".staging").exists());
}

fn foreign() {
    let directory = scratch();
    setup(directory.path(), "install a=v1.0.0");
    let lock = directory.path().join("plugins/a/install.lock");
    for content in ["", "12345\n"] {
        fs::write(&lock, content).unwrap();
        match attempt(directory.path(), &["a"]).unwrap_err() {
            StoreError::Locked { holder: LockHolder::Foreign, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read_to_string(&lock).unwrap(), content, "a held lock was changed");
        let old = SystemTime::now() - Duration::from_secs(3601);
        File::options().write(true).open(&lock).unwrap().set_modified(old).unwrap();
        attempt(directory.path(), &["a"]).unwrap();
        assert!(!lock.exists());
    }
}

fn all_or_none() {
    let directory = scratch();
    let mut child = hold(directory.path(), "b");
    match attempt(directory.path(), &["c", "a", "b"]).unwrap_err() {
        StoreError::Locked { name, .. } => assert_eq!(name.name(), "b"),
        other => panic!("{other:?}"),
    }
    assert!(!directory.path().join("plugins/a").exists() && !directory.path().join("plugins/c").exists());
    drop(child.stdin.take());
    child.wait().unwrap();
    attempt(directory.path(), &["c", "a", "b"]).unwrap();
}

/// Another program replaces the lock during a switch.
fn lost() {
    for point in ["switch.begun", "switch.placed", "switch.contract", "switch.major"] {
        let directory = scratch();
        let root = directory.path();
        setup(root, "install a=v1.0.0");
        let before = tree(root);
        let lock = root.join("plugins/a/install.lock");
        let replaced = lock.clone();
        testing::on(point, move || {
            fs::remove_file(&replaced)?;
            fs::write(&replaced, "")
        });
        let error = block_on(async {
            let store = Store::at(root)?.with_sandbox(Sandbox::of(own()));
            let mut locked = store.lock(&[name("a")], Duration::ZERO, &SilentReporter).await?;
            let staged = locked.stage(request("a", "v2.0.0"), &MemorySource::default(), &SilentReporter).await?;
            locked.switch(vec![StoreChange::Install(staged)], now(), &SilentReporter).await
        })
        .unwrap_err();
        testing::on(point, || Ok(()));
        assert_eq!(error.kind(), StoreErrorKind::LockLost, "{point}: {error}");
        assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"), "{point}");
        assert!(lock.exists(), "{point}: the other program's lock was removed");
        fs::remove_file(&lock).unwrap();
        assert_eq!(tree(root), before, "{point}");
    }
}

fn parallel() {
    let directory = scratch();
    let versions = ["v1.0.0", "v1.1.0", "v2.0.0", "v2.1.0"];
    let children: Vec<Child> =
        versions.iter().map(|version| spawn(directory.path(), &format!("install a={version}"))).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    check_readable(directory.path(), "after four concurrent installs");
    let store = Store::at(directory.path()).unwrap();
    let entry = store.get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.versions.len(), 4);
    let active = &entry.installed().unwrap().tag;
    assert_eq!(entry.history.last(), Some(active));
    assert_eq!(run_current(directory.path(), "a"), Some(format!("a {active}")));
    assert!(!directory.path().join(".staging").exists());
}
