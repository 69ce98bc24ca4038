//! Warnings about the hosts that a policy selects, and the labels in its selectors.

use super::{CheckedPolicy, PolicyContext, Warnings};
use crate::decisions::validation::selector::Selector;

/// Warns about selectors that match no host, and names the labels that no host has.
pub(super) fn hosts(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let unknown = |selector: &Selector| {
        let hints = context.labels.map(|labels| selector.unknown_labels(labels)).unwrap_or_default();
        if hints.is_empty() { String::new() } else { format!(": {}", hints.join("; ")) }
    };
    if context.hosts == Some(0) && !context.workstations {
        warnings.add(format!("spec.hostSelector matches no host{}", unknown(&policy.selector)));
    }
    let canaries = policy.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
    if let Some(canaries) = canaries.filter(|_| context.canaries == Some(0) && context.hosts > Some(0)) {
        warnings.add(format!("spec.rollout.canarySelector matches none of the selected hosts{}", unknown(canaries)));
    }
}

/// Says how many hosts are selected. That none is, is a warning.
pub(super) fn selected_hosts(context: PolicyContext<'_>) -> Option<String> {
    Some(match (context.hosts, context.workstations) {
        (None | Some(0), false) => return None,
        (None, true) => "it also matches workstations".to_owned(),
        (Some(0), true) => "it matches workstations, but no managed host".to_owned(),
        (Some(1), false) => "it matches 1 host".to_owned(),
        (Some(1), true) => "it matches 1 host and workstations".to_owned(),
        (Some(hosts), false) => format!("it matches {hosts} hosts"),
        (Some(hosts), true) => format!("it matches {hosts} hosts and workstations"),
    })
}
