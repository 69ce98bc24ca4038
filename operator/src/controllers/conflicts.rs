//! The conflicts between all policies, found once for each state of policies, hosts and records.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use d8_crds::records::{
    policy::PluginPolicy,
    release::{CliRelease, ReleaseVersion},
};
use kube::Resource;

use crate::decisions::{hosts::HostIndex, policy::conflicts::PolicyConflicts};

/// The conflicts that were found last.
#[derive(Default)]
pub(crate) struct SharedConflicts(Mutex<FoundConflicts>);

#[derive(Default)]
struct FoundConflicts {
    /// Hash of the objects that were read last; absent: nothing was read yet.
    objects: Option<u64>,
    /// Hash of what conflicts depend on.
    content: Option<u64>,
    conflicts: Arc<PolicyConflicts>,
}

impl SharedConflicts {
    /// Returns the conflicts between these policies.
    pub(super) fn between(
        &self,
        policies: Vec<Arc<PluginPolicy>>,
        hosts: &HostIndex,
        releases: Vec<Arc<CliRelease>>,
    ) -> Arc<PolicyConflicts> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (policies, releases) = (sorted(policies), sorted(releases));
        let of_policies = (hosts.labels_revision(), hash_all(&policies, |policy| policy.metadata.generation));
        // Records are written all the time. Only their published versions matter, but it takes longer to compare these.
        let objects = hash(&(of_policies, hash_all(&releases, |release| release.metadata.resource_version.clone())));
        if found.objects != Some(objects) {
            let content = hash(&(of_policies, releases.iter().map(|release| published(release)).collect::<Vec<_>>()));
            if found.content != Some(content) {
                let policies = policies.iter().map(AsRef::as_ref);
                found.conflicts = Arc::new(PolicyConflicts::find(policies, &hosts.labels(), &releases));
            }
            (found.objects, found.content) = (Some(objects), Some(content));
        }
        found.conflicts.clone()
    }
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
