//! A full disk, a root of another user, another umask, a file system without hard links, files of the d8 written in Go.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use d8_agent::{ActiveVersion, Roots, SilentReporter, Store, StoreErrorKind};
use d8_crds::values::name::Tag;

use crate::{
    TestCase, block_on, copy_tree, own,
    points::{check_readable, setup},
    scratch,
    support::{name, run_current, tree},
};

pub const CASES: &[TestCase] = &[
    ("a_full_disk_changes_nothing", full_disk),
    ("modes_are_the_same_under_any_umask", umask),
    ("a_root_without_write_access", unwritable),
    ("root_refuses_a_root_that_others_can_change", untrusted),
    ("without_hard_links_and_exchange", without_links),
    ("unfinished_files_of_the_go_d8_are_removed", unfinished_files),
    ("an_install_of_the_go_d8_reports_its_version", reported_version),
];

/// Runs a child through a shell that runs `prepare` first.
fn through_shell(prepare: &str, root: &Path, command: &str) -> Output {
    Command::new("/bin/sh")
        .args(["-c", &format!("{prepare}; exec \"$0\" \"$@\"")])
        .arg(own())
        .arg("child")
        .arg(root)
        .arg(command)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn full_disk() {
    let directory = scratch();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let empty = tree(directory.path());
    // In blocks of 512 bytes: too small for a lock, and too small for a large executable.
    for (blocks, version) in [(0, "v1.1.0"), (40, "v9.0.0")] {
        for before in [None, Some("install a=v1.0.0")] {
            if let Some(before) = before {
                setup(&root, before);
            }
            let unchanged = tree(directory.path());
            let output =
                through_shell(&format!("trap '' XFSZ; ulimit -f {blocks}"), &root, &format!("install a={version}"));
            assert!(!output.status.success(), "{blocks} blocks were sufficient");
            assert!(stdout(&output).starts_with("DiskFull: "), "{blocks}: {}", stdout(&output));
            assert_eq!(tree(directory.path()), unchanged, "{blocks}");
            if before.is_some() {
                assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
                fs::remove_dir_all(&root).unwrap();
                fs::create_dir(&root).unwrap();
            }
        }
    }
    assert_eq!(tree(directory.path()), empty);
}

fn umask() {
    let trees = ["000", "022", "077"].map(|umask| {
        let directory = scratch();
        let root = directory.path().join("new/root");
        let output = through_shell(&format!("umask {umask}"), &root, "install a=v1.0.0 b=v1.0.0");
        assert!(output.status.success(), "{}", stdout(&output));
        tree(directory.path())
    });
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[0], trees[2]);
    for line in &trees[0] {
        let right = line.contains(" -> ")
            || line.ends_with("/ 0755")
            || line.ends_with(" 0644") && !line.ends_with("/ 0644")
            || line.ends_with("/a 0755")
            || line.ends_with("/b 0755");
        assert!(right, "{line}");
    }
}

/// Copies this program to a path that another user can reach.
fn open_copy(directory: &Path) -> PathBuf {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.join("d8-child");
    fs::copy(own(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn unwritable() {
    if !is_root() {
        println!("  skipped: only root can start a process of another user");
        return;
    }
    let directory = scratch();
    let program = open_copy(directory.path());
    let root = directory.path().join("root");
    setup(&root, "install a=v1.0.0");
    let before = tree(directory.path());
    let as_other = |root: &Path, command: &str| {
        Command::new(&program)
            .arg("child")
            .arg(root)
            .arg(command)
            .uid(61_000)
            .gid(61_000)
            .current_dir("/")
            .output()
            .unwrap()
    };
    for command in ["install a=v2.0.0", "install b=v1.0.0", "remove a", "rollback a"] {
        let output = as_other(&root, command);
        assert!(!output.status.success());
        assert!(stdout(&output).starts_with("Unwritable: no write access to the install root"), "{}", stdout(&output));
        let missing = directory.path().join("not/there");
        let output = as_other(&missing, command);
        assert!(stdout(&output).starts_with("Unwritable: "), "{}", stdout(&output));
    }
    assert_eq!(tree(directory.path()), before);
    // The user can use a root of their own. The smoke test needs no privileges.
    let own_root = directory.path().join("own");
    fs::create_dir(&own_root).unwrap();
    chown(&own_root, Some(61_000), Some(61_000)).unwrap();
    let output = as_other(&own_root, "install a=v1.0.0");
    assert!(output.status.success(), "{}", stdout(&output));
    assert_eq!(run_current(&own_root, "a").as_deref(), Some("a v1.0.0"));
    // Root does not use it for that reason.
    assert_eq!(Store::at(&own_root).unwrap_err().kind(), StoreErrorKind::Untrusted);
}

fn untrusted() {
    if !is_root() {
        println!("  skipped: only root checks this");
        return;
    }
    let directory = scratch();
    let root = directory.path().join("a/root");
    setup(&root, "install a=v1.0.0");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refused = |what: &str| {
        let error = Store::at(&root).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Untrusted, "{what}: {error}");
        let (stores, errors) = Roots::new(Some(root.clone()), None).for_reading();
        assert!(stores.is_empty() && errors.len() == 1, "{what}");
        assert_eq!(Roots::new(Some(root.clone()), None).for_writing().unwrap_err().kind(), StoreErrorKind::Untrusted);
        assert!(!error.advice().is_empty());
    };
    let parent = directory.path().join("a");
    mode(&root, 0o777);
    refused("world-writable");
    mode(&root, 0o1777);
    refused("sticky");
    mode(&root, 0o755);
    mode(&parent, 0o777);
    refused("in a world-writable directory");
    mode(&parent, 0o1777);
    assert!(Store::at(&root).is_ok(), "in a sticky directory such as /tmp");
    mode(&parent, 0o755);
    chown(&root, Some(61_000), None).unwrap();
    refused("owned by another user");
    chown(&root, Some(0), Some(61_000)).unwrap();
    mode(&root, 0o775);
    refused("writable for a group");
    mode(&root, 0o755);
    chown(&parent, Some(61_000), None).unwrap();
    refused("in a directory of another user");
    chown(&parent, Some(0), None).unwrap();
    // The owner of a link in a world-writable directory can change its target.
    let sticky = directory.path().join("tmp");
    fs::create_dir(&sticky).unwrap();
    mode(&sticky, 0o1777);
    let link = sticky.join("link");
    symlink(&root, &link).unwrap();
    assert!(Store::at(&link).is_ok());
    std::os::unix::fs::lchown(&link, Some(61_000), None).unwrap();
    assert_eq!(Store::at(&link).unwrap_err().kind(), StoreErrorKind::Untrusted);
    // The same inside of a trusted root.
    let store = Store::at(&root).unwrap();
    let plugin = root.join("plugins/a");
    chown(&plugin, Some(61_000), None).unwrap();
    let entry = store.get(&name("a")).unwrap().unwrap();
    assert!(matches!(&entry.active, ActiveVersion::Broken { why, .. } if why.contains("61000")), "{entry:?}");
    let locked = block_on(store.lock(&[name("a")], Duration::ZERO, &SilentReporter)).map(|_| ());
    assert_eq!(locked.unwrap_err().kind(), StoreErrorKind::Untrusted);
}

/// A file system that supports neither: executables are copied, and a replaced version is moved aside.
fn without_links() {
    let directory = scratch();
    let root = directory.path().join("root");
    let run = |point: &str, command: &str| {
        Command::new(own())
            .arg("child")
            .arg(&root)
            .arg(command)
            .env("D8_FAILPOINT", format!("disk.link#*=fail,disk.exchange#*=fail{point}"))
            .output()
            .unwrap()
    };
    let succeed = |command: &str| {
        let output = run("", command);
        assert!(output.status.success(), "{command}: {}", stdout(&output));
    };
    fs::create_dir(&root).unwrap();
    succeed("install a=v1.0.0 b=v1.0.0");
    succeed("install a=v1.1.0");
    succeed("rollback a");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
    check_readable(&root, "copies");
    let template = directory.path().join("template");
    copy_tree(&root, &template).unwrap();
    for command in ["force a=v1.0.0", "install a=v1.2.0 b=v1.1.0"] {
        for point in [
            "journal.written",
            "switch.aside",
            "switch.placed",
            "switch.contract",
            "switch.major",
            "switch.current",
            "switch.done",
        ] {
            copy_tree(&template, &root).unwrap();
            if run(&format!(",{point}=kill"), command).status.success() {
                // A version is moved aside only if it is replaced.
                assert!(point == "switch.aside" && command.starts_with("install"), "{command} reached no {point}");
                continue;
            }
            let switched =
                command.starts_with("install") && ["switch.major", "switch.current", "switch.done"].contains(&point);
            let expected = if switched { "a v1.2.0" } else { "a v1.0.0" };
            assert_eq!(run_current(&root, "a").as_deref(), Some(expected), "{command} killed at {point}");
            succeed("repair a");
            check_readable(&root, point);
            let now = (run_current(&root, "a").unwrap(), run_current(&root, "b").unwrap());
            assert_eq!(now, ("a v1.0.0".to_owned(), "b v1.0.0".to_owned()), "{command} killed at {point}");
            succeed(command);
            check_readable(&root, point);
            assert!(!root.join(".staging").exists());
        }
    }
}

fn unfinished_files() {
    let directory = scratch();
    let root = directory.path();
    setup(root, "install a=v1.0.0");
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    let create = |path: &str, time: Option<std::time::SystemTime>| {
        let path = root.join(path);
        let file = fs::File::create(&path).unwrap();
        if let Some(time) = time {
            file.set_modified(time).unwrap();
        }
        path
    };
    let removed = [
        create("plugins/a/v1/a.new", Some(old)),
        create("plugins/a/v1/a.staged", Some(old)),
        create("cache/contracts/a.json.tmp-123", Some(old)),
    ];
    let kept = [create("plugins/a/v1/b.new", None), create("cache/contracts/b.json.tmp-123", Some(old))];
    setup(root, "install a=v1.1.0");
    assert!(removed.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"));
}

/// Without a contract the executable is run in the sandbox.
fn reported_version() {
    let directory = scratch();
    let root = directory.path();
    setup(root, "go a v1.4.2");
    fs::remove_file(root.join("cache/contracts/a.json")).unwrap();
    setup(root, "install a=v2.0.0");
    let entry = Store::at(root).unwrap().get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.previous.as_ref().map(Tag::as_str), Some("v1.4.2"));
    setup(root, "rollback a");
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.4.2"));
    // The adopted version has no contract, and the one of the newer version is removed from the cache.
    assert_eq!(Store::at(root).unwrap().contract(&name("a")).unwrap(), None);
}
