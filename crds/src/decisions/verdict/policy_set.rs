//! The policies of one cluster, read once for many hosts and components.

use serde_json::Value;

use super::{candidate::Host, host_policies::HostPolicies, loaded::LoadedPolicy};
use crate::{
    decisions::validation::{CheckedPolicy, CheckedSubjects, selector::Selector},
    records::policy::PluginPolicy,
};

/// All policies of a cluster, whatever hosts they select. Their order never matters.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    pub(super) policies: Vec<LoadedPolicy>,
}

impl PolicySet {
    /// Reads policies from records.
    pub fn new(policies: &[PluginPolicy]) -> Self {
        Self::of(policies.iter().map(LoadedPolicy::read).collect())
    }

    /// Reads policies from JSON objects, some of which may be of a schema that is unknown here.
    pub fn from_json<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        Self::of(objects.into_iter().map(LoadedPolicy::read_json).collect())
    }

    /// Makes a set of valid policies.
    pub fn of_valid(policies: impl IntoIterator<Item = CheckedPolicy>) -> Self {
        Self::of(policies.into_iter().map(LoadedPolicy::valid).collect())
    }

    fn of(mut policies: Vec<LoadedPolicy>) -> Self {
        policies.sort_by(|a, b| a.name().cmp(b.name()));
        Self { policies }
    }

    /// Makes a set of one policy as it applies to the host that comes last in its waves: to every host and
    /// everyone, without canaries, and as if the operator had just processed it. Shows where a policy leads without
    /// a host.
    #[must_use]
    pub fn to_the_last_host(mut policy: CheckedPolicy) -> Self {
        policy.selector = Selector::default();
        policy.subjects = CheckedSubjects::Everyone;
        policy.generation_lag = None;
        if let Some(rollout) = &mut policy.rollout {
            rollout.canaries = None;
        }
        Self::of(vec![LoadedPolicy::valid(policy)])
    }

    /// Returns the policies that apply to a host and to the person who acts there, to evaluate many components.
    pub fn for_host<'a>(&'a self, host: Host<'a>) -> HostPolicies<'a> {
        HostPolicies::new(&self.policies, host)
    }
}
