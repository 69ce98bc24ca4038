//! Installs: the files, the order of barriers, downloads, progress.

use std::fs;

use d8_agent::{Activation, ProgressEvent, ProgressReporter, SilentReporter, StoreChange, Verified, testing};

use crate::{
    install, install_all, lock, store,
    support::{Fault, MemorySource, digest, name, now, request, run_current, scratch, script, tag, tree},
};

#[tokio::test]
async fn files_of_an_install() {
    let directory = scratch();
    let root = directory.path().join("root");
    let source = MemorySource::default();
    let expected = digest(&source, "a", "v1.2.0");
    let mut wanted = request("a", "v1.2.0");
    wanted.expect_layer = Some(expected.clone());
    wanted.skipped_cluster_checks = true;
    let activations = install_all(&root, &source, vec![wanted]).await.unwrap();
    assert_eq!(activations, [Activation { name: name("a"), tag: tag("v1.2.0"), previous: None, changed: true }]);
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
    // A second install changes nothing.
    assert!(!install(&root, "a", "v1.2.0").await.changed);
    // Without an expected digest the receipt says `transport`.
    install(&root, "b", "v1.0.0").await;
    let entry = store(&root).get(&name("b")).unwrap().unwrap();
    assert_eq!(entry.installed().unwrap().receipt.verified, Verified::Transport);
    assert_eq!(store(&root).list().unwrap().len(), 2);
}

/// A rename comes after the files that it makes visible are synced, and is synced before the next rename.
#[tokio::test]
async fn order_of_barriers() {
    let directory = scratch();
    let root = directory.path();
    install(root, "a", "v1.0.0").await;
    let mut locked = lock(root, &["a"]).await;
    testing::trace();
    let staged = locked.stage(request("a", "v2.0.0"), &MemorySource::default(), &SilentReporter).await.unwrap();
    let staging = testing::take_trace();
    testing::trace();
    locked.switch(vec![StoreChange::Install(staged)], now(), &SilentReporter).await.unwrap();
    let switching = testing::take_trace();
    // Removes the random names in the staging directory.
    let plain = |trace: Vec<String>| -> Vec<String> {
        let root = format!("{}/", root.display());
        let lines = trace.into_iter().map(|line| (line + "/").replace(&root, "./").replace(" ./", " "));
        let lines = lines.map(|line| line.trim_end_matches('/').to_owned());
        let lines = lines.map(|line| if line == "sync " { "sync .".to_owned() } else { line });
        lines.filter(|line| !line.starts_with("unlink .staging")).map(|line| without_random_names(&line)).collect()
    };
    // The executable is synced on another thread before these files.
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

/// Removes the random parts of `sync .staging/<id>/<dir>/contract.json`.
fn without_random_names(line: &str) -> String {
    let Some((operation, path)) = line.split_once(" .staging/") else { return line.to_owned() };
    let last = path.rsplit('/').next().unwrap();
    let random = last.len().saturating_sub(16);
    let is_random = last.is_char_boundary(random) && last[random..].bytes().all(|b| b.is_ascii_hexdigit());
    let last = if last.len() >= 16 && is_random { &last[..random] } else { last };
    format!("{operation} .staging/{last}")
}

#[tokio::test]
async fn a_broken_download_is_retried() {
    struct BreaksTwice(std::sync::atomic::AtomicUsize);
    impl d8_agent::LayerSource for BreaksTwice {
        async fn open(&self, artifact: &d8_agent::Artifact) -> Result<d8_agent::LayerStream, d8_rpp::Error> {
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let memory = MemorySource::default();
            if number < 2 { memory.failing(Fault::Broken) } else { memory }.open(artifact).await
        }
    }
    let directory = scratch();
    let root = directory.path().join("root");
    let mut locked = lock(&root, &["a"]).await;
    let staged = locked.stage(request("a", "v1.0.0"), &BreaksTwice(0.into()), &SilentReporter).await.unwrap();
    locked.switch(vec![StoreChange::Install(staged)], now(), &SilentReporter).await.unwrap();
    assert_eq!(run_current(&root, "a").as_deref(), Some("a v1.0.0"));
}

/// A contract has at most 1 MiB, also as JSON in the store.
#[tokio::test]
async fn a_contract_that_is_too_large_is_not_installed() {
    let directory = scratch();
    let root = directory.path().join("root");
    let mut wanted = request("a", "v1.0.0");
    wanted.contract.description = "x".repeat(1 << 20);
    let error = install_all(&root, &MemorySource::default(), vec![wanted]).await.unwrap_err();
    assert!(error.to_string().contains("contract.json"), "{error}");
    assert!(!root.exists());
}

#[tokio::test]
async fn progress_of_an_install() {
    #[derive(Default)]
    struct Recorder(std::sync::Mutex<Vec<String>>);
    impl ProgressReporter for Recorder {
        fn report(&self, event: ProgressEvent<'_>) {
            let line = match event {
                ProgressEvent::Downloading { done, total, .. } => format!("{done} of {}", total.unwrap_or_default()),
                ProgressEvent::Switched { name, tag } => format!("{name} {tag}"),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(line);
        }
    }
    let directory = scratch();
    let (recorder, source) = (Recorder::default(), MemorySource::default());
    let size = source.layer("a", "v1.0.0").len();
    let mut locked = lock(directory.path(), &["a"]).await;
    let staged = locked.stage(request("a", "v1.0.0"), &source, &recorder).await.unwrap();
    locked.switch(vec![StoreChange::Install(staged)], now(), &recorder).await.unwrap();
    assert_eq!(
        *recorder.0.lock().unwrap(),
        [format!("0 of {size}"), format!("{size} of {size}"), "a v1.0.0".to_owned()]
    );
}
