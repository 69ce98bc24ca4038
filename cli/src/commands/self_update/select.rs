//! Which version of d8 to switch to: the plan for d8, and verdicts by policies that were kept.

use std::collections::BTreeMap;

use d8_agent::cluster::{CachedPolicies, ClusterView, RecordSelection};
use d8_crds::{
    decisions::{
        intent::Intent,
        plan::{Outcome, PlanError, Request, StoredDigests},
        selection::TagList,
        verdict::{Candidate, Reason, Verdict},
    },
    values::{digest::Digest, name::Component, version::Version},
};

use crate::{
    catalog::Offer,
    context::Context,
    planning::Planning,
    running_d8::{Current, Own},
    terminal::failure::{Code, Failure},
    version::PRODUCT,
};

/// The published versions of d8, and the plan for it.
pub(crate) struct D8Planning<'a> {
    planning: Planning<'a>,
    list: TagList,
}

impl<'a> D8Planning<'a> {
    /// Fetches policies and published versions. If `named` is not in the record, the versions come from the
    /// proxy.
    ///
    /// # Errors
    /// The cluster or the proxy cannot be reached or refuses the request: exit 5.
    pub(crate) async fn fetch(
        context: &'a Context,
        own: &Own,
        current: &Current,
        named: Option<&Version>,
    ) -> Result<Self, Failure> {
        let view: ClusterView = context.view(RecordSelection::Named(&[Component::D8])).await?;
        let digests = StoredDigests { active: own.active_digests()?, stored: stored_digests(own)? };
        let mut planning = Planning::of_d8(context, view, current.version(), digests);
        let list = planning.published(&Component::D8, named).await?.listing().clone();
        Ok(Self { planning, list })
    }

    /// The published versions.
    pub(crate) fn list(&self) -> &TagList {
        &self.list
    }

    /// Returns the verdict on one version by the cluster's policies and record.
    pub(crate) fn evaluate(&self, context: &Context, question: &Question<'_>) -> Verdict {
        self.planning.policies().judge(&self.planning.with_view(question.case(context)))
    }

    /// Returns why the active version must be left, if policies forbid it.
    pub(crate) fn must_leave(&self) -> Option<Reason> {
        self.planning.must_leave(&Component::D8)
    }

    /// Chooses the version that `request` leads to.
    ///
    /// # Errors
    /// A contract that cannot be read, and requirements that cannot be checked: exit 5.
    pub(crate) async fn choose(&mut self, request: Request) -> Result<Outcome, Failure> {
        let (_, mut plan) = self.planning.plan(BTreeMap::from([(Component::D8, request)]), false).await;
        match plan.outcomes.remove(&Component::D8) {
            Some(Outcome::Stopped(error)) => Err(self.stopped(&error)),
            Some(outcome) => Ok(outcome),
            None => Err(Failure::new(Code::Failed, format!("no version of {PRODUCT} was planned"))),
        }
    }

    fn stopped(&self, error: &PlanError) -> Failure {
        match error {
            PlanError::Fact { need, message } => self.planning.failure(need).cloned().unwrap_or_else(|| {
                Failure::new(Code::Failed, message.clone()).advise("what is published is broken", error.fix())
            }),
            PlanError::Unchecked { version, unchecked, .. } => {
                let failure =
                    Failure::new(Code::Unreachable, format!("requirements of {PRODUCT} {version} cannot be checked"));
                unchecked.iter().fold(failure, |failure, why| failure.because(why.as_str())).or_skip_checks(&PRODUCT)
            }
            PlanError::Unreadable { .. } => Failure::new(Code::Failed, error.to_string()),
        }
    }

    /// Returns what an install of a chosen version needs to know.
    ///
    /// # Errors
    /// The version was not chosen by [`Self::choose`].
    pub(crate) fn offer(&self, version: &Version) -> Result<&Offer, Failure> {
        self.planning
            .offer(&Component::D8, version)
            .ok_or_else(|| Failure::new(Code::Failed, format!("{PRODUCT} {version} was not chosen")))
    }
}

/// One question about one version.
pub(crate) struct Question<'a> {
    pub(crate) version: &'a Version,
    pub(crate) intent: Intent,
    pub(crate) current: &'a Current,
    pub(crate) active_digests: &'a [Digest],
    /// Its digests, if it is in the store.
    pub(crate) stored: Option<&'a [Digest]>,
    /// It was run and does not know policies, which the person accepts or not.
    pub(crate) unaware: Option<bool>,
}

impl<'a> Question<'a> {
    /// The case, without what only the cluster can say.
    fn case(&'a self, context: &'a Context) -> Candidate<'a> {
        let case = Candidate::new(context.host(), &Component::D8, self.version, self.intent, context.now)
            .active(self.current.version())
            .active_digests(self.active_digests);
        let case = self.stored.map_or(case, |digests| case.stored(digests));
        self.unaware.map_or(case, |allowed| case.unaware(true, allowed))
    }
}

/// The verdicts by what was kept of each cluster's policies: the cluster is not asked.
///
/// # Errors
/// A kept copy that cannot be read.
pub(crate) fn judge_kept(
    context: &Context,
    question: &Question<'_>,
) -> Result<Vec<(CachedPolicies, Verdict)>, Failure> {
    let judged = |kept: CachedPolicies| {
        let judgement = kept.policy_set().judge(&question.case(context).confirmed(Some(kept.confirmed)));
        (kept, judgement)
    };
    Ok(context.all_kept_policies()?.into_iter().map(judged).collect())
}

/// The proxy or the record knows of no version at all.
pub(crate) fn nothing_published() -> Failure {
    Failure::new(Code::Failed, format!("no version of {PRODUCT} is published"))
        .advise("the cluster's registry has none, or none that is stable", "see all tags: d8 cli versions")
}

/// Returns the versions in the store with the digests in their receipts.
fn stored_digests(own: &Own) -> Result<BTreeMap<Version, Vec<Digest>>, Failure> {
    let Ok(store) = own.store() else { return Ok(BTreeMap::new()) };
    Ok(store.versions()?.into_iter().map(|stored| (stored.version.clone(), stored.digests())).collect())
}
