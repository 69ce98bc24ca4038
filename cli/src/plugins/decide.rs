//! What a person's wish comes to for one plugin: which version, or why none.
//!
//! Gathers what each candidate needs to be judged, newest first and no further than needed. The verdict
//! itself is `d8_crds::verdict`'s, the order of candidates `d8_crds::select`'s.

use std::collections::BTreeMap;

use d8_crds::{
    name::{Component, PluginName},
    policy::MajorUpdates,
    requirements::{self, Findings, PluginRequirements, Requirements},
    select::{Choice, Installed, Limits, LookupError, Published, Walk},
    verdict::{Case, Class, Guidance, Intent, Judgement, PolicySet, Reason},
    version::Version,
};

use crate::{
    catalog::{Catalog, Offer},
    context::Context,
    failure::{Code, Failure},
    installed, output,
};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// The newest, within the installed major if there is one.
    Newest,
    /// The newest of one major.
    Major(u64),
    /// This one.
    Exact(&'a str),
}

impl Wish<'_> {
    fn intent(self) -> Intent {
        match self {
            Self::Newest => Intent::Update,
            Self::Major(_) | Self::Exact(_) => Intent::Explicit,
        }
    }
}

/// What a wish came to: the choice, and what is needed to bring it in.
pub(crate) struct Decision {
    /// With every reason of every version that was passed over.
    pub(crate) choice: Choice<Judgement>,
    /// Of the version to install.
    pub(crate) offer: Option<Offer>,
    /// The major that the search was limited to.
    pub(crate) major: Option<u64>,
    /// Why policy wants what is installed to be left.
    pub(crate) leave: Option<Reason>,
}

/// Judges candidates newest first until one may be taken.
///
/// # Errors
/// A version that is none (2), is not published (1), or was named and is refused (3, 4); whatever stops
/// a search: an unreadable cluster or proxy (5), a malformed contract (1).
pub(crate) async fn decide(
    context: &Context,
    policies: &PolicySet,
    catalog: &Catalog<'_>,
    wish: Wish<'_>,
    active: Option<&Version>,
) -> Result<Decision, Failure> {
    let judge = Judge::new(context, policies, catalog, wish.intent(), active)?;
    if let Wish::Exact(typed) = wish {
        return exact(&judge, typed, active).await;
    }
    let Guidance { channel, major_updates, leave } = policies.guidance(&context.host(), &judge.component, active);
    let major = match wish {
        Wish::Major(major) => Some(major),
        _ if major_updates == MajorUpdates::Cross || leave.is_some() => None,
        _ => active.map(Version::major),
    };
    let limits = Limits { major, channel, may_go_down: leave.is_some() || matches!(wish, Wish::Major(_)) };
    let installed = active.map_or(Installed::No, Installed::Version);
    let mut walk = Walk::new(catalog.listing(), installed, limits);
    let mut offer = None;
    while let Some(published) = walk.current() {
        if active == Some(&published.version) && leave.is_none() {
            break;
        }
        match judge.candidate(published).await? {
            Ok(found) => {
                offer = Some(found);
                break;
            }
            Err(judgement) => walk.pass_over(judgement),
        }
    }
    Ok(Decision { choice: walk.finish(), offer, major, leave })
}

/// One version that was named: it, or its reasons.
async fn exact(judge: &Judge<'_>, typed: &str, active: Option<&Version>) -> Result<Decision, Failure> {
    let published = judge.catalog.expect(typed)?.clone();
    let decision = |choice, offer| Decision { choice, offer, major: None, leave: None };
    if active == Some(&published.version) {
        return Ok(decision(Choice::AlreadyActive { version: published, passed_over: Vec::new() }, None));
    }
    match judge.candidate(&published).await? {
        Ok(offer) => Ok(decision(Choice::Install { version: published, passed_over: Vec::new() }, Some(offer))),
        Err(judgement) => Err(refused(&judge.catalog.name, &published, &judgement)),
    }
}

/// A version that was named and may not be installed.
fn refused(name: &PluginName, published: &Published, judgement: &Judgement) -> Failure {
    let failure = Failure::new(code_of(judgement), format!("{name} {} may not be installed here", published.tag));
    judgement
        .reasons()
        .iter()
        .fold(failure, |failure, reason| failure.because(reason.message.as_str()))
        .advise("the version was named, so no other is tried", format!("d8 plugins why {name}"))
}

/// The exit code of a verdict that is no yes.
pub(crate) fn code_of(judgement: &Judgement) -> Code {
    match judgement.class() {
        Class::Unfit => Code::Requirements,
        Class::Forbidden | Class::Held => Code::Refused,
        Class::Eligible => Code::Failed,
    }
}

/// Asks about versions of one plugin for one intent.
pub(crate) struct Judge<'a> {
    context: &'a Context,
    policies: &'a PolicySet,
    catalog: &'a Catalog<'a>,
    component: Component,
    intent: Intent,
    active: Option<&'a Version>,
    /// The other plugins' versions, and what they demand of this one.
    others: BTreeMap<PluginName, Option<Version>>,
    demands: Vec<(PluginName, Requirements)>,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// A root that cannot be read.
    pub(crate) fn new(
        context: &'a Context,
        policies: &'a PolicySet,
        catalog: &'a Catalog<'a>,
        intent: Intent,
        active: Option<&'a Version>,
    ) -> Result<Self, Failure> {
        let installed = installed::all(context)?;
        let others = installed.iter().map(|(name, found)| (name.clone(), found.version())).collect();
        let demands = installed
            .iter()
            .filter(|(name, _)| **name != catalog.name)
            .filter_map(|(name, found)| {
                let contract = found.store.contract(name).ok().flatten()?;
                Some((name.clone(), on_one(contract.requirements.plugins, &catalog.name)?))
            })
            .collect();
        let component = Component::Plugin(catalog.name.clone());
        Ok(Self { context, policies, catalog, component, intent, active, others, demands })
    }

    fn ask(&self, version: &Version, unmet: &[String]) -> Judgement {
        let case = Case::new(self.context.host(), &self.component, version, self.intent, self.context.now)
            .active(self.active)
            .release(self.catalog.record())
            .unmet(unmet);
        self.policies.judge(&case)
    }

    /// One candidate: what it offers, or why it is passed over. What policy stops is not looked at
    /// further if that would cost a request.
    ///
    /// # Errors
    /// What stops a search.
    pub(crate) async fn candidate(&self, published: &Published) -> Result<Result<Offer, Judgement>, Failure> {
        let by_policy = self.ask(&published.version, &[]);
        if !by_policy.is_eligible() && !self.catalog.recorded(published) {
            return Ok(Err(by_policy));
        }
        let offer = self.catalog.offer(self.context, published).await?;
        let findings = self.findings(&offer, &published.version);
        let judgement = self.ask(&published.version, &findings.unmet);
        if !judgement.is_eligible() {
            return Ok(Err(judgement));
        }
        if !findings.unchecked.is_empty() {
            let what = format!("requirements of {} {} cannot be checked", self.catalog.name, offer.tag);
            let failure = Failure::new(Code::Unreachable, what);
            let failure = findings.unchecked.iter().fold(failure, |failure, why| failure.because(why.as_str()));
            return Err(failure.or_skip_checks(&self.catalog.name));
        }
        for warning in &findings.warnings {
            output::warn(format!("{} {}: {warning}", self.catalog.name, offer.tag));
        }
        Ok(Ok(offer))
    }

    /// One version with every reason there is; what cannot be checked counts as unmet and says so.
    ///
    /// # Errors
    /// The proxy's, where it must be asked.
    pub(crate) async fn whole(&self, published: &Published) -> Result<Judgement, Failure> {
        let offer = self.catalog.offer(self.context, published).await?;
        let mut findings = self.findings(&offer, &published.version);
        findings.unmet.append(&mut findings.unchecked);
        Ok(self.ask(&published.version, &findings.unmet))
    }

    /// What cluster and other plugins say to a version, both ways.
    fn findings(&self, offer: &Offer, version: &Version) -> Findings {
        let mut findings = offer.findings.clone();
        findings.extend(requirements::check_plugins(&offer.contract.requirements, &self.others));
        let changed = BTreeMap::from([(self.catalog.name.clone(), Some(version.clone()))]);
        for (other, demand) in &self.demands {
            let unmet = requirements::check_plugins(demand, &changed).unmet;
            findings.unmet.extend(unmet.into_iter().map(|why| format!("installed plugin {other} {why}")));
        }
        findings
    }
}

/// What of these demands is on one plugin, if anything is.
fn on_one(mut demands: PluginRequirements, name: &PluginName) -> Option<Requirements> {
    demands.mandatory.retain(|demand| demand.name == name.as_str());
    demands.conditional.retain(|demand| demand.name == name.as_str());
    (!demands.is_empty()).then(|| Requirements { plugins: demands, ..Requirements::default() })
}

/// Refuses what is no version before anything is asked for.
///
/// # Errors
/// Exit 2, naming it.
pub(crate) fn check_typed(name: &PluginName, typed: Option<&str>) -> Result<(), Failure> {
    match typed.map(Version::parse) {
        Some(Err(error)) => Err(lookup_failure(name, &LookupError::NotAVersion(error))),
        _ => Ok(()),
    }
}

/// A version that a person typed and that cannot be had.
pub(crate) fn lookup_failure(name: &PluginName, error: &LookupError) -> Failure {
    let code = if matches!(error, LookupError::NotAVersion(_)) { Code::Usage } else { Code::Failed };
    let failure = Failure::new(code, format!("{name}: {error}"));
    match error {
        LookupError::NotAVersion(_) => failure.advise("a version looks like v1.2.3", format!("d8 plugins why {name}")),
        LookupError::NotPublished(_) => {
            failure.advise("nobody published it, or it was withdrawn", format!("d8 plugins why {name}"))
        }
        LookupError::Ambiguous { .. } => {
            failure.advise("its publisher must remove one of the tags", format!("d8 plugins why {name}"))
        }
    }
}
