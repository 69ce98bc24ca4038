//! Which policies contradict each other, and on how many hosts (`docs/policies.md`, rule 22). The verdict comes from
//! `d8-crds`, once for all hosts with the same policies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        explain,
        validation::{CheckedPolicy, CheckedSubjects},
        verdict::{
            Host, Person, PolicyConflict, PolicySet, WORKSTATION_PLATFORMS, labelled_platform, workstation_labels,
        },
    },
    records::{policy::PluginPolicy, release::CliRelease},
    values::{name::Component, platform::Platform},
};
use kube::ResourceExt as _;

use crate::decisions::hosts::Labels;

/// Returns the labels of a workstation of each platform.
pub(super) fn workstations() -> impl Iterator<Item = (Platform, Labels)> {
    let platforms = WORKSTATION_PLATFORMS.iter().filter_map(|platform| platform.parse::<Platform>().ok());
    platforms.map(|platform| (platform.clone(), workstation_labels(&platform)))
}

/// A conflict in which a policy takes part, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConflictOnHosts {
    /// The conflict; if policies differ between hosts, with the fields of all of them.
    conflict: PolicyConflict,
    /// Number of managed hosts.
    hosts: u32,
    /// Whether it is also there on workstations.
    workstations: bool,
}

impl ConflictOnHosts {
    /// Returns the sentence for the policy's condition.
    pub(super) fn sentence(&self) -> String {
        let place = match (self.hosts, self.workstations) {
            (0, _) => "workstations".to_owned(),
            (1, false) => "1 host".to_owned(),
            (1, true) => "1 host and workstations".to_owned(),
            (hosts, false) => format!("{hosts} hosts"),
            (hosts, true) => format!("{hosts} hosts and workstations"),
        };
        format!("on {place}, {}", explain::policy_conflict(&self.conflict))
    }

    fn add(&mut self, group: &HostGroup<'_>, conflict: &PolicyConflict) {
        self.hosts = self.hosts.saturating_add(group.hosts);
        self.workstations |= group.workstations;
        for (all, added) in [
            (&mut self.conflict.required_by, &conflict.required_by),
            (&mut self.conflict.refused_by, &conflict.refused_by),
        ] {
            all.extend(added.iter().filter(|field| !all.contains(field)).cloned().collect::<Vec<_>>());
            all.sort_by(|a, b| (&a.from, &a.value).cmp(&(&b.from, &b.value)));
        }
    }
}

/// The conflicts of all policies.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PolicyConflicts {
    by_policy: BTreeMap<String, BTreeMap<Component, ConflictOnHosts>>,
}

/// Hosts to which the same policies apply.
struct HostGroup<'a> {
    labels: &'a Labels,
    hosts: u32,
    workstations: bool,
}

impl PolicyConflicts {
    /// Finds the conflicts. `hosts`: the labels of the managed hosts, each with the number of hosts that have them.
    pub(crate) fn find<'a>(
        policies: impl IntoIterator<Item = &'a PluginPolicy>,
        hosts: &[(Arc<Labels>, u32)],
        releases: &[Arc<CliRelease>],
    ) -> Self {
        let policies: Vec<_> = policies.into_iter().filter_map(taking_part).collect();
        let releases: BTreeMap<String, &CliRelease> = releases.iter().map(|r| (r.name_any(), &**r)).collect();
        let workstations: Vec<_> = workstations().collect();
        let groups = groups(&policies, hosts, &workstations);
        let set = PolicySet::of_valid(policies.iter().cloned());
        let mut found = Self::default();
        for ((_, platform), group) in &groups {
            let host = Host {
                id: "",
                labels: group.labels,
                platform: platform.as_ref(),
                new_root: false,
                person: Person::Nobody,
            };
            for conflict in set.for_host(host).conflicts(|component| releases.get(component.name()).copied()) {
                found.add(group, &conflict);
            }
        }
        found
    }

    fn add(&mut self, group: &HostGroup<'_>, conflict: &PolicyConflict) {
        for policy in conflict.policies() {
            let conflicts = self.by_policy.entry(policy.to_owned()).or_default();
            let none = || ConflictOnHosts { conflict: conflict.clone(), hosts: 0, workstations: false };
            conflicts.entry(conflict.component.clone()).or_insert_with(none).add(group, conflict);
        }
    }

    /// Returns the conflicts in which a policy takes part, by component.
    pub(crate) fn of(&self, policy: &str) -> Vec<ConflictOnHosts> {
        self.by_policy.get(policy).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }
}

/// Returns the policy if it can take part: it is valid, for everyone, and no emergency policy, which forbids nothing.
fn taking_part(policy: &PluginPolicy) -> Option<CheckedPolicy> {
    // Its waves do not matter here.
    let checked = CheckedPolicy::new(&PluginPolicy::new(&policy.name_any(), policy.spec.clone())).ok()?;
    (checked.emergency.is_none() && checked.subjects == CheckedSubjects::Everyone).then_some(checked)
}

/// Groups managed hosts and workstations by the policies that apply to them. A block depends on the platform, too.
fn groups<'a>(
    policies: &[CheckedPolicy],
    hosts: &'a [(Arc<Labels>, u32)],
    workstations: &'a [(Platform, Labels)],
) -> HashMap<(BTreeSet<usize>, Option<Platform>), HostGroup<'a>> {
    let managed = hosts.iter().map(|(labels, hosts)| (&**labels, labelled_platform(labels), Some(*hosts)));
    let unmanaged = workstations.iter().map(|(platform, labels)| (labels, Some(platform.clone()), None));
    let mut groups = HashMap::new();
    for (labels, platform, hosts) in managed.chain(unmanaged) {
        let selecting = policies.iter().enumerate().filter(|(_, policy)| policy.selector.matches(labels));
        let selecting: BTreeSet<_> = selecting.map(|(index, _)| index).collect();
        if selecting.is_empty() {
            continue;
        }
        let empty = || HostGroup { labels, hosts: 0, workstations: false };
        let group = groups.entry((selecting, platform)).or_insert_with(empty);
        group.hosts = group.hosts.saturating_add(hosts.unwrap_or_default());
        group.workstations |= hosts.is_none();
    }
    groups
}

#[cfg(test)]
mod tests;
