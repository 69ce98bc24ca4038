//! Links and files that another user planted in a store: they are detected, refused or replaced, never followed.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use d8_agent::{ActiveVersion, Store, StoreError, StoreErrorKind};

use crate::{
    TestCase, block_on, copy_tree,
    points::setup,
    scratch,
    support::{name, run_current, tree},
};

pub const CASES: &[TestCase] = &[("planted_links_are_never_followed", planted)];

/// Name, the function that plants something, and whether a change can repair it.
type Plant = (&'static str, fn(&Path, &Path), bool);

const PLANTS: &[Plant] = &[
    (
        "the plugin's directory is a link",
        |plugin, outside| {
            fs::remove_dir_all(plugin).unwrap();
            symlink(outside, plugin).unwrap();
        },
        false,
    ),
    (
        "the plugin's directory is a file",
        |plugin, _| {
            fs::remove_dir_all(plugin).unwrap();
            fs::write(plugin, "").unwrap();
        },
        false,
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
        false,
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
        "the directory of versions is a link",
        |plugin, outside| {
            fs::remove_dir_all(plugin.join("versions")).unwrap();
            symlink(outside, plugin.join("versions")).unwrap();
        },
        false,
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
        // A broken plugin can be removed, unless one of its directories is not a directory.
        let real = |path: &Path| path.is_dir() && !path.is_symlink();
        if [&plugin, &root.join("plugins"), &root.join("cache/contracts")].into_iter().all(|path| real(path)) {
            setup(&root, "remove a");
            assert!(!plugin.exists(), "{what}");
            assert_eq!(tree(&outside), untouched, "{what}: the removal followed the link");
        }
    }
}
