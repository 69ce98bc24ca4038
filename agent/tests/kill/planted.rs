//! Links and files that another user planted in a store: they are detected, refused or replaced, never followed.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
};

use d8_agent::{ActiveVersion, Store, StoreError, StoreErrorKind};

use crate::{
    TestCase, block_on, copy_tree,
    points::{check_readable, setup},
    scratch,
    support::{name, run_current, tree},
};

pub const CASES: &[TestCase] = &[
    ("planted_links_are_never_followed", planted),
    ("planted_types_are_mended_by_an_install", odd_types),
    ("directories_behind_links_are_not_swept", swept),
    ("hard_links_to_files_of_others_stay_unchanged", hard_links),
    ("what_another_user_owns_in_a_store_of_root_is_not_used", owned_by_others),
];

/// Name, the function that plants something, and whether a change can repair it.
type Plant = (&'static str, fn(&Path, &Path), bool);

const PLANTS: &[Plant] = &[
    (
        "the plugin's directory is a link",
        |plugin, outside| {
            fs::remove_dir_all(plugin).unwrap();
            symlink(outside, plugin).unwrap();
        },
        true,
    ),
    (
        "the plugin's directory is a file",
        |plugin, _| {
            fs::remove_dir_all(plugin).unwrap();
            fs::write(plugin, "").unwrap();
        },
        true,
    ),
    (
        "current leads out of the store",
        |plugin, outside| {
            fs::remove_file(plugin.join("current")).unwrap();
            symlink(outside.join("a"), plugin.join("current")).unwrap();
        },
        true,
    ),
    (
        "the major is a link",
        |plugin, outside| {
            fs::remove_dir_all(plugin.join("v1")).unwrap();
            symlink(outside, plugin.join("v1")).unwrap();
        },
        true,
    ),
    (
        "the binary is a link",
        |plugin, outside| {
            fs::remove_file(plugin.join("v1/a")).unwrap();
            symlink(outside.join("a"), plugin.join("v1/a")).unwrap();
        },
        true,
    ),
    (
        "the directory of plugins is a link",
        |plugin, outside| {
            let plugins = plugin.parent().unwrap();
            fs::remove_dir_all(plugins).unwrap();
            symlink(outside, plugins).unwrap();
        },
        false,
    ),
    (
        "the directory of contracts is a link",
        |plugin, outside| {
            let contracts = plugin.join("../../cache/contracts");
            fs::remove_dir_all(&contracts).unwrap();
            symlink(outside, contracts).unwrap();
        },
        false,
    ),
    (
        "a journal names a path outside",
        |plugin, outside| {
            let staging = plugin.join("../../.staging/planted");
            fs::create_dir_all(&staging).unwrap();
            let home = fs::metadata(plugin.join("versions/v1.0.0")).unwrap();
            let from = outside.join("taken");
            let (from, dev, ino) = (from.display(), home.dev(), home.ino());
            let journal = format!(
                r#"{{"steps":[{{"name":"a","tag":"v1.0.0","major":1,"hadContract":false,"hadBinary":false,
                    "place":{{"from":"{from}","id":{{"dev":{dev},"ino":{ino}}},"replaces":false}}}}]}}"#
            );
            fs::write(staging.join("journal.json"), journal).unwrap();
        },
        true,
    ),
    (
        "the major is a file",
        |plugin, _| {
            fs::remove_dir_all(plugin.join("v1")).unwrap();
            fs::write(plugin.join("v1"), "").unwrap();
        },
        true,
    ),
    (
        "the binary is a directory",
        |plugin, _| {
            fs::remove_file(plugin.join("v1/a")).unwrap();
            fs::create_dir(plugin.join("v1/a")).unwrap();
        },
        true,
    ),
    (
        "the directory of versions is a link",
        |plugin, outside| {
            fs::remove_dir_all(plugin.join("versions")).unwrap();
            symlink(outside, plugin.join("versions")).unwrap();
        },
        true,
    ),
];

fn planted() {
    let directory = scratch();
    let template = directory.path().join("template");
    let root = directory.path().join("root");
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("a"), "#!/bin/sh\necho a planted\n").unwrap();
    fs::set_permissions(outside.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    setup(&root, "install a=v1.0.0");
    copy_tree(&root, &template).unwrap();
    let plugin = root.join("plugins/a");
    for (what, plant, repairable) in PLANTS {
        copy_tree(&template, &root).unwrap();
        plant(&plugin, &outside);
        let untouched = tree(&outside);
        let store = Store::at(&root).unwrap();
        let detected = match store.get(&name("a")) {
            Ok(entry) => {
                let entry = entry.unwrap();
                assert_eq!(store.list().unwrap().len(), 1, "{what}");
                matches!(entry.active, ActiveVersion::Broken { .. }) || !entry.damaged.is_empty()
            }
            Err(error) => error.kind() == StoreErrorKind::Untrusted,
        };
        // In these two cases the plugin itself is unchanged.
        let unchanged = what.contains("contracts") || what.contains("journal");
        assert_ne!(detected, unchanged, "{what}");
        if what.contains("contracts") {
            assert_eq!(store.contract(&name("a")).unwrap_err().kind(), StoreErrorKind::Untrusted);
        }
        let result = block_on(crate::child::run(&root, "force a=v1.1.0"));
        assert_eq!(tree(&outside), untouched, "{what}: the link was followed");
        if *repairable {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.1.0"), "{what}");
        } else {
            let error: StoreError = result.unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        // A plugin can be removed before and after the change, unless a directory that it shares is not a directory.
        let real = |path: &Path| path.is_dir() && !path.is_symlink();
        for planted in [false, true] {
            if planted {
                copy_tree(&template, &root).unwrap();
                plant(&plugin, &outside);
            }
            if [&root.join("plugins"), &root.join("cache/contracts")].into_iter().all(|path| real(path)) {
                setup(&root, "remove a");
                assert!(fs::symlink_metadata(&plugin).is_err(), "{what}");
                assert_eq!(tree(&outside), untouched, "{what}: the removal followed the link");
            }
        }
    }
}

/// What is in place of a file of the store.
type Odd = (&'static str, fn(&Path));

const ODD: &[Odd] = &[
    ("a pipe", |path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }),
    ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
    ("a directory", |path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "").unwrap();
    }),
    ("a link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ("a large file", |path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap()),
    ("control characters", |path| fs::write(path, "\u{1b}[2J{\"name\": \"a\u{7}\"}").unwrap()),
];

/// Files of a store, and whether the version that they belong to is damaged without them.
const FILES: &[(&str, bool)] = &[
    ("plugins/a/versions/v1.0.0/a", true),
    ("plugins/a/versions/v1.0.0/receipt.json", true),
    ("plugins/a/versions/v1.0.0/contract.json", true),
    ("plugins/a/versions/.history", false),
    ("plugins/a/v1/a", true),
    ("plugins/a/current", true),
    ("plugins/a/install.lock.0123456789abcdef", false),
    ("cache/contracts/a.json", false),
];

/// Everything of a store in turn is replaced by something else. An install replaces it, a command that does not force
/// anything names it, and no command waits for a pipe or reads a gigabyte.
fn odd_types() {
    let directory = scratch();
    let [root, template] = ["root", "template"].map(|name| directory.path().join(name));
    setup(&root, "install a=v1.0.0");
    copy_tree(&root, &template).unwrap();
    for (file, damages) in FILES {
        for (odd, plant) in ODD {
            let what = format!("{odd} in place of {file}");
            // A large executable without a receipt of this size, or a text, is another case.
            copy_tree(&template, &root).unwrap();
            let path = root.join(file);
            let _ = fs::remove_file(&path);
            plant(&path);
            let store = Store::at(&root).unwrap();
            let entry = store.get(&name("a")).unwrap().unwrap();
            let named = matches!(entry.active, ActiveVersion::Broken { .. }) || !entry.damaged.is_empty();
            assert_eq!(named, *damages, "{what}: {entry:?}");
            if let ActiveVersion::Broken { why, .. } = &entry.active {
                assert!(!why.contains('\u{1b}'), "{what}: {why:?}");
            }
            block_on(crate::child::run(&root, "force a=v1.0.0")).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"), "{what}");
            check_readable(&root, &what);
            setup(&root, "install a=v1.1.0");
            setup(&root, "rollback a");
            setup(&root, "remove a");
            assert!(!root.join("plugins/a").exists() && !root.join(".staging").exists(), "{what}: {:?}", tree(&root));
        }
    }
    the_log_and_the_lock(&root, &template);
}

/// What is in place of the log of digests or of a lock stops a change, because both protect it. The message says what to
/// do, and that works.
fn the_log_and_the_lock(root: &Path, template: &Path) {
    for file in ["digests.jsonl", "plugins/a/install.lock"] {
        for (odd, plant) in ODD.iter().filter(|(odd, _)| *odd != "control characters") {
            if *odd == "a large file" && file.ends_with("lock") {
                // It counts as a lock of the d8 written in Go.
                continue;
            }
            copy_tree(template, root).unwrap();
            let path = root.join(file);
            let _ = fs::remove_file(&path);
            plant(&path);
            let error = block_on(crate::child::run(root, "install a=v1.1.0")).unwrap_err();
            let what = format!("{odd} in place of {file}: {error}");
            assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"), "{what}");
            let advice = error.advice();
            let command = advice.first().and_then(|advice| advice.fix.split('`').nth(1)).unwrap_or_default();
            assert!(command.contains(&path.display().to_string()), "{what}: {advice:?}");
            assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{what}");
            setup(root, "install a=v1.1.0");
            assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"), "{what}");
        }
    }
}

/// A switch removes old unfinished files of the d8 written in Go, but only in directories of the plugin.
fn swept() {
    let directory = scratch();
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    setup(&root, "install a=v1.0.0");
    fs::create_dir(&outside).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    for name in ["letter.new", "photo.staged"] {
        fs::File::create(outside.join(name)).unwrap().set_modified(old).unwrap();
    }
    symlink(&outside, root.join("plugins/a/v7")).unwrap();
    let untouched = tree(&outside);
    setup(&root, "install a=v1.1.0");
    setup(&root, "force a=v1.1.0");
    assert_eq!(tree(&outside), untouched);
}

/// Programs of others that are linked into the store, such as one with the setuid bit: they are adopted as they are, or
/// replaced, and keep content, mode and owner.
fn hard_links() {
    let directory = scratch();
    let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
    for mode in [0o4755, 0o2755, 0o700, 0o644, 0o000] {
        for place in ["v1/a", "versions/v1.0.0/a"] {
            let what = format!("{mode:04o} at {place}");
            let _ = fs::remove_dir_all(&root);
            let _ = fs::remove_file(&outside);
            setup(&root, if place == "v1/a" { "go a v1.0.0" } else { "install a=v1.0.0" });
            fs::write(&outside, "#!/bin/sh\necho a outside\n").unwrap();
            fs::set_permissions(&outside, fs::Permissions::from_mode(mode)).unwrap();
            let linked = root.join("plugins/a").join(place);
            fs::remove_file(&linked).unwrap();
            fs::hard_link(&outside, &linked).unwrap();
            let before = fs::metadata(&outside).unwrap();
            for command in ["install a=v1.1.0", "force a=v1.0.0", "remove a"] {
                setup(&root, command);
                let after = fs::metadata(&outside).unwrap();
                assert_eq!(
                    (after.mode(), after.uid(), after.len()),
                    (before.mode(), before.uid(), before.len()),
                    "{what}"
                );
            }
        }
    }
}

/// Another user owns a part of a store that is otherwise root's.
fn owned_by_others() {
    if !rustix::process::geteuid().is_root() {
        println!("  skipped: only root can give files to another user");
        return;
    }
    let directory = scratch();
    let [root, template] = ["root", "template"].map(|name| directory.path().join(name));
    setup(&root, "install a=v1.0.0");
    setup(&root, "install a=v1.1.0");
    copy_tree(&root, &template).unwrap();
    let plugin = root.join("plugins/a");
    for path in ["versions/v1.0.0", "versions/v1.0.0/a", "versions", "v1", "v1/a", "."] {
        copy_tree(&template, &root).unwrap();
        chown(plugin.join(path), Some(61_000), Some(61_000)).unwrap();
        let store = Store::at(&root).unwrap();
        let entry = store.get(&name("a")).unwrap().unwrap();
        let words = format!("{entry:?}");
        assert!(words.contains("it belongs to uid 61000, not to root"), "{path}: {words}");
        assert!(entry.version(&crate::support::tag("v1.0.0")).is_none() || path.starts_with("v1"), "{path}: {words}");
        // Going back to it is refused, or it is replaced: its bytes never become active.
        let rolled_back = block_on(crate::child::run(&root, "rollback a"));
        assert!(rolled_back.is_err() || path.starts_with("v1"), "{path}: {rolled_back:?}");
        let active = run_current(&root, "a");
        assert_eq!(active.as_deref(), Some(if rolled_back.is_ok() { "a v1.0.0" } else { "a v1.1.0" }), "{path}");
    }
}
