//! Which policies contradict each other, and on how many hosts (`docs/policies.md`, rule 22). The verdict comes from
//! `d8-crds`, once for all hosts with the same policies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        explain,
        validation::{CheckedPolicy, CheckedSubjects},
        verdict::{Host, PolicyConflict, PolicySet, WORKSTATION_PLATFORMS, labelled_platform, workstation_labels},
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

/// What conflicts of a component depend on: the policies that say something about it, by UID and generation, the
/// platform, and the published versions.
type MemoKey = (Component, Vec<u64>, Option<Platform>, u64);

/// The conflict of each component, as the last search found it.
#[derive(Debug, Default)]
pub(crate) struct ConflictMemo(HashMap<MemoKey, Option<PolicyConflict>>);

/// A search for conflicts.
pub(crate) struct ConflictSearch {
    pub(crate) policies: Vec<Arc<PluginPolicy>>,
    /// The labels of the managed hosts, each with the number of hosts that have them.
    pub(crate) hosts: Vec<(Arc<Labels>, u32)>,
    /// The records by name, each with a hash of its published versions.
    pub(crate) releases: BTreeMap<String, (Arc<CliRelease>, u64)>,
    /// What the last search found.
    pub(crate) memo: ConflictMemo,
}

impl ConflictSearch {
    /// Finds the conflicts. Returns also what the next search can use.
    pub(crate) fn run(mut self) -> (PolicyConflicts, ConflictMemo) {
        let (policies, identities): (Vec<_>, Vec<_>) =
            self.policies.iter().filter_map(|policy| Some((taking_part(policy)?, identity(policy)))).unzip();
        let workstations: Vec<_> = workstations().collect();
        let set = PolicySet::of_valid(policies.iter().cloned());
        let speaking = speaking(&policies);
        let (mut found, mut memo) = (PolicyConflicts::default(), ConflictMemo::default());
        for ((selecting, platform), group) in &groups(&policies, &self.hosts, &workstations) {
            let host = Host::unattended("", group.labels, platform.as_ref());
            let applying = set.for_host(host);
            for component in applying.contested() {
                let release = self.releases.get(component.name());
                let speaking = speaking.get(&component).into_iter().flatten();
                let speaking = speaking.filter(|index| selecting.contains(index)).filter_map(|i| identities.get(*i));
                let published = release.map_or(0, |(_, published)| *published);
                let key = (component.clone(), speaking.copied().collect(), platform.clone(), published);
                let known = memo.0.get(&key).cloned().or_else(|| self.memo.0.remove(&key));
                let conflict = known.unwrap_or_else(|| applying.conflict(component, release.map(|(r, _)| &**r)));
                if let Some(conflict) = &conflict {
                    found.add(group, conflict);
                }
                memo.0.insert(key, conflict);
            }
        }
        (found, memo)
    }
}

/// Returns a hash that changes with the spec of a policy.
fn identity(policy: &PluginPolicy) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&policy.metadata.name, &policy.metadata.uid, policy.metadata.generation).hash(&mut hasher);
    hasher.finish()
}

/// Returns for each component that a policy names the policies that say something about it. All others permit every
/// version of it.
fn speaking(policies: &[CheckedPolicy]) -> BTreeMap<Component, Vec<usize>> {
    let plugins = policies.iter().flat_map(CheckedPolicy::named_plugins).cloned().map(Component::Plugin);
    let components: BTreeSet<_> = plugins.chain([Component::D8]).collect();
    let speaks = |policy: &CheckedPolicy, component: &Component| {
        let defaults = &policy.defaults;
        policy.rule_for(component).is_some() || defaults.access.is_some() || defaults.channel.is_some()
    };
    let of = |component: &Component| (0..policies.len()).filter(|i| speaks(&policies[*i], component)).collect();
    components.into_iter().map(|component| (component.clone(), of(&component))).collect()
}

impl PolicyConflicts {
    /// Finds the conflicts without what an earlier search found.
    #[cfg(test)]
    pub(crate) fn find<'a>(
        policies: impl IntoIterator<Item = &'a PluginPolicy>,
        hosts: &[(Arc<Labels>, u32)],
        releases: &[Arc<CliRelease>],
    ) -> Self {
        let search = ConflictSearch {
            policies: policies.into_iter().cloned().map(Arc::new).collect(),
            hosts: hosts.to_vec(),
            releases: releases.iter().map(|release| (release.name_any(), (release.clone(), 0))).collect(),
            memo: ConflictMemo::default(),
        };
        search.run().0
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
