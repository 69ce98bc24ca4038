//! `d8 plugins install`.

use d8_agent::view::Wanted;
use d8_crds::{
    name::{Component, PluginName},
    select::{Choice, Nothing, Published},
    verdict::{Judgement, PolicySet},
    version::Version,
};

use crate::{
    args,
    catalog::{Catalog, Offer},
    context::Context,
    failure::{Code, Failure},
    installed, output,
    plugins::{
        change::{self, Applied},
        decide::{self, Decision, Wish},
    },
    progress::Progress,
};

/// How often a decision is made again because another process was quicker.
const ROUNDS: usize = 3;

pub(crate) async fn run(context: &Context, args: &args::Install) -> Result<(), Failure> {
    let wish = match (&args.version, args.use_major) {
        (Some(version), _) => Wish::Exact(version),
        (None, Some(major)) => Wish::Major(major),
        (None, None) => Wish::Newest,
    };
    let mut names = args.names.clone();
    names.sort();
    names.dedup();
    for name in &names {
        decide::check_typed(name, args.version.as_deref())?;
    }
    warn_if_waived(context);
    let components: Vec<Component> = names.iter().cloned().map(Component::Plugin).collect();
    let view = context.view(Wanted::Named(&components)).await?;
    let policies = view.policy_set();
    let progress = Progress::new(context.out);
    let mut plans = Vec::new();
    // Every plugin is decided before the first is changed: a refusal changes nothing.
    for name in &names {
        let catalog = Catalog::open_for(context, &view, name, args.version.as_deref()).await?;
        let plan = plan(context, &policies, &catalog, wish, args.force).await?;
        plans.push((catalog, plan));
    }
    for (catalog, plan) in plans {
        let task =
            Task { context, policies: &policies, catalog: &catalog, wish, force: args.force, dry_run: args.dry_run };
        let told = task.carry_out(plan, &progress).await?;
        output::result(told);
    }
    Ok(())
}

pub(crate) fn warn_if_waived(context: &Context) {
    if context.skips_cluster_checks() {
        output::warn("Kubernetes, Deckhouse and module requirements are not checked (--skip-cluster-checks)");
    }
}

/// One plugin's change, from the wish to the line that tells how it ended.
pub(crate) struct Task<'a> {
    pub(crate) context: &'a Context,
    pub(crate) policies: &'a PolicySet,
    pub(crate) catalog: &'a Catalog<'a>,
    pub(crate) wish: Wish<'a>,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
}

/// What is to be done with one plugin.
pub(crate) enum Plan {
    /// Nothing; the line says why.
    Stay(String),
    /// This version is brought in. `again` if it is active already and wanted anew.
    Take {
        offer: Box<Offer>,
        /// The active version that the decision was made for.
        active: Option<Version>,
        again: bool,
    },
}

/// Decides, tells what was passed over, and says what is to be done.
///
/// # Errors
/// Nothing may be installed: the code of what stopped the newest.
pub(crate) async fn plan(
    context: &Context,
    policies: &PolicySet,
    catalog: &Catalog<'_>,
    wish: Wish<'_>,
    force: bool,
) -> Result<Plan, Failure> {
    let name = &catalog.name;
    let found = installed::find(context, name)?;
    let active = found.as_ref().and_then(installed::Found::version);
    let decision = decide::decide(context, policies, catalog, wish, active.as_ref()).await?;
    let Decision { choice, offer, major, leave } = decision;
    if !matches!(choice, Choice::Nothing { .. }) {
        tell_passed_over(context, name, choice.passed_over());
    }
    match choice {
        Choice::Install { .. } => match offer {
            Some(offer) => Ok(Plan::Take { offer: Box::new(offer), active, again: false }),
            None => Err(Failure::new(Code::Failed, format!("{name}: a version was chosen without an offer"))),
        },
        Choice::AlreadyActive { version, .. } if force => {
            let offer = catalog.offer(context, &version).await?;
            Ok(Plan::Take { offer: Box::new(offer), active, again: true })
        }
        Choice::AlreadyActive { version, .. } => Ok(Plan::Stay(format!("{name} {} is active already.", version.tag))),
        Choice::Keep { passed_over } => {
            let tag =
                active.map_or_else(|| "what is installed".to_owned(), |active| change::tag_of(context, name, &active));
            Ok(Plan::Stay(if let Some(leave) = leave {
                format!("{name} {tag} stays, for want of a version that may be installed: {}", leave.message)
            } else if passed_over.is_empty() {
                format!("{name} {tag} stays: nothing newer is published.")
            } else {
                format!("{name} {tag} stays: nothing newer may be installed here.")
            }))
        }
        Choice::Nothing { why, passed_over } => Err(nothing(name, why, major, &passed_over)),
    }
}

fn tell_passed_over(context: &Context, name: &PluginName, passed_over: &[(Published, Judgement)]) {
    for (published, judgement) in passed_over {
        for reason in judgement.reasons() {
            context.out.note(format!("passed over {name} {}: {}", published.tag, reason.message));
        }
    }
}

fn nothing(name: &PluginName, why: Nothing, major: Option<u64>, passed_over: &[(Published, Judgement)]) -> Failure {
    let code = passed_over.first().map_or(Code::Failed, |(_, judgement)| decide::code_of(judgement));
    let failure = Failure::new(code, format!("no version of {name} may be installed here"));
    let reasons = passed_over.iter().flat_map(|(published, judgement)| {
        judgement.reasons().iter().map(move |reason| format!("{}: {}", published.tag, reason.message))
    });
    let failure = reasons.fold(failure, Failure::because);
    let failure = match why {
        Nothing::NotPublished => {
            failure.advise(format!("nothing is published under the name {name}"), "kubectl get crel lists what is")
        }
        Nothing::OnlyPrereleases => failure.advise(
            "only pre-releases are published",
            format!("name one: d8 plugins install {name} --version VERSION, of d8 plugins why {name}"),
        ),
        Nothing::NotInMajor(major) => failure.advise(
            format!("nothing of major {major} is published"),
            format!("another one: d8 plugins install {name} --use-major N, of d8 plugins why {name}"),
        ),
        Nothing::AllPassedOver => {
            failure.advise("every published version was passed over", format!("d8 plugins why {name}"))
        }
    };
    match (why, major) {
        (Nothing::AllPassedOver, Some(major)) => failure.advise(
            format!("the search was limited to major {major}"),
            format!("d8 plugins install {name} --use-major N"),
        ),
        _ => failure,
    }
}

impl Task<'_> {
    /// Does what was planned and returns the line that tells it. Where another process was quicker,
    /// plans again.
    ///
    /// # Errors
    /// The store's and the proxy's; nothing is changed then.
    pub(crate) async fn carry_out(&self, mut plan: Plan, progress: &Progress) -> Result<String, Failure> {
        let name = &self.catalog.name;
        for _ in 0..ROUNDS {
            let (offer, active, again) = match plan {
                Plan::Stay(told) => return Ok(told),
                Plan::Take { offer, active, again } => (offer, active, again),
            };
            if self.dry_run {
                return Ok(match active {
                    Some(active) => format!("Would switch {name} from {active} to {}.", offer.tag),
                    None => format!("Would install {name} {}.", offer.tag),
                });
            }
            let force = self.force || again;
            match change::apply(self.context, name, &offer, active.as_ref(), force, progress).await? {
                Applied::Done(outcome) => return Ok(change::told(&outcome)),
                Applied::Overtaken => {
                    self.context.out.note(format!("{name} was changed by another process meanwhile; looking again"));
                }
            }
            plan = self::plan(self.context, self.policies, self.catalog, self.wish, self.force).await?;
        }
        Err(Failure::new(Code::Failed, format!("{name} is being changed by other processes all the time"))
            .advise("several updates run at once", "wait for them to end, and run the command again"))
    }
}
