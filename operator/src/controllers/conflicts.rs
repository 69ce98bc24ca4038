//! The conflicts between all policies, found once for each state of policies, hosts and records.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use super::context::Context;
use crate::decisions::policy::conflicts::PolicyConflicts;

/// The conflicts that were found last.
#[derive(Default)]
pub(crate) struct SharedConflicts(Mutex<FoundConflicts>);

#[derive(Default)]
struct FoundConflicts {
    /// What they were found in; absent: nothing was read yet.
    key: Option<u64>,
    conflicts: Arc<PolicyConflicts>,
}

/// Returns the conflicts between the policies as they are now.
pub(super) fn current<R>(ctx: &Context<R>) -> Arc<PolicyConflicts> {
    let mut found = ctx.conflicts.0.lock().unwrap_or_else(PoisonError::into_inner);
    let key = Some(key(ctx));
    if found.key != key {
        let (policies, releases) = (ctx.policies.store.state(), ctx.releases.store.state());
        let hosts = ctx.hosts().labels();
        found.conflicts = Arc::new(PolicyConflicts::find(policies.iter().map(AsRef::as_ref), &hosts, &releases));
        found.key = key;
    }
    found.conflicts.clone()
}

/// Returns a hash of what conflicts depend on: the specs of the policies, the labels of the hosts, and the records.
fn key<R>(ctx: &Context<R>) -> u64 {
    let mut hasher = DefaultHasher::new();
    ctx.hosts().labels_revision().hash(&mut hasher);
    let mut policies: Vec<_> = ctx.policies.store.state();
    policies.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for policy in policies {
        (&policy.metadata.name, &policy.metadata.uid, policy.metadata.generation).hash(&mut hasher);
    }
    let mut releases: Vec<_> = ctx.releases.store.state();
    releases.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for release in releases {
        (&release.metadata.name, &release.metadata.uid, &release.metadata.resource_version).hash(&mut hasher);
    }
    hasher.finish()
}
