//! What hosts report of the versions in waves, counted once for a policy.

use std::collections::HashMap;

use super::facts::ClusterState;
use crate::{
    decisions::validation::CheckedPolicy,
    values::{name::Component, version::Version},
};

/// What the hosts that a policy selects report of versions.
#[derive(Debug, Default)]
pub(super) struct WaveReports<'a> {
    /// Number of hosts that have reported a version as up to date for long enough, if the policy requires evidence.
    pub(super) succeeded: HashMap<(&'a Component, &'a Version), u32>,
    /// Number of hosts that failed on a version.
    pub(super) failed: HashMap<(&'a Component, &'a Version), u32>,
}

impl<'a> WaveReports<'a> {
    /// Counts what hosts report that this policy selects.
    pub(super) fn count(policy: &CheckedPolicy, cluster: ClusterState<'a>) -> Self {
        let now = cluster.now;
        let mut reports = Self::default();
        let hosts = cluster.hosts.iter().filter(|host| host.managed && policy.selector.matches(&host.labels));
        let evidence = policy.rollout.as_ref().and_then(|rollout| rollout.evidence);
        for host in hosts {
            for (component, failed) in host.failed.iter().filter(|(_, failed)| failed.counts(now)) {
                *reports.failed.entry((component, &failed.version)).or_default() += 1;
            }
            let Some(evidence) = evidence else { continue };
            for (component, active) in &host.active {
                let counts_from = active.up_to_date.and_then(|up_to_date| up_to_date.counts_from(evidence.stable_for));
                if let Some(version) = active.version.as_ref().filter(|_| counts_from.is_some_and(|from| from <= now)) {
                    *reports.succeeded.entry((component, version)).or_default() += 1;
                }
            }
        }
        reports
    }
}
