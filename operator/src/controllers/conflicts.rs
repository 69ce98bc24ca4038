//! The conflicts between all policies, found once for each state of policies, hosts and records. The search runs beside
//! the reconciliations: with many policies it takes long, and none of them waits for it.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use d8_crds::records::release::{CliRelease, ReleaseVersion};
use kube::{Resource, ResourceExt as _};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep};

use super::context::Context;
use crate::decisions::policy::conflicts::{ConflictMemo, ConflictSearch, PolicyConflicts};

/// Changes are collected for this time before the search.
const COLLECT: Duration = Duration::from_millis(100);

/// The conflicts that were found last.
#[derive(Default)]
pub(crate) struct SharedConflicts {
    last: Mutex<LastSearch>,
    /// Notified when something may have changed on which conflicts depend.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct LastSearch {
    /// Hash of the objects that were read last; absent: nothing was read yet.
    objects: Option<u64>,
    /// Hash of what conflicts depend on.
    content: Option<u64>,
    conflicts: Arc<PolicyConflicts>,
    /// What the last search found for each component, to search only for what changed.
    memo: ConflictMemo,
}

impl SharedConflicts {
    /// Returns the conflicts that were found last.
    pub(super) fn found(&self) -> Arc<PolicyConflicts> {
        self.lock().conflicts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, LastSearch> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next search, and the hashes of what it reads, if what conflicts depend on has changed since the last
    /// one.
    fn next_search<R>(&self, ctx: &Context<R>) -> Option<(ConflictSearch, [u64; 2])> {
        let (policies, releases) = (sorted(ctx.policies.store.state()), sorted(ctx.releases.store.state()));
        let (labels_revision, labels) = {
            let hosts = ctx.hosts();
            (hosts.labels_revision(), hosts.labels())
        };
        let mut last = self.lock();
        let of_policies = (labels_revision, hash_all(&policies, |policy| policy.metadata.generation));
        // Records are written all the time. Only their published versions matter, but it takes longer to compare these.
        let objects = hash(&(of_policies, hash_all(&releases, |release| release.metadata.resource_version.clone())));
        if last.objects == Some(objects) {
            return None;
        }
        let published: Vec<u64> = releases.iter().map(|release| published(release)).collect();
        let content = hash(&(of_policies, &published));
        if last.content == Some(content) {
            last.objects = Some(objects);
            return None;
        }
        let releases = releases.into_iter().zip(published).map(|(release, hash)| (release.name_any(), (release, hash)));
        let memo = std::mem::take(&mut last.memo);
        let search = ConflictSearch { policies, hosts: labels, releases: releases.collect(), memo };
        Some((search, [objects, content]))
    }
}

/// Searches whenever something changed, and reconciles the policies whose conflicts are others then. Never returns.
pub(super) async fn run<R>(ctx: &Context<R>) {
    loop {
        ctx.conflicts.changed.notified().await;
        sleep(COLLECT).await;
        refresh(ctx).await;
    }
}

/// Searches if something changed.
pub(super) async fn refresh<R>(ctx: &Context<R>) {
    let Some((search, [objects, content])) = ctx.conflicts.next_search(ctx) else { return };
    let names: Vec<_> = search.policies.iter().map(|policy| policy.name_any()).collect();
    // A search that panics is logged, and the next change begins another one.
    let Ok((conflicts, memo)) = spawn_blocking(|| search.run()).await else { return };
    let conflicts = Arc::new(conflicts);
    let before = {
        let mut last = ctx.conflicts.lock();
        (last.objects, last.content, last.memo) = (Some(objects), Some(content), memo);
        std::mem::replace(&mut last.conflicts, conflicts.clone())
    };
    let changed = names.iter().filter(|name| before.of(name) != conflicts.of(name));
    changed.for_each(|name| ctx.policies.request(name));
}

fn sorted<K: Resource<DynamicType = ()>>(mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    objects
}

/// Returns a hash of names, UIDs and another field of objects.
fn hash_all<K: Resource<DynamicType = ()>, F: Hash>(objects: &[Arc<K>], field: impl Fn(&K) -> F) -> u64 {
    let identity = |object: &Arc<K>| hash(&(&object.meta().name, &object.meta().uid, field(object)));
    hash(&objects.iter().map(identity).collect::<Vec<_>>())
}

/// Returns a hash of what conflicts depend on in a record.
fn published(release: &CliRelease) -> u64 {
    let versions = release.status.iter().flat_map(|status| &status.versions);
    let version = |version: &ReleaseVersion| {
        let artifacts = version.artifacts.iter().map(|a| hash(&(&a.platform, &a.manifest, &a.layer)));
        let moved_from = version.moved.as_ref().map(|moved| &moved.from);
        let withdrawn = version.withdrawn.is_some();
        hash(&(&version.version, &version.digest, withdrawn, moved_from, artifacts.collect::<Vec<_>>()))
    };
    hash(&(&release.metadata.name, versions.map(version).collect::<Vec<_>>()))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_record_that_publishes_the_same_changes_no_conflict() {
        let hash_of = |fields: &Value, synced: &str| {
            let mut version = json!({"version": "v1.0.0", "digest": "sha256:0", "fit": "Fits", "artifacts": [
                {"platform": "linux-amd64", "manifest": "sha256:1", "layer": "sha256:2", "sizeBytes": 1}]});
            version.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let record = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease",
                "metadata": {"name": "p", "resourceVersion": synced}, "spec": {},
                "status": {"lastSyncTime": synced, "versions": [version]}});
            published(&serde_json::from_value(record).unwrap())
        };
        let (now, later) = ("2026-11-28T12:00:00Z", "2026-11-28T13:00:00Z");
        let before = hash_of(&json!({}), now);
        assert_eq!(hash_of(&json!({"fit": "Unfit", "reasons": ["too old"]}), later), before);
        let artifact = json!({"platform": "linux-amd64", "manifest": "sha256:1", "layer": "sha256:3", "sizeBytes": 1});
        for changed in [
            json!({"version": "v1.0.1"}),
            json!({"digest": "sha256:9"}),
            json!({"withdrawn": now}),
            json!({"artifacts": [artifact]}),
            json!({"moved": {"from": "sha256:8", "at": now}}),
        ] {
            assert_ne!(hash_of(&changed, now), before, "{changed}");
        }
    }
}
