//! The policies of one cluster, read once for many hosts and components.

use serde_json::Value;

use super::{candidate::Host, host_policies::HostPolicies, loaded::LoadedPolicy, local_rules::LocalRules};
use crate::{
    decisions::{
        reason::{Reason, Required},
        validation::{CheckedPolicy, selector::Selector},
        verdict::{Candidate, Guidance, Verdict},
    },
    records::policy::{MissingDependencies, PluginPolicy},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

/// All policies of a cluster, whatever hosts they select. Their order never matters.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    policies: Vec<LoadedPolicy>,
    local_rules: Option<LocalRules>,
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

    fn of(mut policies: Vec<LoadedPolicy>) -> Self {
        policies.sort_by(|a, b| a.name().cmp(b.name()));
        Self { policies, local_rules: None }
    }

    /// Makes a set of one policy as it applies to the host that comes last in its waves: to every host, none
    /// of them a canary, and as if the operator had just processed it. Shows where a policy leads without
    /// a host.
    #[must_use]
    pub fn to_the_last_host(mut policy: CheckedPolicy) -> Self {
        policy.selector = Selector::default();
        policy.generation_lag = None;
        if let Some(rollout) = &mut policy.rollout {
            rollout.canaries = None;
        }
        Self::of(vec![LoadedPolicy::Valid(Box::new(policy))])
    }

    /// Adds the host's own rules, which act as one more policy of that host.
    #[must_use]
    pub fn with_local_rules(mut self, local_rules: LocalRules) -> Self {
        self.local_rules = Some(local_rules);
        self
    }

    /// Returns the policies that apply to a host, to evaluate many components.
    pub fn for_host<'a>(&'a self, host: Host<'a>) -> HostPolicies<'a> {
        HostPolicies::new(&self.policies, self.local_rules.as_ref(), host)
    }

    /// See [`HostPolicies::matching`].
    pub fn matching<'a>(&'a self, host: &Host<'_>) -> Vec<&'a str> {
        self.policies.iter().filter(|policy| policy.selects(host)).map(LoadedPolicy::name).collect()
    }

    /// See [`HostPolicies::judge`].
    pub fn judge(&self, candidate: &Candidate<'_>) -> Verdict {
        self.for_host(candidate.host).judge(candidate)
    }

    /// See [`HostPolicies::run_allowed`].
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, host: &Host<'_>, component: &Component, active: &Version) -> Result<(), Box<Reason>> {
        self.for_host(*host).run_allowed(component, active)
    }

    /// See [`HostPolicies::denied`].
    pub fn denied(&self, host: &Host<'_>, component: &Component) -> Option<Reason> {
        self.for_host(*host).denied(component)
    }

    /// See [`HostPolicies::remove_allowed`].
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn remove_allowed(&self, host: &Host<'_>, plugin: &PluginName) -> Result<(), Box<Reason>> {
        self.for_host(*host).remove_allowed(plugin)
    }

    /// See [`HostPolicies::required`].
    pub fn required(&self, host: &Host<'_>) -> Vec<Required> {
        self.for_host(*host).required()
    }

    /// See [`HostPolicies::guidance`].
    pub fn guidance(&self, host: &Host<'_>, component: &Component, active: Option<&Version>) -> Guidance {
        self.for_host(*host).guidance(component, active)
    }

    /// See [`HostPolicies::guidance_for`].
    pub fn guidance_for(&self, active: &Candidate<'_>) -> Guidance {
        self.for_host(active.host).guidance_for(active)
    }

    /// See [`HostPolicies::missing_dependencies`].
    pub fn missing_dependencies(&self, host: &Host<'_>) -> MissingDependencies {
        self.for_host(*host).missing_dependencies()
    }
}
