//! Installs and switches in one process: the files that they leave, the order of barriers, and that a failure at any
//! point changes nothing. The smoke test is tested with the kill test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod failures;
mod install;
#[path = "../support/mod.rs"]
mod support;
mod versions;

use std::{path::Path, time::Duration};

use d8_agent::{Activation, InstallRequest, LockedStore, SilentReporter, Store, StoreChange, StoreError};
use support::{MemorySource, name, now, request, tag};

fn store(root: &Path) -> Store {
    Store::at(root).unwrap().without_smoke_test()
}

async fn lock(root: &Path, plugins: &[&str]) -> LockedStore {
    let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
    store(root).lock(&names, Duration::ZERO, &SilentReporter).await.unwrap()
}

async fn install_all(
    root: &Path,
    source: &MemorySource,
    requests: Vec<InstallRequest>,
) -> Result<Vec<Activation>, StoreError> {
    let names: Vec<_> = requests.iter().map(|request| request.name.clone()).collect();
    let mut locked = store(root).lock(&names, Duration::ZERO, &SilentReporter).await?;
    let mut changes = Vec::new();
    for request in requests {
        changes.push(StoreChange::Install(locked.stage(request, source, &SilentReporter).await?));
    }
    locked.switch(changes, now(), &SilentReporter).await
}

async fn install(root: &Path, plugin: &str, version: &str) -> Activation {
    let activations = install_all(root, &MemorySource::default(), vec![request(plugin, version)]).await.unwrap();
    activations.into_iter().next().unwrap()
}

async fn relink(root: &Path, plugin: &str, version: &str) -> Result<Activation, StoreError> {
    let mut locked = lock(root, &[plugin]).await;
    let change = StoreChange::Relink { name: name(plugin), tag: tag(version) };
    Ok(locked.switch(vec![change], now(), &SilentReporter).await?.remove(0))
}
