//! A full disk, a root that is not ours, another umask, a file system without links, things in the
//! store that somebody planted: as processes see them.

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
    Case, block_on, copy_tree, own,
    points::{reads, setup},
    scratch,
    support::{name, run_current, tree},
};

pub const CASES: &[Case] = &[
    ("a_full_disk_changes_nothing", full_disk),
    ("modes_are_the_same_under_any_umask", umask),
    ("a_root_without_write_access", unwritable),
    ("a_root_that_others_can_write_to_is_refused_for_root", untrusted),
    ("without_hard_links_and_exchange", without_links),
    ("leftovers_of_the_go_d8", leftovers),
    ("what_the_go_d8_installed_says_its_version", asked),
];

/// Runs a child by a shell that prepares the process first.
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

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn full_disk() {
    let folder = scratch();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let empty = tree(folder.path());
    // In blocks of 512 bytes: not even a lock, or a part of a large executable.
    for (blocks, version) in [(0, "v1.1.0"), (40, "v9.0.0")] {
        for before in [None, Some("install a=v1.0.0")] {
            if let Some(before) = before {
                setup(&root, before);
            }
            let there = tree(folder.path());
            let output =
                through_shell(&format!("trap '' XFSZ; ulimit -f {blocks}"), &root, &format!("install a={version}"));
            assert!(!output.status.success(), "{blocks} blocks were enough");
            assert!(said(&output).starts_with("DiskFull: "), "{blocks}: {}", said(&output));
            assert_eq!(tree(folder.path()), there, "{blocks}");
            if before.is_some() {
                assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
                fs::remove_dir_all(&root).unwrap();
                fs::create_dir(&root).unwrap();
            }
        }
    }
    assert_eq!(tree(folder.path()), empty);
}

fn umask() {
    let trees = ["000", "022", "077"].map(|umask| {
        let folder = scratch();
        let root = folder.path().join("new/root");
        let output = through_shell(&format!("umask {umask}"), &root, "install a=v1.0.0 b=v1.0.0");
        assert!(output.status.success(), "{}", said(&output));
        tree(folder.path())
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

/// This program where another uid can get at it.
fn open_copy(folder: &Path) -> PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join("d8-child");
    fs::copy(own(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn unwritable() {
    if !is_root() {
        println!("  skipped: needs root, to become somebody else");
        return;
    }
    let folder = scratch();
    let program = open_copy(folder.path());
    let root = folder.path().join("root");
    setup(&root, "install a=v1.0.0");
    let before = tree(folder.path());
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
        assert!(said(&output).starts_with("Unwritable: no write access to the install root"), "{}", said(&output));
        let nowhere = folder.path().join("not/there");
        let output = as_other(&nowhere, command);
        assert!(said(&output).starts_with("Unwritable: "), "{}", said(&output));
    }
    assert_eq!(tree(folder.path()), before);
    // Its own root it may use, and the smoke test needs no privilege.
    let own_root = folder.path().join("own");
    fs::create_dir(&own_root).unwrap();
    chown(&own_root, Some(61_000), Some(61_000)).unwrap();
    let output = as_other(&own_root, "install a=v1.0.0");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(run_current(&own_root, "a").as_deref(), Some("a v1.0.0"));
    // Which is exactly why root does not.
    assert_eq!(Store::at(&own_root).unwrap_err().kind(), StoreErrorKind::Untrusted);
}

fn untrusted() {
    if !is_root() {
        println!("  skipped: it is root's duty only");
        return;
    }
    let folder = scratch();
    let root = folder.path().join("a/root");
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
    let parent = folder.path().join("a");
    mode(&root, 0o777);
    refused("world-writable");
    mode(&root, 0o1777);
    refused("sticky is good enough for a way, not for a root");
    mode(&root, 0o755);
    mode(&parent, 0o777);
    refused("a parent is world-writable");
    mode(&parent, 0o1777);
    assert!(Store::at(&root).is_ok(), "a sticky parent, as /tmp is");
    mode(&parent, 0o755);
    chown(&root, Some(61_000), None).unwrap();
    refused("somebody else's");
    chown(&root, Some(0), Some(61_000)).unwrap();
    mode(&root, 0o775);
    refused("a group's");
    mode(&root, 0o755);
    chown(&parent, Some(61_000), None).unwrap();
    refused("in somebody else's home");
    chown(&parent, Some(0), None).unwrap();
    // A link in a directory for everybody leads where its owner likes.
    let way = folder.path().join("tmp");
    fs::create_dir(&way).unwrap();
    mode(&way, 0o1777);
    let link = way.join("link");
    symlink(&root, &link).unwrap();
    assert!(Store::at(&link).is_ok());
    std::os::unix::fs::lchown(&link, Some(61_000), None).unwrap();
    assert_eq!(Store::at(&link).unwrap_err().kind(), StoreErrorKind::Untrusted);
    // Inside a good root, too.
    let store = Store::at(&root).unwrap();
    let plugin = root.join("plugins/a");
    chown(&plugin, Some(61_000), None).unwrap();
    let entry = store.get(&name("a")).unwrap().unwrap();
    assert!(matches!(&entry.active, ActiveVersion::Broken { why } if why.contains("61000")), "{entry:?}");
    let locked = block_on(store.lock(&[name("a")], Duration::ZERO, &SilentReporter)).map(|_| ());
    assert_eq!(locked.unwrap_err().kind(), StoreErrorKind::Untrusted);
}

/// As on a file system that has neither: copies, and a version that waits aside.
fn without_links() {
    let folder = scratch();
    let root = folder.path().join("root");
    let run = |point: &str, command: &str| {
        Command::new(own())
            .arg("child")
            .arg(&root)
            .arg(command)
            .env("D8_FAILPOINT", format!("disk.link#*=fail,disk.exchange#*=fail{point}"))
            .output()
            .unwrap()
    };
    let fine = |command: &str| {
        let output = run("", command);
        assert!(output.status.success(), "{command}: {}", said(&output));
    };
    fs::create_dir(&root).unwrap();
    fine("install a=v1.0.0 b=v1.0.0");
    fine("install a=v1.1.0");
    fine("rollback a");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
    reads(&root, "copies");
    let template = folder.path().join("template");
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
                // Only what replaces a version sets one aside.
                assert!(point == "switch.aside" && command.starts_with("install"), "{command} reached no {point}");
                continue;
            }
            let now = run_current(&root, "a").unwrap();
            assert!(now == "a v1.0.0" || now == "a v1.2.0", "{command} killed at {point}: {now}");
            fine("repair a");
            reads(&root, point);
            let now = (run_current(&root, "a").unwrap(), run_current(&root, "b").unwrap());
            assert_eq!(now, ("a v1.0.0".to_owned(), "b v1.0.0".to_owned()), "{command} killed at {point}");
            fine(command);
            reads(&root, point);
            assert!(!root.join(".staging").exists());
        }
    }
}

fn leftovers() {
    let folder = scratch();
    let root = folder.path();
    setup(root, "install a=v1.0.0");
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    let leave = |path: &str, time: Option<std::time::SystemTime>| {
        let path = root.join(path);
        let file = fs::File::create(&path).unwrap();
        if let Some(time) = time {
            file.set_modified(time).unwrap();
        }
        path
    };
    let gone = [
        leave("plugins/a/v1/a.new", Some(old)),
        leave("plugins/a/v1/a.staged", Some(old)),
        leave("cache/contracts/a.json.tmp-123", Some(old)),
    ];
    let stays = [leave("plugins/a/v1/b.new", None), leave("cache/contracts/b.json.tmp-123", Some(old))];
    setup(root, "install a=v1.1.0");
    assert!(gone.iter().all(|path| !path.exists()));
    assert!(stays.iter().all(|path| path.exists()));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"));
}

/// Without a contract it is asked, in the sandbox.
fn asked() {
    let folder = scratch();
    let root = folder.path();
    setup(root, "go a v1.4.2");
    fs::remove_file(root.join("cache/contracts/a.json")).unwrap();
    setup(root, "install a=v2.0.0");
    let entry = Store::at(root).unwrap().get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.previous.as_ref().map(Tag::as_str), Some("v1.4.2"));
    setup(root, "rollback a");
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.4.2"));
    // It had no contract, so there is none that the newer version's could be mistaken for.
    assert_eq!(Store::at(root).unwrap().contract(&name("a")).unwrap(), None);
}
