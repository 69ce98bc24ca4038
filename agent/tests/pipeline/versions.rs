//! Versions in the store: moved tags, rollback, damage, adoption, pruning, removal.

use std::{fs, os::unix::fs::symlink};

use d8_agent::{ActiveVersion, Retention, SilentReporter, StoreError, StoreErrorKind, Verified};
use d8_crds::values::digest::Digest;

use crate::{
    install, install_all, lock, relink, store,
    support::{self, MemorySource, layer, name, now, request, run_current, scratch, script, tag, tree},
};

#[tokio::test]
async fn a_version_with_other_bytes_than_recorded_is_refused() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    assert!(lock(root, &["a"]).await.remove(&name("a")).unwrap());
    let other = layer(&[("plugin", b"#!/bin/sh\necho a v1.0.0 moved\n")]);
    let found = Digest::of(&other);
    let source = MemorySource::default().with("a", "v1.0.0", other);
    for expected in [None, Some(found.clone())] {
        let mut wanted = request("a", "v1.0.0");
        wanted.expect_layer = expected;
        let before = tree(root);
        let error = install_all(root, &source, vec![wanted]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Moved, "{error}");
        assert!(error.advice()[0].fix.contains(found.as_str()));
        assert_eq!(tree(root), before);
    }
    let mut wanted = request("a", "v1.0.0");
    wanted.accept = Some(found);
    install_all(root, &source, vec![wanted.clone()]).await.unwrap();
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0 moved"));
    // The accepted bytes are recorded.
    wanted.accept = None;
    assert!(!install_all(root, &source, vec![wanted]).await.unwrap()[0].changed);
}

#[tokio::test]
async fn rollback_and_relink() {
    let directory = scratch();
    let root = directory.path();
    let rollback = async || lock(root, &["a"]).await.rollback(&name("a"), now(), &SilentReporter).await;
    assert_eq!(rollback().await.unwrap_err().kind(), StoreErrorKind::NotInstalled);
    install(root, "a", "v1.0.0").await;
    assert!(matches!(rollback().await.unwrap_err(), StoreError::NoPrevious { .. }));
    install(root, "a", "v1.1.0").await;
    let activation = install(root, "a", "v2.0.0").await;
    assert_eq!(activation.previous, Some(tag("v1.1.0")));
    let activation = rollback().await.unwrap();
    assert_eq!((activation.tag, activation.previous), (tag("v1.1.0"), Some(tag("v2.0.0"))));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"));
    assert_eq!(store(root).contract(&name("a")).unwrap().unwrap().version, "v1.1.0");
    assert_eq!(rollback().await.unwrap().tag, tag("v2.0.0"));
    assert!(relink(root, "a", "v1.0.0").await.unwrap().changed);
    assert!(!relink(root, "a", "v1.0.0").await.unwrap().changed);
    assert!(matches!(relink(root, "a", "v7.0.0").await.unwrap_err(), StoreError::NotStored { .. }));
}

#[tokio::test]
async fn a_modified_version_is_not_activated() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    install(root, "a", "v2.0.0").await;
    let binary = root.join("plugins/a/versions/v1.0.0/a");
    // The size is unchanged; only the digest differs.
    let tampered = String::from_utf8(script("a", "v1.0.0")).unwrap().replace("v1.0.0", "v6.6.6");
    fs::write(&binary, tampered).unwrap();
    let error = relink(root, "a", "v1.0.0").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotInstalled, "{error}");
    assert_eq!(run_current(root, "a").as_deref(), Some("a v2.0.0"));
    // A new download repairs it.
    install(root, "a", "v1.0.0").await;
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
    fs::write(&binary, "longer than the size in its receipt says").unwrap();
    let entry = store(root).get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.damaged.len(), 1);
    assert!(entry.damaged[0].why.contains("its receipt says"), "{:?}", entry.damaged);
}

#[tokio::test]
async fn an_install_of_another_tool_is_adopted() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = scratch();
    let root = directory.path();
    let install_by_other_tool = |major: &str, version: &str| {
        let dir = root.join("plugins/a").join(major);
        fs::create_dir_all(&dir).unwrap();
        let _ = fs::remove_file(dir.join("a"));
        fs::write(dir.join("a"), script("a", version)).unwrap();
        fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        let _ = fs::remove_file(root.join("plugins/a/current"));
        symlink(dir.join("a"), root.join("plugins/a/current")).unwrap();
        fs::create_dir_all(root.join("cache/contracts")).unwrap();
        fs::write(root.join("cache/contracts/a.json"), format!(r#"{{"name":"a","version":"{version}"}}"#)).unwrap();
    };
    let active = || store(root).get(&name("a")).unwrap().unwrap().active;
    install_by_other_tool("v1", "v1.0.0");
    assert!(matches!(active(), ActiveVersion::Unknown { major: 1, .. }));
    let adopted = lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap().unwrap();
    assert_eq!((adopted.tag, adopted.receipt.verified), (tag("v1.0.0"), Verified::Adopted));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
    // `rollback` can activate it.
    install(root, "a", "v1.1.0").await;
    let mut locked = lock(root, &["a"]).await;
    assert_eq!(locked.rollback(&name("a"), now(), &SilentReporter).await.unwrap().tag, tag("v1.0.0"));
    drop(locked);
    // The other tool installs again: within the major, and another major.
    for (major, version) in [("v1", "v1.5.0"), ("v3", "v3.0.0")] {
        install_by_other_tool(major, version);
        assert!(matches!(active(), ActiveVersion::Unknown { .. }), "{version}");
        let activation = install(root, "a", "v1.1.0").await;
        assert_eq!(activation.previous, Some(tag(version)));
        assert!(store(root).get(&name("a")).unwrap().unwrap().version(&tag(version)).is_some());
    }
    // The contract belongs to another major, and there is no sandbox to run the executable.
    install_by_other_tool("v4", "v4.0.0");
    fs::write(root.join("cache/contracts/a.json"), r#"{"name":"a","version":"v1.0.0"}"#).unwrap();
    assert_eq!(lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap(), None);
    assert_eq!(run_current(root, "a").as_deref(), Some("a v4.0.0"));
}

#[tokio::test]
async fn versions_are_found_after_inodes_changed() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    install(root, "a", "v1.1.0").await;
    let link = root.join("plugins/a/v1/a");
    let bytes = fs::read(&link).unwrap();
    fs::remove_file(&link).unwrap();
    fs::write(&link, bytes).unwrap();
    fs::set_permissions(&link, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let entry = store(root).get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.installed().unwrap().tag, tag("v1.1.0"));
}

#[tokio::test]
async fn versions_that_prune_keeps() {
    let directory = scratch();
    let root = directory.path();
    let versions = ["v0.9.0", "v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0", "v1.5.0", "v1.6.0"];
    for version in versions {
        install(root, "a", version).await;
    }
    let removed = lock(root, &["a"]).await.prune(&name("a"), &Retention::default()).unwrap();
    // Kept: v1.6.0 (active), v1.5.0 (previous), v0.9.0 (linked by its major), and three others.
    assert_eq!(removed, [tag("v1.1.0"), tag("v1.0.0")]);
    let retention = Retention { pinned: vec![tag("v1.2.0")], others: 0 };
    assert_eq!(lock(root, &["a"]).await.prune(&name("a"), &retention).unwrap(), [tag("v1.4.0"), tag("v1.3.0")]);
    let versions = store(root).get(&name("a")).unwrap().unwrap().versions;
    let tags: Vec<_> = versions.iter().map(|version| version.tag.as_str()).collect();
    assert_eq!(tags, ["v1.6.0", "v1.5.0", "v1.2.0", "v0.9.0"]);
    assert!(lock(root, &["b"]).await.prune(&name("b"), &retention).unwrap().is_empty());
}

#[tokio::test]
async fn remove_leaves_other_plugins() {
    let directory = scratch();
    let root = directory.path().join("root");
    assert!(!lock(&root, &["a"]).await.remove(&name("a")).unwrap());
    assert!(!root.exists());
    install(&root, "a", "v1.0.0").await;
    install(&root, "b", "v1.0.0").await;
    assert!(lock(&root, &["a"]).await.remove(&name("a")).unwrap());
    assert!(tree(&root).iter().all(|line| !line.contains("/a")), "{:?}", tree(&root));
    assert_eq!(run_current(&root, "b").as_deref(), Some("b v1.0.0"));
}

#[tokio::test]
async fn a_damaged_cached_contract_is_repaired() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    fs::write(root.join("cache/contracts/a.json"), "{\"requirements\": []}").unwrap();
    let error = store(root).contract(&name("a")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Contract);
    assert!(error.advice()[0].fix.contains("`d8 plugins install a`"));
    assert!(store(root).contract_of(&name("a"), &tag("v1.0.0")).unwrap().is_some());
    // The next command that takes the lock repairs it.
    drop(lock(root, &["a"]).await);
    assert_eq!(store(root).contract(&name("a")).unwrap().unwrap().version, "v1.0.0");
}

/// What is in place of the directory of a plugin comes back if nothing is installed, also without hard links.
#[tokio::test]
async fn a_path_in_place_of_a_plugin_comes_back() {
    let directory = scratch();
    let root = directory.path();
    let plugin = root.join("plugins/a");
    install(root, "b", "v1.0.0").await;
    for links in [true, false] {
        if !links {
            d8_agent::testing::on("disk.link", || Err(std::io::Error::other("refused")));
        }
        fs::write(&plugin, "of a person").unwrap();
        let locked = lock(root, &["a"]).await;
        assert!(locked.has_displaced(&name("a")) && plugin.is_dir(), "links: {links}");
        drop(locked);
        assert_eq!(fs::read_to_string(&plugin).unwrap(), "of a person", "links: {links}");
        fs::remove_file(&plugin).unwrap();
        symlink("/nowhere", &plugin).unwrap();
        drop(lock(root, &["a"]).await);
        assert_eq!(fs::read_link(&plugin).unwrap(), std::path::Path::new("/nowhere"), "links: {links}");
        install(root, "a", "v1.0.0").await;
        assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"), "links: {links}");
        assert!(lock(root, &["a"]).await.remove(&name("a")).unwrap());
        let left = fs::read_dir(root.join("plugins")).unwrap().map(|found| found.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["b"], "links: {links}");
    }
}

/// Without hard links, another process may install the plugin between the check and the rename.
#[tokio::test]
async fn a_plugin_that_another_process_installed_meanwhile_is_not_displaced() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    let (plugin, ready) = (root.join("plugins/a"), root.join("ready"));
    fs::rename(&plugin, &ready).unwrap();
    fs::write(&plugin, "of a person").unwrap();
    let installed = plugin.clone();
    d8_agent::testing::on("disk.link", move || {
        if ready.exists() {
            fs::remove_file(&installed)?;
            fs::rename(&ready, &installed)?;
        }
        Err(std::io::Error::other("refused"))
    });
    let locked = lock(root, &["a"]).await;
    assert_eq!((locked.has_displaced(&name("a")), run_current(root, "a").as_deref()), (false, Some("a v1.0.0")));
    drop(locked);
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
    let names = fs::read_dir(root.join("plugins")).unwrap().map(|found| found.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["a"]);
}

/// What cannot be put back is kept, and no later one replaces it.
#[tokio::test]
async fn a_displaced_file_is_kept_if_its_name_is_taken() {
    let directory = scratch();
    let root = directory.path();
    let plugin = root.join("plugins/a");
    for links in [true, false] {
        fs::create_dir_all(root.join("plugins")).unwrap();
        if !links {
            d8_agent::testing::on("disk.link", || Err(std::io::Error::other("refused")));
        }
        for text in ["first", "second"] {
            fs::write(&plugin, text).unwrap();
            let locked = lock(root, &["a"]).await;
            fs::write(plugin.join("of another program"), "").unwrap();
            drop(locked);
            fs::remove_dir_all(&plugin).unwrap();
        }
        let files = fs::read_dir(root.join("plugins")).unwrap().map(|found| fs::read_to_string(found.unwrap().path()));
        let mut texts: Vec<String> = files.map(Result::unwrap).collect();
        texts.sort();
        assert_eq!(texts, ["first", "second"], "links: {links}");
        fs::remove_dir_all(root.join("plugins")).unwrap();
    }
}

#[tokio::test]
async fn a_plugin_whose_current_was_deleted_is_damaged() {
    let directory = scratch();
    let root = directory.path();
    for version in ["v1.0.0", "v2.0.0", "v1.1.0"] {
        install(root, "a", version).await;
    }
    let wanted = tree(root);
    fs::remove_file(root.join("plugins/a/current")).unwrap();
    let deleted = tree(root);
    match store(root).get(&name("a")).unwrap().unwrap().active {
        ActiveVersion::Broken { why, tag: Some(active) } => {
            assert_eq!((why.contains("a/current: it is missing"), active), (true, tag("v1.1.0")), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((store(root).list().unwrap().len(), store(root).names().unwrap()), (1, vec![name("a")]));
    drop(lock(root, &["a"]).await);
    assert_eq!(tree(root), deleted, "the next command clears nothing");
    assert!(relink(root, "a", "v1.1.0").await.unwrap().changed);
    assert_eq!((tree(root), run_current(root, "a").as_deref()), (wanted, Some("a v1.1.0")));

    fs::remove_file(root.join("plugins/a/current")).unwrap();
    assert!(lock(root, &["a"]).await.remove(&name("a")).unwrap());
    assert!(store(root).names().unwrap().is_empty() && tree(root).iter().all(|line| !line.contains("/a")));

    // An install that was interrupted has no history.
    install(root, "a", "v1.0.0").await;
    for file in ["plugins/a/current", "plugins/a/versions/.history"] {
        fs::remove_file(root.join(file)).unwrap();
    }
    assert!(store(root).get(&name("a")).unwrap().is_none() && store(root).names().unwrap().is_empty());
    drop(lock(root, &["a"]).await);
    assert!(tree(root).iter().all(|line| !line.contains("/a")), "{:?}", tree(root));
}

/// `execvp` of some systems passes such a file to a shell.
#[tokio::test]
async fn a_file_of_another_tool_that_is_no_program_is_damaged() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    fs::remove_dir_all(root.join("plugins/a/versions")).unwrap();
    let binary = root.join("plugins/a/v1/a");
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    for (bytes, why) in [
        (&b""[..], Some("neither a program nor a script")),
        (b"echo garbage\n", Some("neither a program nor a script")),
        (&program[..100_000], cfg!(target_os = "linux").then_some("truncated")),
        (&program[..], None),
        (b"#!/bin/sh\n", None),
    ] {
        fs::write(&binary, bytes).unwrap();
        match (store(root).get(&name("a")).unwrap().unwrap().active, why) {
            (ActiveVersion::Broken { why, .. }, Some(expected)) => assert!(why.contains(expected), "{why}"),
            (ActiveVersion::Unknown { major: 1, .. }, None) => {}
            (other, _) => panic!("{why:?}: {other:?}"),
        }
        if why.is_some() {
            assert_eq!(lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap(), None);
        }
    }
}

/// A file with another mode may have other names, so a copy is adopted.
#[tokio::test]
async fn the_receipt_of_an_adopted_copy_has_its_time() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = scratch();
    let root = directory.path();
    let binary = root.join("plugins/a/v1/a");
    fs::create_dir_all(binary.parent().unwrap()).unwrap();
    fs::write(&binary, script("a", "v1.0.0")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
    fs::File::open(&binary).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    symlink(&binary, root.join("plugins/a/current")).unwrap();
    fs::create_dir_all(root.join("cache/contracts")).unwrap();
    fs::write(root.join("cache/contracts/a.json"), r#"{"name":"a","version":"v1.0.0"}"#).unwrap();
    let adopted = lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap().unwrap();
    let modified = fs::metadata(&adopted.binary).unwrap().modified().unwrap();
    assert_ne!(modified, std::time::UNIX_EPOCH, "a copy");
    assert_eq!(adopted.receipt.modified, Some(modified.try_into().unwrap()));
}

/// A change in place keeps inode and size. A list compares the modification time, and everything else the content.
#[tokio::test]
async fn a_file_that_was_changed_in_place_is_damaged() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    let link = root.join("plugins/a/v1/a");
    let modified = || fs::metadata(&link).unwrap().modified().unwrap();
    let broken = |entry: Option<d8_agent::PluginEntry>| match entry.unwrap().active {
        ActiveVersion::Broken { why, tag } => Some((why, tag)),
        _ => None,
    };
    let (get, verify) =
        (|| broken(store(root).get(&name("a")).unwrap()), || broken(store(root).verify(&name("a")).unwrap()));
    let before = modified();
    assert_eq!((get(), verify()), (None, None));

    // The same bytes are written again: another time, and no damage.
    let bytes = fs::read(&link).unwrap();
    fs::write(&link, &bytes).unwrap();
    assert_ne!(modified(), before);
    assert_eq!((get(), verify()), (None, None));

    let changed = String::from_utf8(bytes).unwrap().replace("echo", "eche");
    fs::write(&link, &changed).unwrap();
    for (why, tag) in [get().unwrap(), verify().unwrap()] {
        assert!(why.contains("plugins/a/v1/a: its content was changed after v1.0.0 was installed"), "{why}");
        assert_eq!(tag.as_ref().map(d8_crds::values::name::Tag::as_str), Some("v1.0.0"));
    }
    assert!(!store(root).is_intact(&name("a"), &tag("v1.0.0")));
    fs::File::open(&link).unwrap().set_modified(before).unwrap();
    assert_eq!(get(), None, "a list does not hash a file whose time is that of the receipt");
    assert!(verify().is_some());
    // An archive that was unpacked keeps whole seconds.
    let second = |after: u64| {
        let since = before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(since + after)
    };
    for (time, is_hashed) in
        [(second(0), false), (second(0) + std::time::Duration::from_nanos(1), true), (second(1), true)]
    {
        fs::File::open(&link).unwrap().set_modified(time).unwrap();
        assert_eq!(get().is_some(), is_hashed, "{time:?}, installed at {before:?}");
    }
    let mut wanted = request("a", "v1.0.0");
    wanted.force = true;
    install_all(root, &MemorySource::default(), vec![wanted]).await.unwrap();
    assert_eq!((get(), verify()), (None, None));

    // An editor writes another file. Another tool that installs a version replaces the contract, too.
    fs::remove_file(&link).unwrap();
    fs::write(&link, changed + "# longer").unwrap();
    fs::set_permissions(&link, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(get().is_some());
    assert_eq!(lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap(), None);
    assert!(relink(root, "a", "v1.0.0").await.unwrap().changed);
    assert_eq!((get(), run_current(root, "a").as_deref()), (None, Some("a v1.0.0")));
}

#[tokio::test]
async fn a_version_is_kept_for_later() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    let first = MemorySource::default();
    let second = MemorySource::default().with("a", "v1.1.0", layer(&[("plugin", b"#!/bin/sh\necho a other\n")]));
    let has = |source| store(root).has(&name("a"), &tag("v1.1.0"), Some(&support::digest(source, "a", "v1.1.0")));
    for (source, other) in [(&first, &second), (&second, &first), (&first, &second)] {
        let locked = lock(root, &["a"]).await;
        let staged = locked.stage(request("a", "v1.1.0"), source, &SilentReporter).await.unwrap();
        locked.keep(&staged).unwrap();
        drop(locked);
        // Nothing else changes, and after a tag moved the bytes are those of the new layer.
        assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
        assert!(has(source) && !has(other));
        assert!(tree(root).iter().all(|line| !line.contains(".staging")), "{:#?}", tree(root));
    }
    relink(root, "a", "v1.1.0").await.unwrap();
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"));
    // What was active is not replaced, and needs no record.
    relink(root, "a", "v1.0.0").await.unwrap();
    let locked = lock(root, &["a"]).await;
    let mut again = request("a", "v1.1.0");
    again.accept = Some(support::digest(&second, "a", "v1.1.0"));
    let staged = locked.stage(again, &second, &SilentReporter).await.unwrap();
    locked.keep(&staged).unwrap();
    drop(locked);
    assert!(has(&first) && has(&second));
    assert_eq!(fs::read(root.join("plugins/a/versions/v1.1.0/a")).unwrap(), script("a", "v1.1.0"));
    // Of a plugin that is not installed nothing is kept: the next command would take it for what a crash left.
    let locked = lock(root, &["b"]).await;
    let staged = locked.stage(request("b", "v1.0.0"), &first, &SilentReporter).await.unwrap();
    locked.keep(&staged).unwrap();
    drop((locked, staged));
    assert!(!root.join("plugins/b").exists());
}
