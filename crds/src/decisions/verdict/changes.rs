//! What differs between two sets of policies, and for which hosts and components: verdicts on all others are the same
//! under both.

use super::{
    applicable::is_canary,
    candidate::Host,
    loaded::{Applying, LoadedPolicy},
    policy_set::PolicySet,
};
use crate::{decisions::validation::CheckedPolicy, values::name::Component};

/// Two sets of policies, before and after an edit.
#[derive(Debug)]
pub struct PolicyChanges<'a> {
    pairs: Vec<PolicyPair<'a>>,
}

/// A policy before and after the edit. One of both may be absent.
#[derive(Debug)]
struct PolicyPair<'a> {
    old: Option<&'a LoadedPolicy>,
    new: Option<&'a LoadedPolicy>,
    is_same: bool,
}

/// Which policies of both sets apply to a host, and of which it is a canary. Verdicts on hosts for which this is equal
/// differ only by platform, by what is installed and by the hosts' places in waves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectedPolicies(Vec<(Selected, Selected)>);

/// How a policy applies to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Selected {
    No,
    Yes,
    AsCanary,
}

/// What the edit changes for one host.
#[derive(Debug, Default)]
pub struct HostChanges<'a> {
    /// More than rules and waves: verdicts on all components may differ.
    everything: bool,
    /// The policies of which only rules and waves differ.
    rules: Vec<(&'a CheckedPolicy, &'a CheckedPolicy)>,
}

impl<'a> PolicyChanges<'a> {
    /// Compares the policies of two sets by name.
    pub fn between(old: &'a PolicySet, new: &'a PolicySet) -> Self {
        let (mut old, mut new) = (old.policies.iter().peekable(), new.policies.iter().peekable());
        let mut pairs = Vec::new();
        // Sets are in order of names.
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Self { pairs },
                (Some(old), Some(new)) => old.name().cmp(new.name()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
            };
            let old = if order.is_le() { old.next() } else { None };
            let new = if order.is_ge() { new.next() } else { None };
            pairs.push(PolicyPair { old, new, is_same: old == new });
        }
    }

    /// Returns which policies apply to a host and to the person who acts there.
    pub fn selected(&self, host: &Host<'_>) -> SelectedPolicies {
        let selected = |policy: Option<&LoadedPolicy>| match policy.and_then(|policy| policy.on(host)) {
            None => Selected::No,
            Some(Applying::Valid(policy)) if is_canary(policy, host) => Selected::AsCanary,
            Some(_) => Selected::Yes,
        };
        let of_pair = |pair: &PolicyPair<'a>| {
            let old = selected(pair.old);
            (old, if pair.is_same { old } else { selected(pair.new) })
        };
        SelectedPolicies(self.pairs.iter().map(of_pair).collect())
    }

    /// Returns what the edit changes for a host and for the person who acts there.
    pub fn on(&self, host: &Host<'_>) -> HostChanges<'a> {
        let mut changes = HostChanges::default();
        for pair in self.pairs.iter().filter(|pair| !pair.is_same) {
            match [pair.old, pair.new].map(|policy| policy.and_then(|policy| policy.on(host))) {
                [None, None] => {}
                [Some(Applying::Valid(old)), Some(Applying::Valid(new))] if old.is_same_beside_rules(new) => {
                    changes.rules.push((old, new));
                }
                [old, new] => changes.everything |= old != new,
            }
        }
        changes
    }
}

impl HostChanges<'_> {
    /// Returns whether no verdict can differ.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.rules.is_empty()
    }

    /// Returns whether the verdict on a version of the component may differ.
    pub fn concern(&self, component: &Component) -> bool {
        self.everything || self.rules.iter().any(|(old, new)| !old.is_same_for(new, component))
    }
}
