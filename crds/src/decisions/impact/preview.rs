//! The plan for some components of one host under one set of policies, in summary.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{facts::HostFacts, published};
use crate::{
    decisions::{
        intent::Intent,
        plan::{
            Actor, DependencyPolicy, Destination, EvaluationRequest, Evaluator as _, InstalledComponent, KnownFacts,
            Outcome, Plan, PlanOptions, PlanStep, PolicyEvaluator, Request, Snapshot, StoredDigests, plan,
        },
        verdict::{Class, Host, HostPolicies, NextVersion, Reason, Verdict},
    },
    records::{policy::MajorUpdates, release::CliRelease},
    values::{name::Component, version::Version},
};

/// Where policies lead one component of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostImpact {
    /// Forbidden: the active version must be replaced. Otherwise the verdict on `target`.
    pub verdict: Class,
    /// The version that would be installed now (Eligible, Forbidden) or when its hold ends (Held); the active
    /// version, where nothing newer can be installed. None: no version can be installed.
    #[serde(serialize_with = "serialize_version")]
    pub target: Option<Version>,
    /// Whether the active version may run.
    pub runs: bool,
    /// Why the active version must be replaced, why the target is held, or why the newest version was passed
    /// over. After an edit that stops the former target: what stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the agent of a managed host will install first, if nothing changes but the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextVersion>,
}

impl HostImpact {
    /// Returns the impact on a host that waves reach at other times, in the same order.
    pub(super) fn for_times(&self, translate: &impl Fn(Timestamp) -> Timestamp) -> Self {
        Self {
            reason: self.reason.as_ref().map(|reason| reason.for_times(translate)),
            next: self.next.as_ref().map(|next| next.for_times(translate)),
            ..self.clone()
        }
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn serialize_version<S: serde::Serializer>(
    version: &Option<Version>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match version {
        Some(version) => serializer.collect_str(version),
        None => serializer.serialize_none(),
    }
}

/// What is planned: some components of one host, at one time. All that depends on the policies is in the evaluator.
pub(super) struct HostPreview<'a> {
    pub(super) machine: &'a HostFacts,
    /// Who acts: verdicts are for the agent or for a person.
    pub(super) actor: Actor,
    /// The components to plan. Nothing else on the host depends on them, or they on it.
    pub(super) components: &'a BTreeSet<&'a Component>,
    pub(super) records: &'a BTreeMap<String, CliRelease>,
    pub(super) now: Timestamp,
}

/// The policies of hosts that the same policies select, before or after the edit.
#[derive(Debug, Clone)]
pub(super) struct Side<'a> {
    pub(super) evaluator: PolicyEvaluator<'a>,
    missing_dependencies: DependencyPolicy,
}

/// Where policies lead components of a host.
pub(super) type Previews = BTreeMap<Component, ComponentPreview>;

/// Where policies lead one component, and how it was planned.
#[derive(Debug, Clone)]
pub(super) struct ComponentPreview {
    pub(super) impact: HostImpact,
    pub(super) outcome: Outcome,
}

impl<'a> Side<'a> {
    pub(super) fn new(policies: HostPolicies<'a>, now: Timestamp, records: &'a BTreeMap<String, CliRelease>) -> Self {
        let missing = policies.missing_dependencies_refused().map(|by| DependencyPolicy::Refuse { by });
        let evaluator = PolicyEvaluator::of_policies(policies, now, records).by_server(None, Some(now));
        Self { evaluator, missing_dependencies: missing.unwrap_or_default() }
    }

    /// Returns the same for another host.
    pub(super) fn for_twin(&self, host: Host<'a>) -> Self {
        Self { evaluator: self.evaluator.for_twin(host), missing_dependencies: self.missing_dependencies.clone() }
    }

    pub(super) fn policies(&self) -> &HostPolicies<'a> {
        self.evaluator.policies()
    }
}

impl<'a> HostPreview<'a> {
    /// Returns where policies lead each component that is active or required.
    pub(super) fn evaluate(&self, side: &Side<'_>, known: &mut KnownFacts) -> Previews {
        let on_disk = self.on_disk();
        let evaluator = side.evaluator.clone().on_disk(&on_disk);
        let required = evaluator.required_components().filter(|component| self.components.contains(component));
        let requested = self.active().map(|(component, _)| component).chain(required);
        let requests = requested.map(|component| (component.clone(), newest(evaluator.policies(), component)));
        let plan = complete(&self.snapshot(side, requests.collect()), known, &evaluator);
        let summary = |(component, outcome): (Component, Outcome)| {
            let impact = self.summary(&evaluator, &component, &outcome);
            (component, ComponentPreview { impact, outcome })
        };
        plan.outcomes.into_iter().map(summary).collect()
    }

    /// Returns whether a request for one component leads to another version of it, or might if requirements that could
    /// not be checked are met.
    pub(super) fn replaces(
        &self,
        side: &Side<'_>,
        known: &mut KnownFacts,
        component: &Component,
        request: Request,
    ) -> bool {
        let on_disk = self.on_disk();
        let evaluator = side.evaluator.clone().on_disk(&on_disk);
        let snapshot = self.snapshot(side, BTreeMap::from([(component.clone(), request)]));
        let plan = complete(&snapshot, known, &evaluator);
        matches!(plan.outcomes.get(component), Some(Outcome::Take { .. } | Outcome::Unchecked { .. }))
    }

    /// Returns the digests of the active versions.
    pub(super) fn on_disk(&self) -> BTreeMap<Component, StoredDigests> {
        let stored = |active: &super::ActiveComponent| StoredDigests {
            active: active.digests.clone(),
            ..StoredDigests::default()
        };
        self.active().map(|(component, active)| (component.clone(), stored(active))).collect()
    }

    /// The active components. Of a d8 whose version is not known, such as a development build, policies say
    /// nothing.
    fn active(&self) -> impl Iterator<Item = (&'a Component, &'a super::ActiveComponent)> {
        let active = self.components.iter().filter_map(|component| self.machine.active.get_key_value(*component));
        active.filter(|(component, active)| **component != Component::D8 || active.version.is_some())
    }

    fn snapshot(&self, side: &Side<'_>, requests: BTreeMap<Component, Request>) -> Snapshot {
        let installed = self.active().map(|(component, active)| {
            let release = self.records.get(component.name());
            (component.clone(), InstalledComponent::recorded(active.version.clone(), release))
        });
        let missing = side.missing_dependencies.clone();
        let options = PlanOptions { actor: self.actor, missing, ..PlanOptions::default() };
        Snapshot { installed: installed.collect(), requests, options }
    }

    fn summary(&self, evaluator: &PolicyEvaluator<'_>, component: &Component, outcome: &Outcome) -> HostImpact {
        let active = self.active_version(component);
        let forbidden = active.and_then(|active| evaluator.active_forbidden(&self.request(component, active)));
        let runs = active.is_none_or(|active| evaluator.run_allowed(component, active).is_ok());
        let newest = outcome.passed_over().first().map(|(_, verdict)| verdict);
        let leading = |verdict: Option<&Verdict>| verdict.and_then(Verdict::leading).cloned();
        let destination = outcome.destination(active, forbidden.is_some());
        let target = destination.target().cloned();
        let (verdict, reason) = match (destination, forbidden) {
            (_, Some(forbidden)) => (Class::Forbidden, Some(forbidden)),
            (Destination::Takes(_), None) => (Class::Eligible, None),
            (Destination::Waits(_, verdict), None) => (Class::Held, leading(Some(verdict))),
            (Destination::Stays(_), None) => (Class::Eligible, leading(newest)),
            // It is required, and no version can be installed.
            (Destination::MustGo | Destination::Nowhere, None) => {
                (newest.map_or(Class::Unfit, Verdict::class), leading(newest))
            }
        };
        let next = (self.actor == Actor::Agent).then(|| evaluator.next(component, active)).flatten();
        HostImpact { verdict, target, runs, reason, next }
    }

    /// Returns the active version of a component, if it is known.
    pub(super) fn active_version(&self, component: &Component) -> Option<&'a Version> {
        self.machine.active.get(component)?.version.as_ref()
    }

    /// Returns the request for the verdict on the active version, or on another one whose requirements are met.
    pub(super) fn request<'r>(&self, component: &'r Component, version: &'r Version) -> EvaluationRequest<'r> {
        let intent = if self.actor == Actor::Agent { Intent::Agent } else { Intent::Update };
        EvaluationRequest {
            component,
            version,
            intent,
            active: Some(version),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        }
    }
}

/// Plans with what records contain.
fn complete(snapshot: &Snapshot, known: &mut KnownFacts, evaluator: &PolicyEvaluator<'_>) -> Plan {
    loop {
        match plan(snapshot, known, evaluator) {
            PlanStep::Done(plan) => return plan,
            PlanStep::Fetch(requests) => {
                for request in requests {
                    published::insert_missing(known, request);
                }
            }
        }
    }
}

/// Returns the request for the newest version. Of d8 the verdict decides whether another major may be entered.
pub(super) fn newest(policies: &HostPolicies<'_>, component: &Component) -> Request {
    match component {
        Component::D8 => Request::NewestOfAll,
        Component::Plugin(_) if policies.guidance(component, None).major_updates == MajorUpdates::Cross => {
            Request::NewestOfAll
        }
        Component::Plugin(_) => Request::Newest,
    }
}
