//! The hosts of a policy, summed up for its evaluation.

use d8_crds::{
    decisions::{
        validation::{CheckedPolicy, InvalidPolicy},
        verdict::{Host, PolicySet},
    },
    values::{name::Component, version::Version},
};

use crate::decisions::hosts::{HostIndex, Labels, MatchedHosts};

/// Returns the hosts that the policy selects. With an invalid selector, it applies to all hosts.
pub(crate) fn matched_hosts(checked: &Result<CheckedPolicy, InvalidPolicy>, hosts: &HostIndex) -> MatchedHosts {
    match checked {
        Ok(checked) => hosts_of_valid(checked, hosts),
        Err(rejected) => hosts.matching(|labels| rejected.selector.as_ref().is_none_or(|s| s.matches(labels))),
    }
}

fn hosts_of_valid(checked: &CheckedPolicy, hosts: &HostIndex) -> MatchedHosts {
    let selects = |labels: &Labels| checked.selector.matches(labels);
    let mut matched = hosts.matching(selects);
    let last = PolicySet::to_the_last_host(checked.clone());
    let last = last.for_host(Host::LAST);
    let forbids =
        |component: &Component, version: &Version| last.guidance(component, Some(version)).active_forbidden.is_some();
    let waiting = hosts.must_change(selects, forbids);
    matched.counts.up_to_date = matched.counts.up_to_date.saturating_sub(waiting);
    matched.counts.held = matched.counts.held.saturating_add(waiting);
    if let Some(rollout) = checked.rollout.as_ref().filter(|rollout| rollout.evidence.is_some()) {
        let canaries = rollout.canaries.as_ref();
        matched.reports = hosts.reports(selects, |labels| canaries.is_some_and(|c| c.matches(labels)));
    }
    let canaries = checked.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
    let are_canaries = canaries.map(|canaries| |labels: &Labels| selects(labels) && canaries.matches(labels));
    matched.canaries = are_canaries.map(|are_canaries| hosts.matching(are_canaries).counts.matched);
    // For the warning about a selector that matches nothing.
    let matches_none = matched.counts.matched == 0 || matched.canaries == Some(0);
    matched.labels = matches_none.then(|| hosts.label_values());
    matched
}
