//! The plan for one host under one set of policies, in summary.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{facts::HostFacts, published};
use crate::{
    decisions::{
        intent::Intent,
        plan::{
            Actor, Dependencies, DependencyPolicy, EvaluationRequest, Evaluator as _, InstalledComponent,
            InstalledContract, KnownFacts, Outcome, PlanOptions, PlanStep, PolicyEvaluator, Request, Snapshot,
            StoredDigests, plan,
        },
        requirements::Findings,
        verdict::{Class, HostPolicies, NextVersion, PolicySet, Reason, Verdict},
    },
    records::{policy::MajorUpdates, release::CliRelease},
    values::{name::Component, version::Version},
};

/// Where policies lead one component of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostImpact {
    /// Forbidden: the active version must be left. Otherwise the verdict on `target`.
    pub verdict: Class,
    /// The version that would be installed now (Eligible, Forbidden) or when its hold ends (Held); the active
    /// version, where nothing newer can be installed. None: no version can be installed.
    #[serde(serialize_with = "serialize_version")]
    pub target: Option<Version>,
    /// Whether the active version may run.
    pub runs: bool,
    /// Why the active version must be left, why the target is held, or why the newest version was passed
    /// over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the agent of a managed host will install first, if nothing changes but the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextVersion>,
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

/// Plans for one host at one time.
pub(super) struct HostPreview<'a> {
    pub(super) machine: &'a HostFacts,
    pub(super) records: &'a BTreeMap<String, CliRelease>,
    pub(super) known: &'a mut KnownFacts,
    pub(super) now: Timestamp,
}

/// Summarizes the outcomes of one host's plan.
struct ImpactSummarizer<'e> {
    machine: &'e HostFacts,
    evaluator: &'e PolicyEvaluator<'e>,
    records: &'e BTreeMap<String, CliRelease>,
}

impl HostPreview<'_> {
    /// Returns where these policies lead each component that is active or required.
    pub(super) fn evaluate(&mut self, set: &PolicySet) -> BTreeMap<Component, HostImpact> {
        let machine = self.machine;
        let host = machine.as_host();
        let policies = set.for_host(host);
        let on_disk = self.active().map(|(component, active)| {
            (component.clone(), StoredDigests { active: active.digests.clone(), ..StoredDigests::default() })
        });
        let on_disk = on_disk.collect();
        let evaluator =
            PolicyEvaluator::new(set, host, self.now, self.records).by_server(None, Some(self.now)).on_disk(&on_disk);
        let snapshot = self.snapshot(&policies);
        let plan = loop {
            match plan(&snapshot, self.known, &evaluator) {
                PlanStep::Done(plan) => break plan,
                PlanStep::Fetch(requests) => {
                    for request in requests {
                        published::insert_missing(self.known, request);
                    }
                }
            }
        };
        let summarizer = ImpactSummarizer { machine, evaluator: &evaluator, records: self.records };
        let outcomes = plan.outcomes.into_iter();
        outcomes.map(|(component, outcome)| (component.clone(), summarizer.summarize(&component, &outcome))).collect()
    }

    /// The active components. Of a d8 whose version is not known, such as a development build, policies say
    /// nothing.
    fn active(&self) -> impl Iterator<Item = (&Component, &super::ActiveComponent)> {
        let active = self.machine.active.iter();
        active.filter(|(component, active)| **component != Component::D8 || active.version.is_some())
    }

    /// What is active, and requests for the newest version of all that is active or required.
    fn snapshot(&self, policies: &HostPolicies<'_>) -> Snapshot {
        let installed = self.active().map(|(component, active)| {
            let record = self.records.get(component.name());
            let recorded = record.zip(active.version.as_ref()).and_then(|(record, version)| record.recorded(version));
            let contract = match recorded.map(|recorded| Dependencies::read(&recorded.requirements.plugins)) {
                Some(Err(error)) => InstalledContract::Unreadable(error.to_string()),
                Some(Ok(dependencies)) => InstalledContract::Known(dependencies),
                None => InstalledContract::Known(Dependencies::default()),
            };
            (component.clone(), InstalledComponent { version: active.version.clone(), contract })
        });
        let required = policies.required().into_iter().map(|required| Component::Plugin(required.plugin));
        let requested = self.active().map(|(component, _)| component.clone()).chain(required);
        let missing = policies.missing_dependencies_refused().map(|by| DependencyPolicy::Refuse { by });
        let actor = if self.machine.managed { Actor::Agent } else { Actor::Person };
        Snapshot {
            installed: installed.collect(),
            requests: requested.map(|component| (component.clone(), newest(policies, &component))).collect(),
            options: PlanOptions { actor, missing: missing.unwrap_or_default(), ..PlanOptions::default() },
        }
    }
}

/// The request for the newest version. Of d8 the verdict decides whether another major may be entered.
fn newest(policies: &HostPolicies<'_>, component: &Component) -> Request {
    match component {
        Component::D8 => Request::NewestOfAll,
        Component::Plugin(_) if policies.guidance(component, None).major_updates == MajorUpdates::Cross => {
            Request::NewestOfAll
        }
        Component::Plugin(_) => Request::Newest,
    }
}

impl ImpactSummarizer<'_> {
    fn summarize(&self, component: &Component, outcome: &Outcome) -> HostImpact {
        let active = self.machine.active.get(component).and_then(|active| active.version.as_ref());
        let (taken, unchecked) = match outcome {
            Outcome::Take { version, .. } => (Some(version.version.clone()), None),
            Outcome::Unchecked { version, verdict, .. } => (None, Some((version, verdict))),
            _ => (None, None),
        };
        let forbidden = active.and_then(|active| self.active_forbidden(component, active));
        let runs = active.is_none_or(|active| self.evaluator.run_allowed(component, active).is_ok());
        let passed_over = outcome.passed_over();
        let leading = |verdict: &Verdict| verdict.leading().cloned();
        let held = passed_over.iter().map(|(version, verdict)| (version, verdict)).chain(unchecked);
        let held = held.into_iter().find(|(_, verdict)| verdict.class() == Class::Held);
        let newest = passed_over.first().and_then(|(_, verdict)| leading(verdict));
        let (verdict, target, reason) = match (forbidden, taken, held) {
            (Some(forbidden), taken, _) => (Class::Forbidden, taken, Some(forbidden)),
            (None, Some(taken), _) => (Class::Eligible, Some(taken), None),
            (None, None, Some((held, verdict))) => (Class::Held, Some(held.version.clone()), leading(verdict)),
            (None, None, None) if active.is_some() => (Class::Eligible, active.cloned(), newest),
            // It is required, and no version can be installed.
            (None, None, None) => {
                (passed_over.first().map_or(Class::Unfit, |(_, verdict)| verdict.class()), None, newest)
            }
        };
        let next = if self.machine.managed { self.next(component, active) } else { None };
        HostImpact { verdict, target, runs, reason, next }
    }

    /// Returns what the agent will install first of the versions in the record.
    fn next(&self, component: &Component, active: Option<&Version>) -> Option<NextVersion> {
        let recorded = self.records.get(component.name())?.status.iter().flat_map(|status| &status.versions);
        let platform = self.machine.platform.as_ref();
        let parsed = recorded.filter_map(|entry| Some((Version::parse(&entry.version).ok()?, entry)));
        let versions: Vec<_> = parsed.map(|(version, entry)| (version, Findings::recorded(entry, platform))).collect();
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
        self.evaluator.next(&requests)
    }

    fn active_forbidden(&self, component: &Component, active: &Version) -> Option<Reason> {
        let intent = if self.machine.managed { Intent::Agent } else { Intent::Update };
        self.evaluator.active_forbidden(&EvaluationRequest {
            component,
            version: active,
            intent,
            active: Some(active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        })
    }
}
