//! Failures and dropped futures at any point: the store stays as it was.

use std::{fs, path::Path};

use bytes::Bytes;
use d8_agent::{InstallRequest, SilentReporter, StoreError, testing};
use d8_crds::values::digest::Digest;

use crate::{
    install, install_all, lock,
    support::{Fault, MemorySource, layer, name, now, request, run_current, scratch, script, tree},
};

/// Cases: name, source, request, and the kind of the error.
fn invalid_downloads() -> Vec<(&'static str, MemorySource, InstallRequest, &'static str)> {
    let plugin = script("a", "v2.0.0");
    let good = layer(&[("plugin", &plugin)]);
    let with = |layer: Bytes| MemorySource::default().with("a", "v2.0.0", layer);
    let mut expecting = request("a", "v2.0.0");
    expecting.expect_layer = Some(Digest::of(b"other bytes"));
    let plain = || request("a", "v2.0.0");
    let mut garbage = good.to_vec();
    garbage.extend_from_slice(b"garbage");
    vec![
        ("the source cannot be opened", MemorySource::default().failing(Fault::Refused), plain(), "Proxy"),
        ("the connection breaks", MemorySource::default().failing(Fault::Broken), plain(), "Proxy"),
        ("another digest", with(good.clone()), expecting, "WrongDigest"),
        ("no executable", with(layer(&[("other", &plugin)])), plain(), "Proxy"),
        ("outside the archive", with(layer(&[("x/../../plugin", &plugin)])), plain(), "Proxy"),
        ("an empty layer", with(Bytes::new()), plain(), "Proxy"),
        ("not gzip", with(Bytes::from_static(b"plain text")), plain(), "Proxy"),
        ("truncated", with(good.slice(..good.len() / 2)), plain(), "Proxy"),
        ("garbage after the layer", with(garbage.into()), plain(), "Proxy"),
        ("not a version", with(good), request("a", "latest"), "NotAVersion"),
    ]
}

#[tokio::test]
async fn invalid_downloads_change_nothing() {
    for installed in [false, true] {
        for (what, source, request, kind) in invalid_downloads() {
            let directory = scratch();
            let root = directory.path().join("root");
            if installed {
                install(&root, "a", "v1.0.0").await;
            }
            let before = tree(directory.path());
            let error = install_all(&root, &source, vec![request]).await.unwrap_err();
            assert_eq!(error.kind().as_str(), kind, "{what}: {error}");
            assert!(!error.advice().is_empty(), "{what}");
            assert_eq!(tree(directory.path()), before, "{what}");
            if installed {
                assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing() {
    /// A source that sends half of a layer, then reports this and sends nothing more.
    struct StuckSource(std::sync::Arc<tokio::sync::Notify>);
    impl d8_agent::LayerSource for StuckSource {
        async fn open(&self, artifact: &d8_agent::Artifact) -> Result<d8_agent::LayerStream, d8_rpp::Error> {
            use futures::StreamExt as _;
            let layer = MemorySource::default().layer(artifact.component.name(), artifact.tag.as_str());
            let first = layer.slice(..layer.len() / 2);
            let stuck = self.0.clone();
            let rest = futures::stream::poll_fn(move |_| {
                stuck.notify_one();
                std::task::Poll::Pending
            });
            let chunks = futures::stream::iter([Ok(first)]).chain(rest).boxed();
            Ok(d8_agent::LayerStream { chunks, size: None, manifest: None, checksum: None })
        }
    }
    let directory = scratch();
    let root = directory.path().join("root");
    let stuck = std::sync::Arc::new(tokio::sync::Notify::new());
    let change = async {
        let locked = lock(&root, &["a"]).await;
        locked.stage(request("a", "v1.0.0"), &StuckSource(stuck.clone()), &SilentReporter).await
    };
    tokio::select! {
        result = change => panic!("half of a layer was enough: {result:?}"),
        () = stuck.notified() => {}
    }
    assert!(!root.exists(), "{:?}", tree(directory.path()));
}

/// Makes a change to versions v1.0.0 of `a` and `b`.
type MakeChange = fn(&Path) -> futures::future::BoxFuture<'_, Result<(), StoreError>>;

const CHANGES: &[(&str, MakeChange)] = &[
    ("within a major", |root| {
        Box::pin(async { install_all(root, &MemorySource::default(), vec![request("a", "v1.1.0")]).await.map(|_| ()) })
    }),
    ("across majors", |root| {
        Box::pin(async { install_all(root, &MemorySource::default(), vec![request("a", "v2.0.0")]).await.map(|_| ()) })
    }),
    ("first install", |root| {
        Box::pin(async { install_all(root, &MemorySource::default(), vec![request("c", "v1.0.0")]).await.map(|_| ()) })
    }),
    ("by force", |root| {
        Box::pin(async {
            let mut wanted = request("a", "v1.0.0");
            wanted.force = true;
            install_all(root, &MemorySource::default(), vec![wanted]).await.map(|_| ())
        })
    }),
    ("three at once", |root| {
        Box::pin(async {
            let requests = vec![request("c", "v1.0.0"), request("b", "v2.0.0"), request("a", "v1.1.0")];
            install_all(root, &MemorySource::default(), requests).await.map(|_| ())
        })
    }),
    ("rollback", |root| {
        Box::pin(async { lock(root, &["b"]).await.rollback(&name("b"), now(), &SilentReporter).await.map(|_| ()) })
    }),
    ("remove", |root| Box::pin(async { lock(root, &["a"]).await.remove(&name("a")).map(|_| ()) })),
];

/// The failpoints that a change reaches before it is complete.
const FAILPOINTS: &[&str] = &[
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
    "remove.history",
    "remove.current",
    "remove.contract",
    "remove.moved",
];

#[tokio::test]
async fn a_failure_at_any_point_restores_everything() {
    let mut failures = 0;
    for (what, make) in CHANGES {
        for point in FAILPOINTS {
            for nth in 1..=3 {
                let directory = scratch();
                let root = directory.path().join("root");
                install(&root, "a", "v1.0.0").await;
                install(&root, "b", "v0.9.0").await;
                install(&root, "b", "v1.0.0").await;
                let before = (tree(&root), contents(&root));
                let mut reached = 0;
                let hits = std::rc::Rc::new(std::cell::Cell::new(0));
                let count = hits.clone();
                testing::on(point, move || {
                    reached += 1;
                    count.set(reached);
                    if reached == nth { Err(std::io::Error::other("injected")) } else { Ok(()) }
                });
                let result = make(&root).await;
                testing::on(point, || Ok(()));
                if hits.get() < nth {
                    result.unwrap_or_else(|error| panic!("{what}: {error}"));
                    break;
                }
                failures += 1;
                assert!(result.is_err(), "{what}: no error of a failure at {point}");
                assert_eq!((tree(&root), contents(&root)), before, "{what}, failed at {point}#{nth}");
            }
        }
    }
    assert!(failures > 80, "{failures}");
}

/// Returns the cached contracts and the outputs of the active versions. The history may name more versions.
fn contents(root: &Path) -> Vec<String> {
    ["a", "b", "c"]
        .iter()
        .flat_map(|plugin| {
            let contract = fs::read_to_string(root.join(format!("cache/contracts/{plugin}.json"))).unwrap_or_default();
            [contract, run_current(root, plugin).unwrap_or_default()]
        })
        .collect()
}
