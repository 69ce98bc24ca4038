//! Warnings about the policies in the files, with what is known of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        impact::{ClusterState, HostFacts},
        validation::{
            CheckedPolicy,
            selector::Selector,
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
    // Many policies select the same hosts.
    let mut known: Vec<(Selector, SelectedHosts<'_>)> = Vec::new();
    let mut of_policy = |policy: &CheckedPolicy| {
        let index = known.iter().position(|(selector, _)| *selector == policy.selector).unwrap_or_else(|| {
            known.push((policy.selector.clone(), SelectedHosts::of(&policy.selector, cluster.hosts)));
            known.len() - 1
        });
        let SelectedHosts { selected, active } = &known[index].1;
        let canaries = policy.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
        let named = selected.iter().map(|host| (&*host.id, canaries.is_some_and(|c| c.matches(&host.labels))));
        let share = policy.rollout.as_ref().and_then(|rollout| rollout.canary_share);
        let named = NamedHosts { hosts: named.collect(), share };
        let canaries = canaries.map(|canaries| selected.iter().filter(|host| canaries.matches(&host.labels)).count());
        let context = PolicyContext {
            hosts: hosts_known.then(|| count(selected.len())),
            workstations: workstations.iter().any(|labels| policy.selector.matches(labels)),
            canaries: canaries.filter(|_| hosts_known).map(count),
            canary_counter: hosts_known.then_some(&named),
            active: hosts_known.then_some(active),
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

/// The hosts that a selector matches.
struct SelectedHosts<'a> {
    selected: Vec<&'a HostFacts>,
    /// The versions that are active on them.
    active: BTreeMap<Component, BTreeSet<Version>>,
}

impl<'a> SelectedHosts<'a> {
    fn of(selector: &Selector, hosts: &'a [HostFacts]) -> Self {
        let selected: Vec<_> = hosts.iter().filter(|host| selector.matches(&host.labels)).collect();
        let mut active: BTreeMap<Component, BTreeSet<Version>> = BTreeMap::new();
        for (component, found) in selected.iter().flat_map(|host| &host.active) {
            let Some(version) = &found.version else { continue };
            // Few versions are active on many hosts.
            match active.get_mut(component) {
                Some(versions) if versions.contains(version) => {}
                Some(versions) => _ = versions.insert(version.clone()),
                None => _ = active.insert(component.clone(), BTreeSet::from([version.clone()])),
            }
        }
        Self { selected, active }
    }
}

fn count(hosts: usize) -> u32 {
    u32::try_from(hosts).unwrap_or(u32::MAX)
}
