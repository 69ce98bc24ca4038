//! Warnings about the policies in the files, with what is known of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        impact::{ClusterState, HostFacts},
        validation::{
            CheckedPolicy,
            warnings::{PolicyContext, warnings as warnings_of},
        },
        verdict::{WORKSTATION_PLATFORMS, workstation_labels},
        wave::NamedHosts,
    },
    records::policy::PluginPolicy,
    values::{name::Component, version::Version},
};

/// Returns the warnings, each with the name of its policy. `hosts_known`: the managed hosts could be read.
pub(super) fn warnings(files: &[PluginPolicy], cluster: ClusterState<'_>, hosts_known: bool) -> Vec<String> {
    let records = cluster.records.iter().filter_map(|(name, record)| Some((name.parse::<Component>().ok()?, record)));
    let records: BTreeMap<_, _> = records.collect();
    let workstations: Vec<_> =
        WORKSTATION_PLATFORMS.iter().filter_map(|platform| Some(workstation_labels(&platform.parse().ok()?))).collect();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (key, value) in cluster.hosts.iter().map(|host| &host.labels).chain(&workstations).flatten() {
        labels.entry(key.clone()).or_default().insert(value.clone());
    }
    let of_policy = |policy: &CheckedPolicy| {
        let selected: Vec<_> = cluster.hosts.iter().filter(|host| policy.selector.matches(&host.labels)).collect();
        let canaries = policy.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
        let named = selected.iter().map(|host| (&*host.id, canaries.is_some_and(|c| c.matches(&host.labels))));
        let share = policy.rollout.as_ref().and_then(|rollout| rollout.canary_share);
        let named = NamedHosts { hosts: named.collect(), share };
        let canaries = canaries.map(|canaries| selected.iter().filter(|host| canaries.matches(&host.labels)).count());
        let active = active(&selected);
        let context = PolicyContext {
            hosts: hosts_known.then(|| count(selected.len())),
            workstations: workstations.iter().any(|labels| policy.selector.matches(labels)),
            canaries: canaries.filter(|_| hosts_known).map(count),
            canary_counter: hosts_known.then_some(&named),
            active: hosts_known.then_some(&active),
            labels: hosts_known.then_some(&labels),
            records: Some(&records),
            people_unknown: false,
            now: Some(cluster.now),
        };
        let name = policy.name.clone();
        warnings_of(policy, context).into_iter().map(move |warning| format!("policy {name}: {warning}")).collect()
    };
    let checked = files.iter().filter_map(|file| CheckedPolicy::new(file).ok());
    checked.flat_map(|policy| -> Vec<String> { of_policy(&policy) }).collect()
}

/// Returns the versions that are active on some hosts.
fn active(hosts: &[&HostFacts]) -> BTreeMap<Component, BTreeSet<Version>> {
    let mut active: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (component, found) in hosts.iter().flat_map(|host| &host.active) {
        if let Some(version) = &found.version {
            active.entry(component.clone()).or_default().insert(version.clone());
        }
    }
    active
}

fn count(hosts: usize) -> u32 {
    u32::try_from(hosts).unwrap_or(u32::MAX)
}
