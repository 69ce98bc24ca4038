//! The pipeline in one process: what it leaves, in which order it makes things durable, and that a
//! failure at any point changes nothing. The smoke test has its own tests, beside the kill test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use bytes::Bytes;
use d8_agent::{
    Activation, ActiveVersion, InstallRequest, LockedStore, ProgressEvent, ProgressReporter, Retention, SilentReporter,
    Store, StoreChange, StoreError, StoreErrorKind, Verified, testing,
};
use support::{Fault, Memory, layer, name, now, order, run_current, scratch, script, tag, tree};

fn store(root: &Path) -> Store {
    Store::at(root).unwrap().without_smoke_test()
}

async fn lock(root: &Path, plugins: &[&str]) -> LockedStore {
    let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
    store(root).lock(&names, Duration::ZERO, &SilentReporter).await.unwrap()
}

async fn install_all(root: &Path, source: &Memory, orders: Vec<InstallRequest>) -> Result<Vec<Activation>, StoreError> {
    let names: Vec<_> = orders.iter().map(|order| order.name.clone()).collect();
    let mut locked = store(root).lock(&names, Duration::ZERO, &SilentReporter).await?;
    let mut changes = Vec::new();
    for order in orders {
        changes.push(StoreChange::Install(locked.stage(order, source, &SilentReporter).await?));
    }
    locked.switch(changes, now(), &SilentReporter).await
}

async fn install(root: &Path, plugin: &str, version: &str) -> Activation {
    let outcomes = install_all(root, &Memory::default(), vec![order(plugin, version)]).await.unwrap();
    outcomes.into_iter().next().unwrap()
}

async fn relink(root: &Path, plugin: &str, version: &str) -> Result<Activation, StoreError> {
    let mut locked = lock(root, &[plugin]).await;
    let change = StoreChange::Relink { name: name(plugin), tag: tag(version) };
    Ok(locked.switch(vec![change], now(), &SilentReporter).await?.remove(0))
}

#[tokio::test]
async fn what_an_install_leaves() {
    let folder = scratch();
    let root = folder.path().join("root");
    let source = Memory::default();
    let expected = support::digest(&source, "a", "v1.2.0");
    let mut order = order("a", "v1.2.0");
    order.expect_layer = Some(expected.clone());
    order.skipped_cluster_checks = true;
    let outcomes = install_all(&root, &source, vec![order]).await.unwrap();
    assert_eq!(outcomes, [Activation { name: name("a"), tag: tag("v1.2.0"), previous: None, changed: true }]);
    assert_eq!(
        tree(&root),
        [
            "cache/ 0755",
            "cache/contracts/ 0755",
            "cache/contracts/a.json 0644",
            "digests.jsonl 0644",
            "plugins/ 0755",
            "plugins/a/ 0755",
            "plugins/a/current -> plugins/a/v1/a",
            "plugins/a/v1/ 0755",
            "plugins/a/v1/a 0755",
            "plugins/a/versions/ 0755",
            "plugins/a/versions/.history 0644",
            "plugins/a/versions/v1.2.0/ 0755",
            "plugins/a/versions/v1.2.0/a 0755",
            "plugins/a/versions/v1.2.0/contract.json 0644",
            "plugins/a/versions/v1.2.0/receipt.json 0644",
        ]
    );
    assert!(fs::read_link(root.join("plugins/a/current")).unwrap().is_absolute());
    let entry = store(&root).get(&name("a")).unwrap().unwrap();
    let receipt = &entry.installed().unwrap().receipt;
    assert_eq!(receipt.layer.as_ref(), Some(&expected));
    assert_eq!(receipt.size, script("a", "v1.2.0").len() as u64);
    assert_eq!(receipt.binary, d8_crds::values::digest::Digest::of(&script("a", "v1.2.0")));
    assert_eq!((receipt.verified, receipt.time, receipt.skipped_cluster_checks), (Verified::Digest, now(), true));
    assert_eq!(store(&root).contract(&name("a")).unwrap().unwrap().description, "a as of v1.2.0");
    // Again: nothing to do.
    assert!(!install(&root, "a", "v1.2.0").await.changed);
    // Without a digest to hold it against the receipt says so.
    install(&root, "b", "v1.0.0").await;
    let entry = store(&root).get(&name("b")).unwrap().unwrap();
    assert_eq!(entry.installed().unwrap().receipt.verified, Verified::Transport);
    assert_eq!(store(&root).list().unwrap().len(), 2);
}

/// Each rename must find what it makes visible on the disk already, and be on the disk before the next.
#[tokio::test]
async fn barriers_come_in_order() {
    let folder = scratch();
    let root = folder.path();
    install(root, "a", "v1.0.0").await;
    let mut locked = lock(root, &["a"]).await;
    testing::trace();
    let staged = locked.stage(order("a", "v2.0.0"), &Memory::default(), &SilentReporter).await.unwrap();
    let staging = testing::take_trace();
    testing::trace();
    locked.switch(vec![StoreChange::Install(staged)], now(), &SilentReporter).await.unwrap();
    let switching = testing::take_trace();
    // Names in the staging directory are random.
    let plain = |trace: Vec<String>| -> Vec<String> {
        let root = format!("{}/", root.display());
        let lines = trace.into_iter().map(|line| (line + "/").replace(&root, "./").replace(" ./", " "));
        let lines = lines.map(|line| line.trim_end_matches('/').to_owned());
        let lines = lines.map(|line| if line == "sync " { "sync .".to_owned() } else { line });
        lines.filter(|line| !line.starts_with("unlink .staging")).map(|line| shorten(&line)).collect()
    };
    // The executable is synced on another thread, before these.
    assert_eq!(plain(staging), ["sync .staging/contract.json", "sync .staging/receipt.json", "sync .staging/a-"]);
    assert_eq!(
        plain(switching),
        [
            "sync .staging/contract.json",
            "sync .staging/before-a",
            "sync .",
            "rename plugins/a/versions/v2.0.0",
            "sync plugins/a/versions",
            "sync .staging/contract-a-",
            "rename cache/contracts/a.json",
            "sync cache/contracts",
            "rename plugins/a/v2/a",
            "sync plugins/a/v2",
            "sync plugins/a",
            "rename plugins/a/current",
            "sync plugins/a",
            "sync .staging/history-a-",
            "rename plugins/a/versions/.history",
            "sync plugins/a/versions",
            "sync digests.jsonl",
        ]
    );
}

/// `sync .staging/<txn>/<dir>/contract.json` without what is random in it.
fn shorten(line: &str) -> String {
    let Some((what, path)) = line.split_once(" .staging/") else { return line.to_owned() };
    let last = path.rsplit('/').next().unwrap();
    let random = last.len().saturating_sub(16);
    let is_random = last.is_char_boundary(random) && last[random..].bytes().all(|b| b.is_ascii_hexdigit());
    let last = if last.len() >= 16 && is_random { &last[..random] } else { last };
    format!("{what} .staging/{last}")
}

/// A layer, what it is ordered as, and the kind of error it gives.
fn bad_sources() -> Vec<(&'static str, Memory, InstallRequest, &'static str)> {
    let plugin = script("a", "v2.0.0");
    let good = layer(&[("plugin", &plugin)]);
    let with = |layer: Bytes| Memory::default().with("a", "v2.0.0", layer);
    let mut expecting = order("a", "v2.0.0");
    expecting.expect_layer = Some(d8_crds::values::digest::Digest::of(b"other bytes"));
    let plain = || order("a", "v2.0.0");
    let mut garbage = good.to_vec();
    garbage.extend_from_slice(b"garbage");
    vec![
        ("the source refuses", Memory::default().failing(Fault::Refused), plain(), "Proxy"),
        ("the connection breaks", Memory::default().failing(Fault::Broken), plain(), "Proxy"),
        ("another digest", with(good.clone()), expecting, "WrongDigest"),
        ("no executable", with(layer(&[("other", &plugin)])), plain(), "Proxy"),
        ("outside the archive", with(layer(&[("x/../../plugin", &plugin)])), plain(), "Proxy"),
        ("nothing", with(Bytes::new()), plain(), "Proxy"),
        ("no gzip", with(Bytes::from_static(b"plain text")), plain(), "Proxy"),
        ("cut short", with(good.slice(..good.len() / 2)), plain(), "Proxy"),
        ("garbage behind it", with(garbage.into()), plain(), "Proxy"),
        ("no version", with(good), order("a", "latest"), "NotAVersion"),
    ]
}

#[tokio::test]
async fn what_cannot_be_installed_changes_nothing() {
    for installed in [false, true] {
        for (what, source, order, kind) in bad_sources() {
            let folder = scratch();
            let root = folder.path().join("root");
            if installed {
                install(&root, "a", "v1.0.0").await;
            }
            let before = tree(folder.path());
            let error = install_all(&root, &source, vec![order]).await.unwrap_err();
            assert_eq!(error.kind().as_str(), kind, "{what}: {error}");
            assert!(!error.advice().is_empty(), "{what}");
            assert_eq!(tree(folder.path()), before, "{what}");
            if installed {
                assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_is_not_wanted_any_more_leaves_nothing() {
    struct Stuck;
    impl d8_agent::LayerSource for Stuck {
        async fn open(&self, order: &d8_agent::Artifact) -> Result<d8_agent::LayerStream, d8_rpp::Error> {
            use futures::StreamExt as _;
            let layer = Memory::default().layer(order.component.name(), order.tag.as_str());
            let first = layer.slice(..layer.len() / 2);
            let chunks = futures::stream::iter([Ok(first)]).chain(futures::stream::pending()).boxed();
            Ok(d8_agent::LayerStream { chunks, size: None, manifest: None, checksum: None })
        }
    }
    let folder = scratch();
    let root = folder.path().join("root");
    let change = async {
        let locked = lock(&root, &["a"]).await;
        locked.stage(order("a", "v1.0.0"), &Stuck, &SilentReporter).await
    };
    let waited = tokio::time::timeout(Duration::from_millis(50), change).await;
    assert!(waited.is_err());
    assert!(!root.exists(), "{:?}", tree(folder.path()));
}

#[tokio::test]
async fn a_download_that_breaks_is_begun_anew() {
    struct Breaks(std::sync::atomic::AtomicUsize);
    impl d8_agent::LayerSource for Breaks {
        async fn open(&self, artifact: &d8_agent::Artifact) -> Result<d8_agent::LayerStream, d8_rpp::Error> {
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let memory = Memory::default();
            if number < 2 { memory.failing(Fault::Broken) } else { memory }.open(artifact).await
        }
    }
    let folder = scratch();
    let root = folder.path().join("root");
    let mut locked = lock(&root, &["a"]).await;
    let staged = locked.stage(order("a", "v1.0.0"), &Breaks(0.into()), &SilentReporter).await.unwrap();
    locked.switch(vec![StoreChange::Install(staged)], now(), &SilentReporter).await.unwrap();
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
}

/// A kind of change, over versions v1.0.0 of `a` and `b`.
type Make = fn(&Path) -> futures::future::BoxFuture<'_, Result<(), StoreError>>;

const CHANGES: &[(&str, Make)] = &[
    ("within a major", |root| {
        Box::pin(async { install_all(root, &Memory::default(), vec![order("a", "v1.1.0")]).await.map(|_| ()) })
    }),
    ("across majors", |root| {
        Box::pin(async { install_all(root, &Memory::default(), vec![order("a", "v2.0.0")]).await.map(|_| ()) })
    }),
    ("first install", |root| {
        Box::pin(async { install_all(root, &Memory::default(), vec![order("c", "v1.0.0")]).await.map(|_| ()) })
    }),
    ("by force", |root| {
        Box::pin(async {
            let mut order = order("a", "v1.0.0");
            order.force = true;
            install_all(root, &Memory::default(), vec![order]).await.map(|_| ())
        })
    }),
    ("three at once", |root| {
        Box::pin(async {
            let orders = vec![order("c", "v1.0.0"), order("b", "v2.0.0"), order("a", "v1.1.0")];
            install_all(root, &Memory::default(), orders).await.map(|_| ())
        })
    }),
    ("rollback", |root| {
        Box::pin(async { lock(root, &["b"]).await.rollback(&name("b"), now(), &SilentReporter).await.map(|_| ()) })
    }),
    ("remove", |root| Box::pin(async { lock(root, &["a"]).await.remove(&name("a")).map(|_| ()) })),
];

/// What the places are that a change reaches before it stands.
const BEFORE_DONE: &[&str] = &[
    "stage.begun",
    "stage.streaming",
    "stage.streamed",
    "stage.tested",
    "stage.complete",
    "journal.written",
    "switch.saved",
    "switch.begun",
    "switch.placed",
    "switch.contract",
    "switch.major",
    "switch.current",
    "switch.done",
    "remove.begun",
    "remove.current",
    "remove.contract",
    "remove.moved",
];

#[tokio::test]
async fn a_failure_at_any_point_puts_everything_back() {
    let mut failures = 0;
    for (what, make) in CHANGES {
        for point in BEFORE_DONE {
            for nth in 1..=3 {
                let folder = scratch();
                let root = folder.path().join("root");
                install(&root, "a", "v1.0.0").await;
                install(&root, "b", "v0.9.0").await;
                install(&root, "b", "v1.0.0").await;
                let before = (tree(&root), contents(&root));
                let mut reached = 0;
                let seen = std::rc::Rc::new(std::cell::Cell::new(0));
                let count = seen.clone();
                testing::on(point, move || {
                    reached += 1;
                    count.set(reached);
                    if reached == nth { Err(std::io::Error::other("injected")) } else { Ok(()) }
                });
                let result = make(&root).await;
                testing::on(point, || Ok(()));
                if seen.get() < nth {
                    result.unwrap_or_else(|error| panic!("{what}: {error}"));
                    break;
                }
                failures += 1;
                assert!(result.is_err(), "{what}: nothing was said of a failure at {point}");
                assert_eq!((tree(&root), contents(&root)), before, "{what}, failed at {point}#{nth}");
            }
        }
    }
    assert!(failures > 80, "{failures}");
}

/// What is in the files that decide, but for the history, which may know of more.
fn contents(root: &Path) -> Vec<String> {
    ["a", "b", "c"]
        .iter()
        .flat_map(|plugin| {
            let contract = fs::read_to_string(root.join(format!("cache/contracts/{plugin}.json"))).unwrap_or_default();
            [contract, run_current(root, plugin).unwrap_or_default()]
        })
        .collect()
}

#[tokio::test]
async fn a_version_that_comes_back_with_other_bytes() {
    let folder = scratch();
    let root = folder.path();
    install(root, "a", "v1.0.0").await;
    assert!(lock(root, &["a"]).await.remove(&name("a")).unwrap());
    let other = layer(&[("plugin", b"#!/bin/sh\necho a v1.0.0 moved\n")]);
    let found = d8_crds::values::digest::Digest::of(&other);
    let source = Memory::default().with("a", "v1.0.0", other);
    for expect in [None, Some(found.clone())] {
        let mut order = order("a", "v1.0.0");
        order.expect_layer = expect;
        let before = tree(root);
        let error = install_all(root, &source, vec![order]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Moved, "{error}");
        assert!(error.advice()[0].fix.contains(found.as_str()));
        assert_eq!(tree(root), before);
    }
    let mut order = order("a", "v1.0.0");
    order.accept = Some(found);
    install_all(root, &source, vec![order.clone()]).await.unwrap();
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0 moved"));
    // From now on these are the bytes that are remembered.
    order.accept = None;
    assert!(!install_all(root, &source, vec![order]).await.unwrap()[0].changed);
}

#[tokio::test]
async fn going_back_and_forth() {
    let folder = scratch();
    let root = folder.path();
    let rollback = async || lock(root, &["a"]).await.rollback(&name("a"), now(), &SilentReporter).await;
    assert_eq!(rollback().await.unwrap_err().kind(), StoreErrorKind::NotInstalled);
    install(root, "a", "v1.0.0").await;
    assert!(matches!(rollback().await.unwrap_err(), StoreError::NoPrevious { .. }));
    install(root, "a", "v1.1.0").await;
    let outcome = install(root, "a", "v2.0.0").await;
    assert_eq!(outcome.previous, Some(tag("v1.1.0")));
    let outcome = rollback().await.unwrap();
    assert_eq!((outcome.tag, outcome.previous), (tag("v1.1.0"), Some(tag("v2.0.0"))));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.1.0"));
    assert_eq!(store(root).contract(&name("a")).unwrap().unwrap().version, "v1.1.0");
    assert_eq!(rollback().await.unwrap().tag, tag("v2.0.0"));
    assert!(relink(root, "a", "v1.0.0").await.unwrap().changed);
    assert!(!relink(root, "a", "v1.0.0").await.unwrap().changed);
    assert!(matches!(relink(root, "a", "v7.0.0").await.unwrap_err(), StoreError::NotStored { .. }));
}

#[tokio::test]
async fn a_stored_version_that_was_changed_is_not_switched_to() {
    let folder = scratch();
    let root = folder.path();
    install(root, "a", "v1.0.0").await;
    install(root, "a", "v2.0.0").await;
    let binary = root.join("plugins/a/versions/v1.0.0/a");
    // As long as before: only its digest tells.
    let tampered = String::from_utf8(script("a", "v1.0.0")).unwrap().replace("v1.0.0", "v6.6.6");
    fs::write(&binary, tampered).unwrap();
    let error = relink(root, "a", "v1.0.0").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotInstalled, "{error}");
    assert_eq!(run_current(root, "a").as_deref(), Some("a v2.0.0"));
    // Bringing it again puts it right.
    install(root, "a", "v1.0.0").await;
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
    fs::write(&binary, "longer than its receipt says, by a good deal").unwrap();
    let entry = store(root).get(&name("a")).unwrap().unwrap();
    assert_eq!(entry.damaged.len(), 1);
    assert!(entry.damaged[0].why.contains("its receipt says"), "{:?}", entry.damaged);
}

#[tokio::test]
async fn what_another_tool_installed_is_adopted() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = scratch();
    let root = folder.path();
    let put = |major: &str, version: &str| {
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
    put("v1", "v1.0.0");
    assert!(matches!(active(), ActiveVersion::Unknown { major: 1, .. }));
    let adopted = lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap().unwrap();
    assert_eq!((adopted.tag, adopted.receipt.verified), (tag("v1.0.0"), Verified::Adopted));
    assert_eq!(run_current(root, "a").as_deref(), Some("a v1.0.0"));
    // It can be gone back to.
    install(root, "a", "v1.1.0").await;
    let mut locked = lock(root, &["a"]).await;
    assert_eq!(locked.rollback(&name("a"), now(), &SilentReporter).await.unwrap().tag, tag("v1.0.0"));
    drop(locked);
    // The other tool came again: within the major, and with a major of its own.
    for (major, version) in [("v1", "v1.5.0"), ("v3", "v3.0.0")] {
        put(major, version);
        assert!(matches!(active(), ActiveVersion::Unknown { .. }), "{version}");
        let outcome = install(root, "a", "v1.1.0").await;
        assert_eq!(outcome.previous, Some(tag(version)));
        assert!(store(root).get(&name("a")).unwrap().unwrap().version(&tag(version)).is_some());
    }
    // A contract that is not the active major's says nothing, and there is nobody to ask here.
    put("v4", "v4.0.0");
    fs::write(root.join("cache/contracts/a.json"), r#"{"name":"a","version":"v1.0.0"}"#).unwrap();
    assert_eq!(lock(root, &["a"]).await.adopt(&name("a"), now()).await.unwrap(), None);
    assert_eq!(run_current(root, "a").as_deref(), Some("a v4.0.0"));
}

#[tokio::test]
async fn a_restored_host_has_other_inodes() {
    let folder = scratch();
    let root = folder.path();
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
async fn what_prune_keeps() {
    let folder = scratch();
    let root = folder.path();
    let versions = ["v0.9.0", "v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0", "v1.5.0", "v1.6.0"];
    for version in versions {
        install(root, "a", version).await;
    }
    let gone = lock(root, &["a"]).await.prune(&name("a"), &Retention::default()).unwrap();
    // Kept: v1.6.0 active, v1.5.0 before it, v0.9.0 named by its major, and three more.
    assert_eq!(gone, [tag("v1.1.0"), tag("v1.0.0")]);
    let kept = Retention { pinned: vec![tag("v1.2.0")], others: 0 };
    assert_eq!(lock(root, &["a"]).await.prune(&name("a"), &kept).unwrap(), [tag("v1.4.0"), tag("v1.3.0")]);
    let left = store(root).get(&name("a")).unwrap().unwrap().versions;
    let left: Vec<_> = left.iter().map(|version| version.tag.as_str()).collect();
    assert_eq!(left, ["v1.6.0", "v1.5.0", "v1.2.0", "v0.9.0"]);
    assert!(lock(root, &["b"]).await.prune(&name("b"), &kept).unwrap().is_empty());
}

#[tokio::test]
async fn removing() {
    let folder = scratch();
    let root = folder.path().join("root");
    assert!(!lock(&root, &["a"]).await.remove(&name("a")).unwrap());
    assert!(!root.exists());
    install(&root, "a", "v1.0.0").await;
    install(&root, "b", "v1.0.0").await;
    assert!(lock(&root, &["a"]).await.remove(&name("a")).unwrap());
    assert!(tree(&root).iter().all(|line| !line.contains("/a")), "{:?}", tree(&root));
    assert_eq!(run_current(&root, "b").as_deref(), Some("b v1.0.0"));
}

#[tokio::test]
async fn a_corrupt_cached_contract() {
    let folder = scratch();
    let root = folder.path();
    install(root, "a", "v1.0.0").await;
    fs::write(root.join("cache/contracts/a.json"), "{\"requirements\": []}").unwrap();
    let error = store(root).contract(&name("a")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Contract);
    assert!(error.advice()[0].fix.contains("d8 plugins install a --force"));
    assert!(store(root).contract_of(&name("a"), &tag("v1.0.0")).unwrap().is_some());
    // Whoever takes the lock next puts it right.
    drop(lock(root, &["a"]).await);
    assert_eq!(store(root).contract(&name("a")).unwrap().unwrap().version, "v1.0.0");
}

#[tokio::test]
async fn what_a_watcher_is_told() {
    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<String>>);
    impl ProgressReporter for Told {
        fn report(&self, event: ProgressEvent<'_>) {
            let line = match event {
                ProgressEvent::Downloading { done, total, .. } => format!("{done} of {}", total.unwrap_or_default()),
                ProgressEvent::Switched { name, tag } => format!("{name} {tag}"),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(line);
        }
    }
    let folder = scratch();
    let (told, source) = (Told::default(), Memory::default());
    let size = source.layer("a", "v1.0.0").len();
    let mut locked = lock(folder.path(), &["a"]).await;
    let staged = locked.stage(order("a", "v1.0.0"), &source, &told).await.unwrap();
    locked.switch(vec![StoreChange::Install(staged)], now(), &told).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), [format!("0 of {size}"), format!("{size} of {size}"), "a v1.0.0".to_owned()]);
}
