//! On how many hosts a version has succeeded, for a policy whose waves wait for that (`docs/policies.md`,
//! requireSucceeded).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use d8_crds::{
    decisions::{
        validation::{CheckedPolicy, RequiredEvidence},
        wave::{Bucket, CanaryCounter, CanaryShare},
    },
    records::policy::PluginPolicy,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;

use crate::decisions::hosts::HostReport;

/// On how many hosts a version has succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Successes {
    pub(crate) hosts: u32,
    /// When the next host counts.
    pub(crate) next: Option<Timestamp>,
}

impl Successes {
    /// Adds a host that counts from `succeeds` on.
    fn add(&mut self, succeeds: Timestamp, now: Timestamp) {
        if succeeds <= now {
            self.hosts = self.hosts.saturating_add(1);
        } else {
            self.next = Some(self.next.map_or(succeeds, |next| next.min(succeeds)));
        }
    }
}

/// Numbers of canaries. They stay the same as long as neither the hosts of the policy nor its rollout change, and a count
/// reads the names of all hosts, so that they are kept between reconciliations.
#[derive(Debug, Default)]
pub(crate) struct CanaryCounts(Mutex<BTreeMap<Component, BTreeMap<Version, u32>>>);

impl CanaryCounts {
    fn get_or_insert_with(&self, component: &Component, version: &Version, count: impl FnOnce() -> u32) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counts.get(component).and_then(|versions| versions.get(version)) {
            return *known;
        }
        let count = count();
        counts.entry(component.clone()).or_default().insert(version.clone(), count);
        count
    }
}

/// Numbers of canaries that are kept for one state of the hosts and of the policy.
#[derive(Debug, Default)]
pub(crate) struct KeptCanaryCounts {
    labels_revision: u64,
    policy: (Option<String>, Option<i64>),
    counts: Arc<CanaryCounts>,
}

impl KeptCanaryCounts {
    /// Returns the numbers that were counted for these hosts and this generation of the policy.
    pub(crate) fn of(&mut self, labels_revision: u64, policy: &PluginPolicy) -> Arc<CanaryCounts> {
        let policy = (policy.metadata.uid.clone(), policy.metadata.generation);
        if (self.labels_revision, &self.policy) != (labels_revision, &policy) {
            *self = Self { labels_revision, policy, counts: Arc::default() };
        }
        self.counts.clone()
    }
}

/// What the hosts of a policy report about versions whose waves wait.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) required: RequiredEvidence,
    canary_share: Option<CanaryShare>,
    hosts: &'a [HostReport],
    /// The versions that hosts report as up to date: counted once for all waves.
    successes: BTreeMap<Component, BTreeMap<Version, Successes>>,
    canary_counts: Arc<CanaryCounts>,
}

impl<'a> Evidence<'a> {
    /// Returns `None` if the policy requires no evidence. `now`: in whole seconds.
    pub(crate) fn of(policy: &CheckedPolicy, hosts: &'a [HostReport], now: Timestamp) -> Option<Self> {
        let rollout = policy.rollout.as_ref()?;
        let required = rollout.evidence?;
        let successes = successes(hosts, required.stable_for, now);
        let canary_counts = Arc::default();
        Some(Self { required, canary_share: rollout.canary_share, hosts, successes, canary_counts })
    }

    /// Uses numbers that were counted before for the same hosts and the same rollout.
    #[must_use]
    pub(crate) fn with_canary_counts(self, canary_counts: Arc<CanaryCounts>) -> Self {
        Self { canary_counts, ..self }
    }

    /// Returns on how many hosts the version has been reported as up to date for long enough.
    pub(crate) fn successes(&self, component: &Component, version: &Version) -> Successes {
        self.successes.get(component).and_then(|versions| versions.get(version)).copied().unwrap_or_default()
    }

    /// Returns whether the version has succeeded on enough hosts.
    pub(crate) fn is_met(&self, component: &Component, version: &Version) -> bool {
        self.successes(component, version).hosts >= self.required.hosts
    }
}

impl CanaryCounter for Evidence<'_> {
    fn canaries(&self, component: &Component, version: &Version) -> u32 {
        let by_share = |host: &HostReport| {
            self.canary_share.is_some_and(|share| share.contains(Bucket::of(&host.name, component, version)))
        };
        let canaries = || self.hosts.iter().filter(|host| host.is_canary || by_share(host)).count();
        self.canary_counts.get_or_insert_with(component, version, || u32::try_from(canaries()).unwrap_or(u32::MAX))
    }
}

/// Counts the hosts on which each version has succeeded. Most hosts report the same few versions, so that the text of each
/// is parsed once.
fn successes(
    hosts: &[HostReport],
    stable_for: Duration,
    now: Timestamp,
) -> BTreeMap<Component, BTreeMap<Version, Successes>> {
    let mut versions: BTreeMap<(Component, Version), usize> = BTreeMap::new();
    let mut indexes: HashMap<(&str, &str), Option<usize>> = HashMap::new();
    let mut counts: Vec<Successes> = Vec::new();
    for host in hosts {
        // `1.4.0` and `v1.4.0` are one version, and a host counts once for it.
        let mut counted = BTreeSet::new();
        for (name, active, reported) in host.up_to_date() {
            let mut parse = || {
                let next = versions.len();
                Some(*versions.entry((name.parse().ok()?, Version::parse(active).ok()?)).or_insert(next))
            };
            let Some(index) = *indexes.entry((name, active)).or_insert_with(&mut parse) else { continue };
            let Some(succeeds) = reported.counts_from(stable_for) else { continue };
            if counted.insert(index) {
                counts.resize(counts.len().max(index + 1), Successes::default());
                counts.get_mut(index).into_iter().for_each(|count| count.add(succeeds, now));
            }
        }
    }
    let mut by_component: BTreeMap<Component, BTreeMap<Version, Successes>> = BTreeMap::new();
    for ((component, version), index) in versions {
        let successes = counts.get(index).copied().unwrap_or_default();
        by_component.entry(component).or_default().insert(version, successes);
    }
    by_component
}

#[cfg(test)]
mod tests {
    use d8_crds::records::host::CliHost;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::decisions::hosts::HostIndex;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn hosts(components: &[Value], last_seen: Option<&str>) -> Vec<HostReport> {
        let mut index = HostIndex::default();
        for (i, component) in components.iter().enumerate() {
            let host: CliHost = serde_json::from_value(json!({
                "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliHost",
                "metadata": {"name": format!("bastion-{i}"), "labels": {"canary": (i < 2).to_string()}},
                "spec": {"identity": "i"}, "status": {"components": [component], "lastSeen": last_seen},
            }))
            .unwrap();
            index.apply(Event::Apply(host));
        }
        index.reports(|_| true, |labels| labels["canary"] == "true")
    }

    fn policy(rollout: &Value) -> CheckedPolicy {
        let policy = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p"}, "spec": {"hostSelector": {}, "rollout": rollout}});
        CheckedPolicy::new(&serde_json::from_value(policy).unwrap()).unwrap()
    }

    #[test]
    fn hosts_count_once_they_have_reported_the_version_for_long_enough() {
        let report = |active: &str, state: &str, change: Option<&str>| {
            let mut component = json!({"name": "tool", "active": active, "state": state});
            if let Some(change) = change {
                component["lastChange"] = json!(change);
            }
            component
        };
        let (long_ago, hour_ago) = (Some("2026-11-22T02:00:00Z"), Some("2026-11-22T11:00:00Z"));
        let tool = "tool".parse().unwrap();
        let rollout = json!({"over": "1h", "canarySelector": {}, "requireSucceeded": {"hosts": 2, "for": "1h"}});
        let policy = policy(&rollout);
        let of = |components: &[Value], last_seen: Option<&str>, version: &str| {
            let (hosts, version) = (hosts(components, last_seen), Version::parse(version).unwrap());
            let evidence = Evidence::of(&policy, &hosts, NOW.parse().unwrap()).unwrap();
            let Successes { hosts, next } = evidence.successes(&tool, &version);
            assert_eq!(evidence.is_met(&tool, &version), hosts >= 2);
            (hosts, next.map(|next| next.to_string()))
        };
        let mut components = vec![
            report("v1.4.0", "UpToDate", hour_ago),
            report("v1.4.0", "UpToDate", Some("2026-11-22T11:00:01Z")),
            report("v1.4.0", "UpToDate", Some("2026-11-22T11:30:00Z")),
            report("v1.4.0", "UpToDate", None),
            report("v1.4.0", "Failed", long_ago),
            report("v1.4.0", "Held", long_ago),
            report("v1.3.0", "UpToDate", long_ago),
        ];
        let soon = || Some("2026-11-22T12:00:01Z".to_owned());
        assert_eq!(of(&components, Some(NOW), "v1.4.0"), (1, soon()));
        components.push(report("1.4.0", "UpToDate", long_ago));
        assert_eq!(of(&components, Some(NOW), "v1.4.0"), (2, soon()));
        assert_eq!(of(&components, None, "v1.4.0"), (2, soon()), "the change was reported");
        assert_eq!(of(&components, Some(NOW), "v1.5.0"), (0, None));
    }

    #[test]
    fn a_silent_host_does_not_count_on() {
        let component =
            json!({"name": "tool", "active": "v1.4.0", "state": "UpToDate", "lastChange": "2026-11-22T00:00:00Z"});
        let (tool, version) = ("tool".parse().unwrap(), Version::parse("v1.4.0").unwrap());
        let policy =
            policy(&json!({"over": "1h", "canarySelector": {}, "requireSucceeded": {"hosts": 1, "for": "8h"}}));
        for (last_seen, expected) in
            [("2026-11-22T01:59:59Z", 0), ("2026-11-22T02:00:00Z", 1), (NOW, 1), ("2026-11-21T00:00:00Z", 0)]
        {
            let hosts = hosts(std::slice::from_ref(&component), Some(last_seen));
            let evidence = Evidence::of(&policy, &hosts, NOW.parse().unwrap()).unwrap();
            assert_eq!(evidence.successes(&tool, &version).hosts, expected, "{last_seen}");
        }
    }

    #[test]
    fn canaries_by_label_and_by_share_count_once() {
        let hosts = hosts(&vec![json!({"name": "tool", "state": "Pending"}); 100], None);
        let (tool, version) = ("tool".parse().unwrap(), Version::parse("v1.4.0").unwrap());
        let required = |canaries: Value| {
            let mut rollout = json!({"over": "1h", "requireSucceeded": {"hosts": 1, "for": "1h"}});
            rollout.as_object_mut().unwrap().extend(canaries.as_object().unwrap().clone());
            let policy = policy(&rollout);
            Evidence::of(&policy, &hosts, NOW.parse().unwrap()).unwrap().canaries(&tool, &version)
        };
        let share = CanaryShare::of_percent(20).unwrap();
        let in_share = |i: &usize| share.contains(Bucket::of(&format!("bastion-{i}"), &tool, &version));
        let by_share = (0..100).filter(in_share).count();
        assert!((5..=40).contains(&by_share), "{by_share}");
        // The first two hosts are canaries by their labels.
        let both = by_share + (0..2).filter(|i| !in_share(i)).count();
        assert_eq!(required(json!({"canarySelector": {}, "canaryPercent": 20})), u32::try_from(both).unwrap());
        assert!(Evidence::of(&policy(&json!({"over": "1h"})), &hosts, NOW.parse().unwrap()).is_none());
    }

    #[test]
    fn canaries_are_counted_once() {
        let counts = Arc::new(CanaryCounts::default());
        let (tool, version) = ("tool".parse().unwrap(), Version::parse("v1.4.0").unwrap());
        let policy =
            policy(&json!({"over": "1h", "canarySelector": {}, "requireSucceeded": {"hosts": 1, "for": "1h"}}));
        let with = |hosts: &[HostReport]| {
            let evidence = Evidence::of(&policy, hosts, NOW.parse().unwrap()).unwrap();
            evidence.with_canary_counts(counts.clone()).canaries(&tool, &version)
        };
        let hosts = hosts(&vec![json!({"name": "tool", "state": "Pending"}); 3], None);
        assert_eq!((with(&hosts), with(&[])), (2, 2), "the second count is the first one");
    }
}
