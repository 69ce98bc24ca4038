//! A command's requests, from the plan to the lines that tell how each ended. Shared by `install` and
//! `update`, which differ in what they request and in whether one failure stops the others.

use std::collections::BTreeMap;

use d8_agent::cluster::ClusterView;
use d8_crds::{
    decisions::{
        plan::{
            ChangeReason, FactRequest, Outcome, PassedOver, Plan, PlanError, PlannedChange, PreviousVersion, Request,
        },
        selection::{LookupError, NoCandidate},
    },
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};
use futures::{StreamExt as _, stream};

use crate::{
    catalog::lookup_failure,
    commands::plugins::change::{self, Applied, Part, Transaction},
    context::Context,
    planning::Planning,
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
};

/// How often it is planned again because another process was quicker: each time one of them is done, so
/// that many may run side by side.
const ROUNDS: usize = 16;

/// How many transactions are under way at once.
const PARALLEL: usize = 8;

/// How requests are carried out.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(crate) struct How {
    /// Bring in again what is active already.
    pub(crate) force: bool,
    /// Say it, do nothing.
    pub(crate) dry_run: bool,
    /// Refuse instead of bringing in what a plugin needs.
    pub(crate) no_dependencies: bool,
    /// Go on past a failure; else a refusal of one changes nothing of any.
    pub(crate) go_on: bool,
}

/// The result of each plugin, dependencies first: a line to print, or its failure.
#[derive(Debug, Default)]
pub(crate) struct ChangeResults(Vec<(PluginName, Result<String, Failure>)>);

impl ChangeResults {
    /// Adds a result, or replaces the one that the plugin has.
    fn insert(&mut self, name: PluginName, result: Result<String, Failure>) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = result,
            None => self.0.push((name, result)),
        }
    }

    /// Takes the first failure out.
    fn take_failure(&mut self) -> Option<Failure> {
        let place = self.0.iter().position(|(_, result)| result.is_err())?;
        self.0.remove(place).1.err()
    }
}

impl IntoIterator for ChangeResults {
    type Item = (PluginName, Result<String, Failure>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Carries requests out.
///
/// # Errors
/// What stops all of them. What stops one is in [`ChangeResults`] where `go_on` is set, else it is the error.
pub(crate) async fn carry_out(
    context: &Context,
    view: &ClusterView,
    mut requests: BTreeMap<PluginName, Request>,
    how: How,
) -> Result<ChangeResults, Failure> {
    let progress = Progress::new(context.printer);
    let mut ended = ChangeResults::default();
    for _ in 0..ROUNDS {
        let mut planning = Planning::of_plugins(context, view.clone())?;
        let wanted = requests.iter().map(|(name, request)| (name.clone().into(), request.clone())).collect();
        let (snapshot, plan) = planning.plan(wanted, how.no_dependencies).await;
        settle(context, &planning, &plan, &mut ended);
        if !how.go_on
            && let Some(failure) = ended.take_failure()
        {
            return Err(failure);
        }
        show(context, &plan);
        let mut transactions = change::transactions(&planning, &snapshot, &plan)?;
        if how.force {
            transactions.extend(again(context, &planning, &plan).await?);
        }
        if how.dry_run {
            for part in transactions.iter().flat_map(|transaction| &transaction.parts) {
                ended.insert(part.name.clone(), Ok(would(&part.change)));
            }
            return Ok(ended);
        }
        let at_once = if how.go_on { PARALLEL } else { 1 };
        let progress = &progress;
        let results: Vec<(Transaction, Result<Applied, Failure>)> = stream::iter(transactions)
            .map(|transaction| async move {
                let result = transaction.apply(context, progress).await;
                (transaction, result)
            })
            .buffered(at_once)
            .collect()
            .await;
        let mut overtaken = BTreeMap::new();
        for (transaction, result) in results {
            match result {
                Ok(Applied::Done(outcomes)) => {
                    for outcome in outcomes {
                        let part = transaction.parts.iter().find(|part| part.name == outcome.name);
                        let told =
                            change::told(&outcome, part.map_or(&ChangeReason::Requested, |part| &part.change.why));
                        ended.insert(outcome.name, Ok(told));
                    }
                }
                Ok(Applied::Overtaken) => overtaken.extend(transaction.requested(&requests)),
                Err(failure) if !how.go_on => return Err(failure),
                Err(failure) => {
                    for (name, _) in transaction.requested(&requests) {
                        ended.insert(name, Err(failure.clone()));
                    }
                }
            }
        }
        if overtaken.is_empty() {
            return Ok(ended);
        }
        context.printer.note("another process changed some of it meanwhile; looking again");
        requests = overtaken;
    }
    let names: Vec<&str> = requests.keys().map(PluginName::as_str).collect();
    Err(Failure::new(Code::Failed, format!("{} is being changed by other processes all the time", names.join(", ")))
        .advise("several updates run at once", "wait for them to end, and run the command again"))
}

impl Transaction {
    /// Which requests it was for.
    fn requested(&self, requests: &BTreeMap<PluginName, Request>) -> Vec<(PluginName, Request)> {
        let names = self.parts.iter().map(|part| &part.name);
        names.filter_map(|name| Some((name.clone(), requests.get(name)?.clone()))).collect()
    }
}

/// What is active already and wanted again.
async fn again(context: &Context, planning: &Planning<'_>, plan: &Plan) -> Result<Vec<Transaction>, Failure> {
    let mut transactions = Vec::new();
    for (component, outcome) in &plan.outcomes {
        let (Component::Plugin(name), Outcome::AlreadyActive { version, .. }) = (component, outcome) else { continue };
        let Some(catalog) = planning.catalog(component) else { continue };
        let offer = catalog.offer(context, version).await?;
        let change = PlannedChange {
            component: component.clone(),
            from: PreviousVersion::Version(version.version.clone()),
            to: version.clone(),
            why: ChangeReason::Requested,
            warnings: Vec::new(),
        };
        transactions.push(Transaction { parts: vec![Part { name: name.clone(), change, offer, force: true }] });
    }
    Ok(transactions)
}

/// Tells what was passed over and notes how each request that changes nothing ended.
fn settle(context: &Context, planning: &Planning<'_>, plan: &Plan, ended: &mut ChangeResults) {
    for (component, outcome) in &plan.outcomes {
        let Component::Plugin(name) = component else { continue };
        let refused = refusal(planning, name, outcome);
        if refused.is_none() {
            tell_passed_over(context, name, outcome.passed_over());
        }
        let end = match outcome {
            Outcome::Take { .. } => continue,
            Outcome::AlreadyActive { version, .. } => Ok(format!("{name} {} is active already.", version.tag)),
            Outcome::Keep { forbidden, passed_over } => Ok(stays(context, name, *forbidden, passed_over)),
            _ => Err(refused.unwrap_or_else(|| Failure::new(Code::Failed, format!("{name} cannot be changed")))),
        };
        ended.insert(name.clone(), end);
    }
    for change in &plan.changes {
        for warning in &change.warnings {
            output::warn(format!("{} {}: {warning}", change.component, change.to.tag));
        }
    }
}

fn stays(context: &Context, name: &PluginName, forbidden: bool, passed_over: &[PassedOver]) -> String {
    let tag = crate::installed::find(context, name)
        .ok()
        .flatten()
        .and_then(|found| found.version())
        .map_or_else(|| "as installed".to_owned(), |version| change::tag_of(context, name, &version));
    if forbidden {
        format!(
            "{name} {tag} stays although policy forbids it: there is no version to leave it for. See: d8 plugins why {name}"
        )
    } else if passed_over.is_empty() {
        format!("{name} {tag} stays: nothing newer is published.")
    } else {
        format!("{name} {tag} stays: nothing newer may be installed here.")
    }
}

/// Shows the plan where more than what was asked for changes.
fn show(context: &Context, plan: &Plan) {
    if plan.changes.iter().all(|change| change.why == ChangeReason::Requested) {
        return;
    }
    for change in &plan.changes {
        context.printer.note(format!("plan: {}", step(change)));
    }
}

fn step(change: &PlannedChange) -> String {
    let (name, tag, needed) = (&change.component, &change.to.tag, change::needed_by(&change.why));
    match &change.from {
        PreviousVersion::Version(from) => format!("switch {name} from {from} to {tag}{needed}"),
        PreviousVersion::Nothing | PreviousVersion::Unknown => format!("install {name} {tag}{needed}"),
    }
}

fn would(change: &PlannedChange) -> String {
    format!("Would {}.", step(change))
}

fn tell_passed_over(context: &Context, name: &PluginName, passed_over: &[PassedOver]) {
    for (published, judgement) in passed_over {
        for reason in judgement.reasons() {
            context.printer.note(format!("passed over {name} {}: {}", published.tag, reason.message));
        }
    }
}

/// How an outcome fails, if it is one that does.
fn refusal(planning: &Planning<'_>, name: &PluginName, outcome: &Outcome) -> Option<Failure> {
    Some(match outcome {
        Outcome::Take { .. } | Outcome::AlreadyActive { .. } | Outcome::Keep { .. } => return None,
        // What the proxy says of a name that it has not is clearer than that nothing was found.
        Outcome::Nothing { .. } | Outcome::NotPublished(_) if unknown(planning, name).is_some() => {
            return unknown(planning, name).cloned();
        }
        Outcome::Nothing { why, major, passed_over } => nothing(name, *why, *major, passed_over),
        Outcome::NotPublished(error) => lookup_failure(&name.clone().into(), error),
        Outcome::Refused { version, verdict } => {
            let failure =
                Failure::new(verdict.class().into(), format!("{name} {} may not be installed here", version.tag));
            verdict
                .reasons()
                .iter()
                .fold(failure, |failure, reason| failure.because(reason.message.as_str()))
                .advise("the version was named, so no other is tried", format!("d8 plugins why {name}"))
        }
        Outcome::NeedsOthers { version, .. } => {
            let what = format!("{name} {} needs other plugins (--no-dependencies)", version.tag);
            outcome.fixes().into_iter().fold(Failure::new(Code::Requirements, what), |failure, (change, command)| {
                failure.advise(format!("it needs {} {}", change.component, change.to.tag), command)
            })
        }
        Outcome::Stopped(stop) => stopped(planning, name, stop),
    })
}

/// Why nothing at all is known of a plugin.
fn unknown<'a>(planning: &'a Planning<'_>, name: &PluginName) -> Option<&'a Failure> {
    planning.failure(&FactRequest::Tags(name.clone().into()))
}

fn stopped(planning: &Planning<'_>, name: &PluginName, stop: &PlanError) -> Failure {
    match stop {
        PlanError::Fact { need, message } => planning.failure(need).cloned().unwrap_or_else(|| {
            Failure::new(Code::Failed, message.clone()).advise("what is published is broken", stop.fix())
        }),
        PlanError::Unchecked { component, version, unchecked } => {
            let failure =
                Failure::new(Code::Unreachable, format!("requirements of {component} {version} cannot be checked"));
            unchecked.iter().fold(failure, |failure, why| failure.because(why.as_str())).or_skip_checks(component)
        }
        PlanError::Unreadable { .. } => Failure::new(Code::Failed, format!("{name} cannot be changed"))
            .because(stop.to_string())
            .advise("what the other plugin needs is not known, so nothing may be moved under it", stop.fix()),
    }
}

fn nothing(name: &PluginName, why: NoCandidate, major: Option<u64>, passed_over: &[PassedOver]) -> Failure {
    let code = passed_over.first().map_or(Code::Failed, |(_, judgement)| judgement.class().into());
    let failure = Failure::new(code, format!("no version of {name} may be installed here"));
    let reasons = passed_over.iter().flat_map(|(published, judgement)| {
        judgement.reasons().iter().map(move |reason| format!("{}: {}", published.tag, reason.message))
    });
    let failure = reasons.fold(failure, Failure::because);
    let failure = match why {
        NoCandidate::NotPublished => {
            failure.advise(format!("nothing is published under the name {name}"), "see what is: kubectl get crel")
        }
        NoCandidate::OnlyPrereleases => failure.advise(
            "only pre-releases are published",
            format!("name one: d8 plugins install {name} --version VERSION, of d8 plugins why {name}"),
        ),
        NoCandidate::NotInMajor(major) => failure.advise(
            format!("nothing of major {major} is published"),
            format!("another one: d8 plugins install {name} --use-major N, of d8 plugins why {name}"),
        ),
        NoCandidate::AllPassedOver => {
            failure.advise("every published version was passed over", format!("d8 plugins why {name}"))
        }
    };
    match (why, major) {
        (NoCandidate::AllPassedOver, Some(major)) => failure.advise(
            format!("the search was limited to major {major}"),
            format!("d8 plugins install {name} --use-major N"),
        ),
        _ => failure,
    }
}

/// Refuses what is no version before anything is asked for.
///
/// # Errors
/// Exit 2, naming it.
pub(crate) fn typed_version(name: &PluginName, typed: &str) -> Result<Version, Failure> {
    Version::parse(typed).map_err(|error| lookup_failure(&name.clone().into(), &LookupError::NotAVersion(error)))
}
