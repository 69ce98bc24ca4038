//! Which version of d8 to move to: the walk over what is published, and the verdict on each.

use d8_agent::cluster::{CachedPolicies, ClusterView, RecordSelection};
use d8_crds::{
    decisions::{
        intent::Intent,
        selection::{Installed, Limits, PublishedVersion, Selection, VersionWalk},
        verdict::{Candidate, Guidance, PolicySet, Verdict},
    },
    values::{digest::Digest, name::Component, version::Version},
};

use crate::{
    catalog::Catalog,
    context::Context,
    running_d8::{Current, Own},
    terminal::failure::{Code, Failure},
    version::PRODUCT,
};

/// What the cluster says of d8.
pub(crate) struct Known {
    view: ClusterView,
    policies: PolicySet,
    pub(crate) catalog: Catalog,
}

/// What a search came to, with the verdict on each version passed over.
pub(crate) type Chosen = Selection<Verdict>;

impl Known {
    /// Asks the cluster, and the proxy where there is no record.
    ///
    /// # Errors
    /// Either cannot be reached or refuses: exit 5.
    pub(crate) async fn fetch(context: &Context, named: Option<&str>) -> Result<Self, Failure> {
        let view = context.view(RecordSelection::Named(&[Component::D8])).await?;
        let record = view.records.get(Component::D8_NAME);
        let catalog = Catalog::open_for(context, record, &Component::D8, named).await?;
        Ok(Self { policies: view.policy_set(), view, catalog })
    }

    /// The verdict on one version.
    pub(crate) fn judge(&self, context: &Context, question: &Question<'_>) -> Verdict {
        let case = question.case(context).server_time(self.view.server_time).confirmed(Some(self.view.confirmed));
        self.policies.judge(&case.release(self.catalog.record()))
    }

    /// What the policies say before any version is judged: whether the current one must be left, too.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) fn guidance(&self, context: &Context, own: &Own, current: &Current) -> Result<Guidance, Failure> {
        let (host, digests) = (context.host(), own.active_digests()?);
        let Some(active) = current.version() else { return Ok(self.policies.guidance(&host, &Component::D8, None)) };
        let case = Candidate::new(host, &Component::D8, active, Intent::Update, context.now)
            .server_time(self.view.server_time)
            .confirmed(Some(self.view.confirmed))
            .active_digests(&digests)
            .release(self.catalog.record());
        Ok(self.policies.guidance_for(&case))
    }

    /// The newest version against which nothing stands.
    ///
    /// # Errors
    /// A version that is published broken stops the search, naming it.
    pub(crate) async fn choose(&self, context: &Context, own: &Own, current: &Current) -> Result<Chosen, Failure> {
        let active_digests = own.active_digests()?;
        let guidance = self.guidance(context, own, current)?;
        let installed = current.version().map_or(Installed::Unversioned, Installed::Version);
        let mut chosen = Selection::Keep { passed_over: Vec::new() };
        for limits in guidance.searches(current.version()) {
            chosen = self.search(context, current, installed, limits, &active_digests).await?;
            if matches!(chosen, Selection::Install { .. }) {
                break;
            }
        }
        Ok(chosen)
    }

    async fn search(
        &self,
        context: &Context,
        current: &Current,
        installed: Installed<'_>,
        limits: Limits,
        active_digests: &[Digest],
    ) -> Result<Chosen, Failure> {
        let mut walk = VersionWalk::new(self.catalog.listing(), installed, limits);
        while let Some(published) = walk.current() {
            let unmet = self.unmet(context, published).await?;
            let judgement = self.judge(
                context,
                &Question {
                    version: &published.version,
                    intent: Intent::Update,
                    current,
                    active_digests,
                    stored: None,
                    unmet: &unmet,
                    unaware: None,
                },
            );
            if judgement.is_eligible() {
                break;
            }
            walk.pass_over(judgement);
        }
        Ok(walk.finish())
    }

    /// What stands against a version beside policies.
    pub(crate) async fn unmet(&self, context: &Context, published: &PublishedVersion) -> Result<Vec<String>, Failure> {
        let findings = self.catalog.offer(context, published).await?.findings;
        Ok(findings.unmet.into_iter().chain(findings.unchecked).collect())
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
    pub(crate) unmet: &'a [String],
    /// It was run and does not know policies, which the person accepts or not.
    pub(crate) unaware: Option<bool>,
}

impl<'a> Question<'a> {
    /// The case, without what only the cluster can say.
    fn case(&'a self, context: &'a Context) -> Candidate<'a> {
        let case = Candidate::new(context.host(), &Component::D8, self.version, self.intent, context.now)
            .active(self.current.version())
            .active_digests(self.active_digests)
            .unmet(self.unmet);
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
