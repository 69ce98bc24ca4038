//! Decides which version of d8 to switch to. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use d8_agent::{
    cluster::{CachedPolicies, ClusterView, RecordSelection},
    d8_store::D8Version,
};
use d8_crds::{
    decisions::{
        agent_report::ActiveArtifact,
        intent::Intent,
        plan::{Outcome, PassedOver, Request, StoredDigests},
        selection::{PublishedVersion, TagList},
        verdict::{Candidate, Host, Person, PolicySet, Reason, Verdict},
    },
    records::release::CliRelease,
    values::{digest::Digest, name::Component, version::Version},
};

use super::capabilities::POLICY;
use crate::{
    catalog::VersionDetails,
    context::Context,
    planning::{
        Planning,
        messages::{lookup_failure, none_eligible_failure, plan_failure, refused_failure, unchecked_failure},
    },
    running_d8::{CurrentVersion, RunningD8},
    terminal::failure::{Code, Failure},
    version::{self, PRODUCT},
};

/// The published versions of d8, and the plan for it.
pub(in crate::commands) struct D8Planning<'a> {
    context: &'a Context,
    planning: Planning<'a>,
    versions: TagList,
    /// The versions in the store that were tested for support of policies.
    tested: BTreeSet<Version>,
}

/// What `d8 cli update` does.
pub(super) enum Choice {
    /// Switches to a version.
    Switch { version: PublishedVersion, skipped: Vec<PassedOver> },
    /// Keeps the current version.
    Keep { skipped: Vec<PassedOver> },
}

impl<'a> D8Planning<'a> {
    /// Fetches policies and published versions. If `named` is not in the record, the versions come from the proxy.
    ///
    /// # Errors
    /// The cluster or the proxy is unreachable or refuses the request: exit 5.
    pub(super) async fn fetch(
        context: &'a Context,
        d8: &RunningD8,
        current: &CurrentVersion,
        named: Option<&Version>,
    ) -> Result<Self, Failure> {
        let view = context.view(RecordSelection::Named(&[Component::D8])).await?;
        Self::of_view(context, view, (d8, current), named).await
    }

    /// As [`Self::fetch`], by policies and records that were read.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub(in crate::commands) async fn of_view(
        context: &'a Context,
        view: ClusterView,
        (d8, current): (&RunningD8, &CurrentVersion),
        named: Option<&Version>,
    ) -> Result<Self, Failure> {
        let stored = stored_versions(d8)?;
        let digests = StoredDigests {
            active: d8.active_digests()?,
            stored: stored.iter().map(|stored| (stored.version.clone(), stored.digests())).collect(),
            policy_unaware: stored
                .iter()
                .filter(|stored| lacks_policies(stored))
                .map(|stored| stored.version.clone())
                .collect(),
        };
        let tested = stored.into_iter().map(|stored| stored.version).collect();
        let mut planning = Planning::of_d8(context, view, current.version(), digests);
        let versions = planning.published(&Component::D8, named).await?.listing().clone();
        Ok(Self { context, planning, versions, tested })
    }

    /// Plans for the agent of this machine.
    pub(in crate::commands) fn for_agent(self) -> Self {
        Self { planning: self.planning.for_agent(), ..self }
    }

    /// Returns what the agent reports of the current version: what is active, and why a policy forbids it.
    pub(in crate::commands) fn active(&self) -> (ActiveArtifact, Option<Reason>) {
        let version = self.planning.active(&Component::D8).cloned();
        (ActiveArtifact { version, digest: self.planning.active_layer(&Component::D8) }, self.forbidden())
    }

    /// Returns the verdict on a version, with its requirements.
    ///
    /// # Errors
    /// Its contract cannot be read.
    pub(in crate::commands) async fn verdict(
        &mut self,
        published: &PublishedVersion,
        intent: Intent,
    ) -> Result<Verdict, Failure> {
        self.planning.verdict(&Component::D8, published, intent).await
    }

    /// Returns the digest of the layer that the record has of a version, for this machine.
    pub(in crate::commands) fn recorded_layer(&self, published: &PublishedVersion) -> Option<Digest> {
        self.planning.recorded_layer(&Component::D8, published)
    }

    /// Returns the records that the plan is made from.
    pub(in crate::commands) fn records(&self) -> &BTreeMap<String, CliRelease> {
        self.planning.records()
    }

    /// Plans as if a version were not published.
    pub(in crate::commands) fn leave_out(&mut self, version: &Version) {
        self.planning.leave_out(&Component::D8, version);
    }

    /// Plans the newest version. Returns the outcome, whatever it is.
    pub(in crate::commands) async fn outcome(&mut self, request: Request) -> Option<Outcome> {
        let (_, mut plan) = self.planning.plan(BTreeMap::from([(Component::D8, request)]), false).await;
        plan.outcomes.remove(&Component::D8)
    }

    /// Sets whether the person accepts a version that does not support policies.
    pub(super) fn allow_ungoverned(self, allowed: bool) -> Self {
        Self { planning: self.planning.allow_ungoverned(allowed), ..self }
    }

    /// Adds a version that was tested and does not support policies. Returns whether that is new.
    pub(super) fn add_policy_unaware(&mut self, version: &Version) -> bool {
        self.planning.add_policy_unaware(&Component::D8, version)
    }

    /// Notes that only a download shows whether a version is taken, if that is so: one that does not support policies is
    /// not.
    pub(super) fn note_untested(&self, version: &Version) {
        if !self.tested.contains(version) {
            self.context.printer.note(format!(
                "{PRODUCT} {version} is not taken if its download shows that it does not support policies"
            ));
        }
    }

    /// Returns the published versions.
    pub(super) fn versions(&self) -> &TagList {
        &self.versions
    }

    /// Returns the verdict on a version by the policies and the record of the cluster.
    pub(super) fn evaluate(&self, candidate: &D8Candidate<'_>) -> Verdict {
        let candidate = self.planning.with_view(candidate.candidate(self.planning.host(), self.context));
        self.planning.policies().evaluate(&candidate)
    }

    /// Returns why the current version is no longer permitted, if policies forbid it.
    pub(super) fn forbidden(&self) -> Option<Reason> {
        self.planning.forbidden(&Component::D8)
    }

    /// Plans a request.
    ///
    /// # Errors
    /// No version is published, a contract cannot be read, or requirements cannot be checked (exit 5).
    pub(super) async fn plan(&mut self, request: Request) -> Result<Outcome, Failure> {
        match self.outcome(request).await {
            Some(Outcome::Stopped(error)) => Err(plan_failure(&self.planning, &Component::D8, &error)),
            Some(Outcome::Unchecked { version, verdict, .. }) => {
                Err(unchecked_failure(&Component::D8, &version.tag, &verdict))
            }
            Some(outcome @ (Outcome::Take { .. } | Outcome::NotPublished(_))) => Ok(outcome),
            Some(_) if self.versions.published.is_empty() => Err(nothing_published()),
            Some(outcome) => Ok(outcome),
            None => Err(Failure::new(Code::Failed, format!("internal error: {PRODUCT} was not planned"))),
        }
    }

    /// Chooses the newest permitted version.
    ///
    /// # Errors
    /// As [`Self::plan`], or this is a development build and no version is permitted.
    pub(super) async fn choose_newest(&mut self, current: &CurrentVersion) -> Result<Choice, Failure> {
        match self.plan(Request::NewestOfAll).await? {
            Outcome::Take { version, passed_over } => Ok(Choice::Switch { version, skipped: passed_over }),
            Outcome::Keep { passed_over, .. } if *current == CurrentVersion::Development && !passed_over.is_empty() => {
                Err(none_eligible_failure(&Component::D8, &passed_over)
                    .advise("all published versions were skipped", "see all versions: `d8 cli versions`"))
            }
            outcome => Ok(Choice::Keep { skipped: outcome.passed_over().to_vec() }),
        }
    }

    /// Chooses the version that a person named.
    ///
    /// # Errors
    /// As [`Self::plan`], or the version is not published or may not be installed.
    pub(super) async fn choose_named(&mut self, version: &Version) -> Result<PublishedVersion, Failure> {
        match self.plan(Request::Exact(version.clone())).await? {
            Outcome::Take { version, .. } | Outcome::AlreadyActive { version, .. } => Ok(version),
            Outcome::Refused { version, verdict } => Err(refused_failure(&Component::D8, &version.tag, &verdict)),
            Outcome::NotPublished(error) => Err(lookup_failure(&Component::D8, &error)),
            _ => Err(nothing_published()),
        }
    }

    /// Returns the details of a chosen version.
    ///
    /// # Errors
    /// The version was not chosen, which is a bug.
    pub(in crate::commands) fn details(&self, version: &Version) -> Result<&VersionDetails, Failure> {
        let details = self.planning.details(&Component::D8, version);
        details.ok_or_else(|| {
            Failure::new(Code::Failed, format!("internal error: no details of {PRODUCT} {version} were fetched"))
        })
    }
}

/// A version of d8 to evaluate.
pub(super) struct D8Candidate<'a> {
    pub(super) version: &'a Version,
    pub(super) intent: Intent,
    pub(super) current: &'a CurrentVersion,
    pub(super) active_digests: &'a [Digest],
    /// Digests of the version, if it is in the store.
    pub(super) stored: Option<&'a [Digest]>,
    /// Set if the version does not support policies: whether the person accepts that.
    pub(super) policy_unaware: Option<bool>,
}

impl<'a> D8Candidate<'a> {
    /// Returns the candidate without facts from the cluster.
    fn candidate(&'a self, host: Host<'a>, context: &Context) -> Candidate<'a> {
        let candidate = Candidate::new(host, &Component::D8, self.version, self.intent, context.now)
            .active(self.current.version())
            .active_digests(self.active_digests);
        let candidate = self.stored.map_or(candidate, |digests| candidate.stored(digests));
        self.policy_unaware.map_or(candidate, |accepted| candidate.unaware(true, accepted))
    }
}

/// The cached policies of all clusters, for a switch without the cluster.
pub(in crate::commands) struct CachedPolicySets<'a> {
    context: &'a Context,
    sets: Vec<(CachedPolicies, PolicySet)>,
}

impl<'a> CachedPolicySets<'a> {
    /// Loads the cached policies.
    ///
    /// # Errors
    /// A copy cannot be read.
    pub(super) fn load(context: &'a Context) -> Result<Self, Failure> {
        let cached = context.all_cached_policies()?.into_iter();
        Ok(Self { context, sets: cached.map(|cached| (cached.clone(), cached.policy_set())).collect() })
    }

    /// Returns the verdict of each cluster on a version.
    pub(super) fn evaluate<'s>(
        &'s self,
        candidate: &'s D8Candidate<'_>,
    ) -> impl Iterator<Item = (&'s CachedPolicies, Verdict)> + 's {
        self.sets.iter().map(|(cached, policies)| {
            let host = self.context.host(cached.caller.person());
            let candidate = candidate.candidate(host, self.context).confirmed(Some(cached.confirmed));
            (cached, policies.for_host(host).evaluate(&candidate))
        })
    }

    /// Returns the verdict of each cluster on a version; if no policies are cached, the one without policies.
    pub(super) fn verdicts(&self, candidate: &D8Candidate<'_>) -> Vec<Verdict> {
        match self.without_policies(candidate) {
            Some(verdict) => vec![verdict],
            None => self.evaluate(candidate).map(|(_, verdict)| verdict).collect(),
        }
    }

    /// Returns the verdict on a version if no policies are cached: the owner of the machine may forbid it.
    pub(super) fn without_policies(&self, candidate: &D8Candidate<'_>) -> Option<Verdict> {
        let host = self.context.host(Person::Unknown);
        let candidate = candidate.candidate(host, self.context);
        self.sets.is_empty().then(|| PolicySet::default().for_host(host).evaluate(&candidate))
    }
}

/// Returns the failure when the record or the proxy has no version.
pub(super) fn nothing_published() -> Failure {
    Failure::new(Code::Failed, format!("no version of {PRODUCT} is published"))
        .advise("the registry of the cluster has no stable version of it", "list all versions: `d8 cli versions`")
}

/// Returns the versions in the store; none if there is no store.
fn stored_versions(d8: &RunningD8) -> Result<Vec<D8Version>, Failure> {
    match d8.store() {
        Ok(store) => Ok(store.versions()?),
        Err(_) => Ok(Vec::new()),
    }
}

/// Returns whether a stored version is known not to support policies: by what it reported, or because the former d8
/// installed it and it is no d8 of this implementation. Without a report, the file of a receipt may be damaged, and a
/// switch tests it.
fn lacks_policies(stored: &D8Version) -> bool {
    match (stored.capabilities(), &stored.receipt) {
        (Some(capabilities), _) => capabilities.iter().all(|capability| capability != POLICY),
        (None, Some(_)) => false,
        (None, None) => !version::has_stamp(&stored.binary),
    }
}
