//! Stores on real file systems of other kinds, in mount namespaces: full, without free inodes, mounted `noexec`, on an
//! overlay, bound to another path, and with names that are not UTF-8.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use d8_agent::{
    Store, StoreErrorKind,
    cluster::{ClusterKey, EndpointPins},
    smoke::{Sandbox, Subject},
    testing,
};
use d8_rpp::EndpointIdentity;
use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::statvfs,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount},
};

use crate::{
    TestCase, block_on, child, d8, own,
    points::{check_readable, setup},
    scratch,
    support::{name, run_current, tree},
};

pub const CASES: &[TestCase] = &[
    ("a_full_file_system_changes_nothing", || with_mounts(full)),
    ("without_free_inodes_nothing_changes", || with_mounts(without_inodes)),
    ("d8_on_a_full_file_system", || with_mounts(d8_full)),
    ("a_root_that_is_mounted_noexec", || with_mounts(noexec)),
    ("a_root_on_an_overlay", || with_mounts(overlay)),
    ("a_root_that_is_bound_to_another_path", || with_mounts(bound)),
    ("the_sandbox_cannot_write_to_a_mount_that_is_not_utf8", || with_mounts(odd_mount)),
    ("a_pin_in_a_read_only_home_hides_no_later_one", || with_mounts(read_only_home)),
    ("a_root_that_is_not_utf8", odd_root),
];

/// Runs a test in a thread with its own mount namespace, so that its mounts end with it. Gives it a directory.
fn with_mounts(test: fn(&Path)) {
    let directory = scratch();
    thread::scope(|scope| {
        let isolated = scope.spawn(|| {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            if unshare(CloneFlags::CLONE_NEWNS).is_err() || mount_change("/", private).is_err() {
                println!("  skipped: this user may not create a mount namespace");
                return;
            }
            test(directory.path());
        });
        isolated.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Mounts a file system in memory on a new directory.
fn mount_memory(directory: &Path, options: &str, flags: MountFlags) -> PathBuf {
    let path = directory.join("fs");
    fs::create_dir_all(&path).unwrap();
    let options = std::ffi::CString::new(format!("mode=755,{options}")).unwrap();
    mount("tmpfs", &path, "tmpfs", flags, options.as_c_str()).unwrap();
    path
}

fn run(root: &Path, command: &str) -> Output {
    run_with(root, command, "")
}

fn run_with(root: &Path, command: &str, failpoints: &str) -> Output {
    Command::new(own()).arg("child").arg(root).arg(command).env("D8_FAILPOINT", failpoints).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A change on a file system that is almost full.
struct Change {
    before: &'static [&'static str],
    command: &'static str,
    /// Output of the active version of plugin a before and after it.
    old: Option<&'static str>,
    new: &'static str,
    /// A command that leads to the new version also after the change.
    next: &'static str,
}

const CHANGES: &[Change] = &[
    Change { before: &[], command: "install a=v1.0.0", old: None, new: "a v1.0.0", next: "install a=v1.0.0" },
    Change {
        before: &["install a=v1.0.0"],
        command: "install a=v1.1.0",
        old: Some("a v1.0.0"),
        new: "a v1.1.0",
        next: "install a=v1.1.0",
    },
    Change {
        before: &["install a=v1.0.0"],
        command: "force a=v1.0.0",
        old: Some("a v1.0.0"),
        new: "a v1.0.0",
        next: "force a=v1.0.0",
    },
    Change {
        before: &["install a=v1.0.0 b=v1.0.0"],
        command: "install b=v1.1.0 a=v2.0.0",
        old: Some("a v1.0.0"),
        new: "a v2.0.0",
        next: "install b=v1.1.0 a=v2.0.0",
    },
    Change {
        before: &["install a=v1.0.0", "install a=v2.0.0"],
        command: "rollback a",
        old: Some("a v2.0.0"),
        new: "a v1.0.0",
        next: "install a=v1.0.0",
    },
    Change {
        before: &["go a v1.0.0"],
        command: "install a=v1.1.0",
        old: Some("a v1.0.0"),
        new: "a v1.1.0",
        next: "install a=v1.1.0",
    },
];

/// Makes each change with 0, 1, 2, … units of what is short, until it succeeds. `fill` leaves this many units.
fn with_little(root: &Path, fill: impl Fn(u64), free: impl Fn(), refusals: &[&str]) {
    for change in CHANGES {
        let by_other_tool = change.before.iter().any(|command| command.starts_with("go "));
        let mut refused = 0;
        for units in 0.. {
            let _ = fs::remove_dir_all(root);
            fs::create_dir(root).unwrap();
            change.before.iter().for_each(|command| setup(root, command));
            let before = tree(root);
            fill(units);
            let output = run(root, change.command);
            let done = output.status.success();
            let what = format!("{} with {units}: {}", change.command, stdout(&output));
            if !done {
                refused += 1;
                assert!(refusals.iter().any(|kind| stdout(&output).starts_with(kind)), "{what}");
                // An install of another tool may have been adopted.
                let after =
                    tree(root).into_iter().filter(|line| !by_other_tool || !line.starts_with("plugins/a/versions"));
                assert_eq!(after.collect::<Vec<_>>(), before, "{what}");
            }
            let expected = if done { Some(change.new) } else { change.old };
            assert_eq!(run_current(root, "a").as_deref(), expected, "{what}");
            check_readable(root, &what);
            free();
            setup(root, change.next);
            assert_eq!(run_current(root, "a").as_deref(), Some(change.new), "{what}");
            check_readable(root, &what);
            if done {
                break;
            }
        }
        assert!(refused > 0, "{}: only {refused} steps were refused", change.command);
    }
}

/// Size of a block of a file system in memory.
const BLOCK: u64 = 4096;

/// Leaves this many free blocks on a file system.
fn fill_blocks(file_system: &Path, blocks: u64) {
    let free = statvfs(file_system).unwrap().f_bfree;
    fs::write(file_system.join("filler"), vec![0; usize::try_from((free - blocks) * BLOCK).unwrap()]).unwrap();
    assert_eq!(statvfs(file_system).unwrap().f_bfree, blocks);
}

fn full(directory: &Path) {
    let file_system = mount_memory(directory, "size=1m", MountFlags::empty());
    let root = file_system.join("root");
    let fill = |blocks| fill_blocks(&file_system, blocks);
    with_little(&root, fill, || fs::remove_file(file_system.join("filler")).unwrap(), &["DiskFull: "]);

    // What the message advises on a full disk works on a full disk.
    setup(&root, "install b=v1.0.0");
    fill_blocks(&file_system, 0);
    assert!(stdout(&run(&root, "install a=v3.0.0")).starts_with("DiskFull: "));
    let removed = run(&root, "remove b");
    assert!(removed.status.success(), "{}", stdout(&removed));
    assert!(statvfs(&file_system).unwrap().f_bfree > 0);
}

fn without_inodes(directory: &Path) {
    let file_system = mount_memory(directory, "size=8m,nr_inodes=120", MountFlags::empty());
    let filler = file_system.join("filler");
    let fill = |inodes: u64| {
        fs::create_dir(&filler).unwrap();
        let free = statvfs(&file_system).unwrap().f_ffree;
        (inodes..free).for_each(|number| fs::write(filler.join(number.to_string()), "").unwrap());
        assert_eq!(statvfs(&file_system).unwrap().f_ffree, inodes);
    };
    // The smoke test needs a directory.
    let refusals = ["DiskFull: ", "SmokeSetup: "];
    with_little(&file_system.join("root"), fill, || fs::remove_dir_all(&filler).unwrap(), &refusals);
}

fn d8_full(directory: &Path) {
    let file_system = mount_memory(directory, "size=1m", MountFlags::empty());
    let world = file_system.join("world");
    for linked in [false, true] {
        let mut refused = 0;
        for blocks in 0.. {
            let _ = fs::remove_dir_all(&world);
            d8::plain_in(&world);
            if linked {
                block_on(d8::switch(&world, "v1.1.0", Some("v1.0.0"))).unwrap();
            }
            let (before, active) = (tree(&world), d8::output(&world));
            fill_blocks(&file_system, blocks);
            let output = d8::child(&world, "v2.0.0", "");
            let done = output.status.success();
            let what = format!("linked: {linked}, {blocks} blocks: {}", stdout(&output));
            if !done {
                refused += 1;
                assert!(stdout(&output).starts_with("DiskFull: "), "{what}");
                assert_eq!(tree(&world), before, "{what}");
            }
            assert_eq!(d8::output(&world), if done { "d8 v2.0.0" } else { active.as_str() }, "{what}");
            fs::remove_file(file_system.join("filler")).unwrap();
            block_on(d8::switch(&world, "v2.0.0", Some("v1.0.0"))).unwrap();
            assert_eq!(d8::output(&world), "d8 v2.0.0", "{what}");
            if done {
                break;
            }
        }
        assert!(refused > 1, "only {refused} steps were refused");
    }
}

fn noexec(directory: &Path) {
    let file_system = mount_memory(directory, "size=1m", MountFlags::NOEXEC);
    let root = file_system.join("root");
    fs::create_dir(&root).unwrap();
    let error = block_on(child::run(&root, "install a=v1.0.0")).unwrap_err();
    let expected = format!(
        "a v1.0.0 failed its smoke test: no program can be run from {}, which is mounted with `noexec`",
        file_system.display()
    );
    assert_eq!((error.to_string(), error.kind()), (expected, StoreErrorKind::SmokeSetup));
    assert!(error.advice()[0].fix.contains(&format!("`mount -o remount,exec {}`", file_system.display())));
    assert_eq!(tree(&file_system), ["root/ 0755"]);
}

/// The commands that replace, move and remove what is on disk.
fn change_everything(root: &Path, what: &str) {
    for (command, active) in [
        ("force a=v1.0.0", Some("a v1.0.0")),
        ("install a=v1.1.0", Some("a v1.1.0")),
        ("rollback a", Some("a v1.0.0")),
        ("install a=v2.0.0 b=v1.0.0", Some("a v2.0.0")),
        ("force a=v1.1.0", Some("a v1.1.0")),
        ("install a=v1.2.0", Some("a v1.2.0")),
        ("prune a", Some("a v1.2.0")),
        ("remove a", None),
    ] {
        let output = run(root, command);
        assert!(output.status.success(), "{what}: {command}: {}", stdout(&output));
        assert_eq!(run_current(root, "a").as_deref(), active, "{what}: {command}");
        check_readable(root, &format!("{what}: {command}"));
        assert!(!root.join(".staging").exists(), "{what}: {command}");
    }
}

/// A store in the image of a container, changed in the container.
fn overlay(directory: &Path) {
    let file_system = mount_memory(directory, "size=8m", MountFlags::empty());
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|name| file_system.join(name));
    for directory in [&lower, &upper, &work, &root] {
        fs::create_dir(directory).unwrap();
    }
    // At the path where it will be used.
    mount_bind(&lower, &root).unwrap();
    for command in ["install a=v1.0.0", "install a=v1.1.0", "install a=v1.0.0", "install b=v1.0.0"] {
        setup(&root, command);
    }
    unmount(&root, UnmountFlags::empty()).unwrap();
    let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let layers = std::ffi::CString::new(layers).unwrap();
    if let Err(error) = mount("overlay", &root, "overlay", MountFlags::empty(), layers.as_c_str()) {
        println!("  skipped: this system has no overlays: {error}");
        return;
    }
    let (image, before) = (tree(&lower), tree(&root));
    check_readable(&root, "overlay");
    // Directories of the image are copied and then removed. Killed in between, nothing is lost.
    for (command, active) in [("force a=v1.0.0", Some("a v1.0.0")), ("force a=v1.1.0", Some("a v1.0.0"))] {
        let killed = run_with(&root, command, "tree.copied=kill");
        assert_eq!(killed.status.signal(), Some(9), "{command}: {killed:?}");
        assert_eq!(run_current(&root, "a").as_deref(), active, "{command}");
        setup(&root, "repair a");
        assert_eq!(run_current(&root, "a").as_deref(), active, "{command}");
        check_readable(&root, command);
        assert_eq!(tree(&root), before, "{command}");
    }
    // A failure in between moves the copies back.
    for nth in 1.. {
        let failed = run_with(&root, "remove b", &format!("tree.copied#{nth}=fail"));
        if failed.status.success() {
            assert!(nth > 1, "no directory was copied");
            break;
        }
        assert_eq!(run_current(&root, "b").as_deref(), Some("b v1.0.0"), "{nth}");
        check_readable(&root, &format!("remove b, failed at copy {nth}"));
        assert_eq!(tree(&root), before, "{nth}");
    }
    change_everything(&root, "overlay");
    assert_eq!(tree(&lower), image);
}

fn bound(directory: &Path) {
    let [real, root] = ["real", "root"].map(|name| directory.join(name));
    fs::create_dir(&root).unwrap();
    setup(&real, "install a=v1.0.0");
    mount_bind(&real, &root).unwrap();
    // `current` names the other path.
    let entry = Store::at(&root).unwrap().get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.installed().map(|active| active.tag.as_str()), Some("v1.0.0"), "{entry:?}");
    change_everything(&root, "a bind mount");
}

/// Without Landlock only the mounts confine the executable. It sees nothing below the usual temporary directories.
fn odd_mount(_: &Path) {
    let directory = Path::new("/mnt");
    if mount("tmpfs", directory, "tmpfs", MountFlags::empty(), c"mode=755").is_err() {
        println!("  skipped: there is no /mnt");
        return;
    }
    let odd = directory.join(OsStr::from_bytes(b"not \xff utf8\\040"));
    fs::create_dir(&odd).unwrap();
    mount("tmpfs", &odd, "tmpfs", MountFlags::empty(), c"mode=1777").unwrap();
    let program = directory.join("program");
    let script = [b"#!/bin/sh\necho left > '", odd.as_os_str().as_bytes(), b"/file'\necho done\n"].concat();
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    testing::on("smoke.landlock", || Err(std::io::Error::other("refused")));
    let subject = Subject::read(&program, "program").unwrap();
    let output = block_on(Sandbox::of(own()).test(&subject, Duration::from_secs(10), directory)).unwrap();
    assert!(output.contains("Read-only file system") && output.ends_with("done"), "{output}");
    assert_eq!(fs::read_dir(&odd).unwrap().count(), 0);
}

/// Root could write to a directory without permissions, but not to a read-only mount.
fn read_only_home(directory: &Path) {
    let [home, shared] = ["home", "shared"].map(|name| directory.join(name));
    let key = ClusterKey::new("https://a", None);
    let proxy = |host: &str| EndpointIdentity { host: Some(host.to_owned()), ..EndpointIdentity::default() };
    let pins = EndpointPins::below([home.clone(), shared.clone()]);
    pins.save(&key, "https://a", &proxy("old.example.com")).unwrap();
    let before = tree(&home);
    mount_bind(&home, &home).unwrap();
    mount_remount(&home, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    for host in ["new.example.com", "newer.example.com"] {
        pins.save(&key, "https://a", &proxy(host)).unwrap();
        assert_eq!(pins.load(&key).unwrap(), Some(proxy(host)));
    }
    assert_eq!(tree(&home), before);
    // Once it can be written again, the next pin counts.
    unmount(&home, UnmountFlags::empty()).unwrap();
    pins.save(&key, "https://a", &proxy("newest.example.com")).unwrap();
    assert_eq!(pins.load(&key).unwrap(), Some(proxy("newest.example.com")));
    assert_ne!(EndpointPins::below([home]).load(&key).unwrap(), Some(proxy("old.example.com")));
}

/// Links, journals and smoke tests name the root.
fn odd_root() {
    let directory = scratch();
    let root = directory.path().join(OsStr::from_bytes(b"not \xff utf8 \n"));
    setup(&root, "install a=v1.0.0");
    change_everything(&root, "not UTF-8");
    // A journal, read by the next command.
    setup(&root, "install a=v1.0.0 b=v1.0.0");
    let output = run_with(&root, "install a=v1.1.0 b=v2.0.0", "switch.done=kill");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.1.0"));
    setup(&root, "repair a");
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
    assert_eq!(run_current(&root, "b").as_deref(), Some("b v1.0.0"));
    let world = directory.path().join(OsStr::from_bytes(b"\xfe"));
    d8::plain_in(&world);
    block_on(d8::switch(&world, "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(d8::output(&world), "d8 v2.0.0");
}
