//! The verdict on one version, as the planner requests it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    decisions::{
        intent::Intent,
        requirements::{Findings, Unchecked, Unmet},
        verdict::{Candidate, Class, Host, HostPolicies, NextVersion, PolicySet, Reason, Required, Verdict},
    },
    records::release::CliRelease,
    values::{channel::Channel, digest::Digest, name::Component, version::Version},
};

/// A request for the verdict on one version of one component.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationRequest<'a> {
    /// The component of the version: d8 or a plugin.
    pub component: &'a Component,
    /// The version to evaluate.
    pub version: &'a Version,
    /// Who requests the version, and whether they named it.
    pub intent: Intent,
    /// The version that was active before the plan.
    pub active: Option<&'a Version>,
    /// The requirements on the cluster that are not met. The planner checks those on plugins itself.
    pub unmet: &'a [Unmet],
    /// The requirements on the cluster that could not be checked.
    pub unchecked: &'a [Unchecked],
    /// The version that needs this one and is eligible itself. Its wave then applies instead of the wave of
    /// the dependency.
    pub dependency_of: Option<(&'a Component, &'a Version)>,
}

/// Evaluates versions. The same request always has the same verdict.
pub trait Evaluator {
    /// Returns whether this version may be installed now.
    fn evaluate(&self, request: &EvaluationRequest<'_>) -> Verdict;

    /// Returns why the active version is forbidden and must be replaced, if it is. `request` is for that version.
    fn active_forbidden(&self, request: &EvaluationRequest<'_>) -> Option<Reason> {
        let verdict = self.evaluate(request);
        verdict.reasons().iter().find(|reason| reason.class() == Class::Forbidden).cloned()
    }

    /// Returns which versions of a requested component are considered. Of a dependency, only stable
    /// versions are.
    fn channel(&self, component: &Component) -> Channel {
        let _ = component;
        Channel::Stable
    }

    /// Returns the policy that requires the component on this host, if there is one.
    fn required(&self, component: &Component) -> Option<Required> {
        let _ = component;
        None
    }
}

impl<F: Fn(&EvaluationRequest<'_>) -> Verdict> Evaluator for F {
    fn evaluate(&self, request: &EvaluationRequest<'_>) -> Verdict {
        self(request)
    }
}

/// What a store knows about the versions of one component.
#[derive(Debug, Clone, Default)]
pub struct StoredDigests {
    /// The digests in the receipt of the active version: of its layer and its manifest. Empty: not known.
    pub active: Vec<Digest>,
    /// The intact versions that were active here before, with their digests.
    pub stored: BTreeMap<Version, Vec<Digest>>,
    /// The versions of d8 that were tested here and do not support policies.
    pub policy_unaware: BTreeSet<Version>,
}

/// Evaluates versions by the policies of one cluster, for one host at one time.
#[derive(Debug, Clone)]
pub struct PolicyEvaluator<'a> {
    policies: HostPolicies<'a>,
    host: Host<'a>,
    now: Timestamp,
    server_time: Option<Timestamp>,
    confirmed: Option<Timestamp>,
    records: &'a BTreeMap<String, CliRelease>,
    on_disk: Option<&'a BTreeMap<Component, StoredDigests>>,
    required: Arc<BTreeMap<Component, Required>>,
    allow_ungoverned: bool,
}

impl<'a> PolicyEvaluator<'a> {
    /// `records` are by component name; `now` is the local clock's time.
    pub fn new(set: &'a PolicySet, host: Host<'a>, now: Timestamp, records: &'a BTreeMap<String, CliRelease>) -> Self {
        Self::of_policies(set.for_host(host), now, records)
    }

    /// Evaluates by the policies of a host. `records` are by component name; `now` is the local clock's time.
    pub fn of_policies(policies: HostPolicies<'a>, now: Timestamp, records: &'a BTreeMap<String, CliRelease>) -> Self {
        let required = policies.required().into_iter();
        let required = required.map(|required| (Component::Plugin(required.plugin.clone()), required)).collect();
        Self {
            host: policies.host(),
            policies: policies.prepared_for(now),
            now,
            server_time: None,
            confirmed: None,
            records,
            on_disk: None,
            required: Arc::new(required),
            allow_ungoverned: false,
        }
    }

    /// Evaluates for another host that the same policies select, and of which it is a canary as this one is.
    #[must_use]
    pub fn for_twin(&self, host: Host<'a>) -> Self {
        let Self { policies, host: _, now, server_time, confirmed, records, on_disk, required, allow_ungoverned } =
            self;
        Self {
            policies: policies.for_twin(host),
            host,
            now: *now,
            server_time: *server_time,
            confirmed: *confirmed,
            records,
            on_disk: *on_disk,
            required: Arc::clone(required),
            allow_ungoverned: *allow_ungoverned,
        }
    }

    /// Returns the policies of the host.
    pub fn policies(&self) -> &HostPolicies<'a> {
        &self.policies
    }

    /// Returns the components that the policies require.
    pub fn required_components(&self) -> impl Iterator<Item = &Component> {
        self.required.keys()
    }

    /// Sets the API server's time, by which the local clock is checked, and when the server last confirmed
    /// the policies.
    #[must_use]
    pub fn by_server(mut self, time: Option<Timestamp>, confirmed: Option<Timestamp>) -> Self {
        self.server_time = time;
        self.confirmed = confirmed;
        self
    }

    /// Sets what the host's stores contain.
    #[must_use]
    pub fn on_disk(mut self, on_disk: &'a BTreeMap<Component, StoredDigests>) -> Self {
        self.on_disk = Some(on_disk);
        self
    }

    /// Sets whether the person accepts a d8 that does not support policies.
    #[must_use]
    pub fn allow_ungoverned(mut self, allowed: bool) -> Self {
        self.allow_ungoverned = allowed;
        self
    }

    /// Evaluates whether the active version may run.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, component: &Component, active: &Version) -> Result<(), Box<Reason>> {
        self.policies.run_allowed_for(&self.candidate(&EvaluationRequest {
            component,
            version: active,
            intent: Intent::Repair,
            active: Some(active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        }))
    }

    /// Returns the version of a component that the agent of this host will install first, if nothing changes but the
    /// time: of those in the record that are newer than the active one.
    pub fn next(&self, component: &Component, active: Option<&Version>) -> Option<NextVersion> {
        let recorded = self.records.get(component.name())?.status.iter().flat_map(|status| &status.versions);
        let parsed = recorded.filter_map(|entry| Some((Version::parse(&entry.version).ok()?, entry)));
        let newer = parsed.filter(|(version, _)| active.is_none_or(|active| version > active));
        let platform = self.host.platform;
        let versions: Vec<_> = newer.map(|(version, entry)| (version, Findings::recorded(entry, platform))).collect();
        let requests: Vec<_> = versions
            .iter()
            .map(|(version, findings)| EvaluationRequest {
                component,
                version,
                intent: Intent::Agent,
                active,
                unmet: &findings.unmet,
                unchecked: &findings.unchecked,
                dependency_of: None,
            })
            .collect();
        let candidates: Vec<_> = requests.iter().map(|request| self.candidate(request)).collect();
        self.policies.next(&candidates)
    }

    /// Evaluates whether the active version, which the request is for, may stay.
    pub fn staying(&self, request: &EvaluationRequest<'_>) -> Verdict {
        self.policies.staying(&self.candidate(request))
    }

    /// Evaluates whether the version may be installed at a later time, if nothing else changes.
    pub fn evaluate_at(&self, request: &EvaluationRequest<'_>, at: Timestamp) -> Verdict {
        self.policies.evaluate_at(&self.candidate(request), at)
    }

    fn candidate<'r>(&'r self, request: &EvaluationRequest<'r>) -> Candidate<'r> {
        let candidate = Candidate::new(self.host, request.component, request.version, request.intent, self.now)
            .server_time(self.server_time)
            .confirmed(self.confirmed)
            .active(request.active)
            .release(self.records.get(request.component.name()))
            .brought_in(request.dependency_of.is_some())
            .unmet(request.unmet)
            .unchecked(request.unchecked);
        let Some(on_disk) = self.on_disk.and_then(|all| all.get(request.component)) else { return candidate };
        let is_unaware = on_disk.policy_unaware.contains(request.version);
        let candidate = candidate.active_digests(&on_disk.active).unaware(is_unaware, self.allow_ungoverned);
        match on_disk.stored.get(request.version) {
            Some(digests) => candidate.stored(digests),
            None => candidate,
        }
    }
}

impl Evaluator for PolicyEvaluator<'_> {
    fn evaluate(&self, request: &EvaluationRequest<'_>) -> Verdict {
        self.policies.evaluate(&self.candidate(request))
    }

    fn active_forbidden(&self, request: &EvaluationRequest<'_>) -> Option<Reason> {
        self.policies.guidance_for(&self.candidate(request)).active_forbidden
    }

    fn channel(&self, component: &Component) -> Channel {
        self.policies.guidance(component, None).channel
    }

    fn required(&self, component: &Component) -> Option<Required> {
        self.required.get(component).cloned()
    }
}
