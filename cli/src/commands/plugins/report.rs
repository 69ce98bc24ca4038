//! Lines and failures that report plans and changes of plugins.

use d8_crds::{
    decisions::{
        explain,
        plan::{ChangeReason, FactRequest, Obstacle, Outcome, PassedOver, Plan, PlannedChange, PreviousVersion},
        reason::Reason,
        selection::{NoCandidate, PublishedVersion},
        verdict::{Class, ReasonCode, Verdict},
    },
    values::name::{Component, PluginName},
};

use super::transaction::{Operation, OperationKind};
use crate::{
    context::Context,
    installed,
    planning::{
        Planning,
        messages::{
            lookup_failure, none_eligible_failure, note_skipped, plan_failure, refused_failure, unchecked_failure,
        },
    },
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// The result of each plugin, dependencies first: a line to print, or its failure.
#[derive(Debug, Default)]
pub(in crate::commands) struct ChangeResults(Vec<(PluginName, Result<String, Failure>)>);

impl ChangeResults {
    /// Adds the result of a plugin, or replaces it.
    pub(in crate::commands) fn insert(&mut self, name: PluginName, result: Result<String, Failure>) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = result,
            None => self.0.push((name, result)),
        }
    }

    /// Adds the failure of a plugin, unless it has one.
    pub(in crate::commands) fn insert_if_success(&mut self, name: &PluginName, failure: Failure) {
        if !self.is_failure(name) {
            self.insert(name.clone(), Err(failure));
        }
    }

    /// Returns whether a plugin has a failure.
    pub(in crate::commands) fn is_failure(&self, name: &PluginName) -> bool {
        self.0.iter().any(|(other, result)| other == name && result.is_err())
    }

    /// Removes and returns the failure of a plugin.
    pub(in crate::commands) fn remove_failure(&mut self, name: &PluginName) -> Option<Failure> {
        let index = self.0.iter().position(|(other, result)| other == name && result.is_err())?;
        self.0.remove(index).1.err()
    }

    /// Removes and returns the first failure.
    pub(in crate::commands) fn take_failure(&mut self) -> Option<Failure> {
        let index = self.0.iter().position(|(_, result)| result.is_err())?;
        self.0.remove(index).1.err()
    }
}

impl IntoIterator for ChangeResults {
    type Item = (PluginName, Result<String, Failure>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Adds the results of requests that change nothing, and prints skipped versions.
pub(in crate::commands) fn add_unchanged(
    context: &Context,
    planning: &Planning<'_>,
    plan: &Plan,
    is_update: bool,
    results: &mut ChangeResults,
) {
    for (component, outcome) in &plan.outcomes {
        let Component::Plugin(name) = component else { continue };
        let failure = failure_of(planning, name, outcome);
        if failure.is_none() {
            note_skipped(context, component, outcome.passed_over());
        }
        let result = match outcome {
            Outcome::Take { .. } => continue,
            Outcome::AlreadyActive { version, .. } => Ok(format!("{name} {} is already active.", version.tag)),
            Outcome::Keep { forbidden: true, .. } | Outcome::Incomplete { forbidden: true, .. }
                if is_unusable(planning, component) =>
            {
                Err(unusable_failure(planning, name))
            }
            // A plugin that is not installed is here because a policy requires it. A hold does not fail the update.
            Outcome::Nothing { why: NoCandidate::AllPassedOver, passed_over, .. }
                if is_update && passed_over.iter().any(|(_, verdict)| verdict.class() == Class::Held) =>
            {
                note_skipped(context, component, passed_over);
                Ok(format!("{name} is required, but no version of it can be installed on this machine now."))
            }
            Outcome::Keep { forbidden, passed_over } => Ok(kept(context, name, *forbidden, passed_over)),
            Outcome::Incomplete { version, forbidden, .. } if is_update => {
                if let Some(failure) = &failure {
                    warn_of(context, failure);
                }
                let subject = format!("{name} {version}");
                Ok(if *forbidden { kept_forbidden(name, &subject) } else { format!("Kept {subject}.") })
            }
            _ => Err(failure.unwrap_or_else(|| Failure::new(Code::Failed, format!("{name} cannot be changed")))),
        };
        results.insert(name.clone(), result);
    }
}

/// Prints a failure that does not fail the command: a warning, and a note for each piece of advice.
fn warn_of(context: &Context, failure: &Failure) {
    output::warn(failure.summary());
    for advice in failure.advice() {
        context.printer.note(format!("{}: {}", advice.cause, advice.fix));
    }
}

/// Prints the requirements of the plan that pass although they are not known to be met.
pub(in crate::commands) fn print_warnings(plan: &Plan) {
    for change in &plan.changes {
        for warning in &change.warnings {
            output::warn(format!("{} {}: {}", change.component, change.to.tag, explain::warning(warning)));
        }
    }
}

/// Reports that the active version was kept.
fn kept(context: &Context, name: &PluginName, forbidden: bool, skipped: &[PassedOver]) -> String {
    let plugin = installed::find(context, name).ok().flatten();
    let tag = plugin.as_ref().and_then(|plugin| Some(plugin.entry.installed()?.tag.to_string()));
    let version = tag.or_else(|| plugin?.version().map(|version| version.to_string()));
    let subject = version.map_or_else(|| name.to_string(), |version| format!("{name} {version}"));
    if forbidden {
        kept_forbidden(name, &subject)
    } else if skipped.is_empty() {
        format!("Kept {subject}: no newer version is published.")
    } else {
        format!("Kept {subject}: no newer version can be installed on this machine.")
    }
}

/// Returns why the active version of a component may not run.
fn run_refusal(planning: &Planning<'_>, component: &Component) -> Option<Box<Reason>> {
    planning.run_allowed(component, planning.active(component)?).err()
}

/// Returns whether policies refuse every run of the active version.
fn is_unusable(planning: &Planning<'_>, component: &Component) -> bool {
    run_refusal(planning, component).is_some()
}

/// Returns the failure when a version stays that may not run, because no other version can be installed.
fn unusable_failure(planning: &Planning<'_>, name: &PluginName) -> Failure {
    let component = Component::Plugin(name.clone());
    let active = planning.active(&component).map(|active| format!(" {active}")).unwrap_or_default();
    let headline = format!("{name}{active} may not run, and no other version can be installed on this machine");
    let reason = run_refusal(planning, &component);
    let failure = Failure::new(Code::Refused, headline);
    let remove = match planning.policies().remove_allowed(name) {
        Ok(()) => format!("; or remove it: `d8 plugins remove {name}`"),
        Err(_) => String::new(),
    };
    reason.iter().map(|reason| explain::to_person(reason)).fold(failure, Failure::because).advise(
        "policies and requirements permit no replacement now",
        format!("see the reasons: `d8 plugins why {name}`{remove}"),
    )
}

/// Reports that a version was kept which a policy forbids.
fn kept_forbidden(name: &PluginName, subject: &str) -> String {
    format!(
        "Kept {subject} although a policy forbids it: it must be replaced and still runs, but no other version \
         can be installed. See `d8 plugins why {name}`"
    )
}

/// Prints the plan if it changes more than the requested plugins.
pub(in crate::commands) fn print_plan(context: &Context, plan: &Plan) {
    if plan.changes.iter().all(|change| change.why == ChangeReason::Requested) {
        return;
    }
    for change in &plan.changes {
        context.printer.note(format!("plan: {}", describe(change)));
    }
}

/// Reports a change that `--dry-run` did not make.
pub(in crate::commands) fn dry_run(operation: &Operation) -> String {
    let PlannedChange { to, why, .. } = &operation.change;
    let (name, needed_by) = (&operation.name, needed_by(why));
    match operation.kind {
        OperationKind::Switch => format!("Would {}.", describe(&operation.change)),
        OperationKind::Repair => format!("Would repair {name} {}{needed_by}.", to.tag),
        OperationKind::Reinstall => format!("Would reinstall {name} {}{needed_by}.", to.tag),
    }
}

fn describe(change: &PlannedChange) -> String {
    let (name, tag, needed_by) = (&change.component, &change.to.tag, needed_by(&change.why));
    match &change.from {
        PreviousVersion::Version(from) => format!("switch {name} from {from} to {tag}{needed_by}"),
        PreviousVersion::Nothing | PreviousVersion::Unknown => format!("install {name} {tag}{needed_by}"),
    }
}

/// Reports a change that was made.
pub(in crate::commands) fn changed(outcome: &d8_agent::Activation, kind: OperationKind, why: &ChangeReason) -> String {
    let d8_agent::Activation { name, tag, previous, changed } = outcome;
    let line = match (kind, changed, previous) {
        (OperationKind::Repair, ..) => format!("Repaired {name} {tag}"),
        (OperationKind::Reinstall, ..) => format!("Reinstalled {name} {tag}"),
        (OperationKind::Switch, false, _) => format!("{name} {tag} is already active"),
        (OperationKind::Switch, true, Some(previous)) if previous != tag => {
            format!("Switched {name} from {previous} to {tag}")
        }
        (OperationKind::Switch, true, _) => format!("Installed {name} {tag}"),
    };
    line + &needed_by(why) + "."
}

/// ` (needed by a)`, with the whole chain if it has more than one step.
fn needed_by(why: &ChangeReason) -> String {
    match why {
        ChangeReason::Dependency { chain } if chain.len() > 2 => {
            let chain: Vec<&str> = chain.iter().map(Component::name).collect();
            format!(" (needed by: {})", chain.join(" -> "))
        }
        ChangeReason::Dependency { chain } => chain.first().map(|by| format!(" (needed by {by})")).unwrap_or_default(),
        ChangeReason::Requested => String::new(),
    }
}

/// Turns the outcome of a request into a failure, if it is one.
fn failure_of(planning: &Planning<'_>, name: &PluginName, outcome: &Outcome) -> Option<Failure> {
    let component = Component::Plugin(name.clone());
    Some(match outcome {
        Outcome::Take { .. } | Outcome::AlreadyActive { .. } | Outcome::Keep { .. } => return None,
        Outcome::Nothing { why, major, passed_over } => {
            let newest = planning.catalog(&component).and_then(|catalog| catalog.listing().newest_prerelease());
            tags_failure(planning, &component).unwrap_or_else(|| nothing(name, *why, *major, passed_over, newest))
        }
        Outcome::NotPublished(error) => {
            tags_failure(planning, &component).unwrap_or_else(|| lookup_failure(&component, error))
        }
        Outcome::Refused { version, verdict } => refused_failure(&component, &version.tag, verdict),
        Outcome::NeedsOthers { version, .. } => needs_others(outcome, &format!("{name} {}", version.tag)),
        Outcome::Incomplete { version, obstacle, forbidden, .. } => {
            let version = format!("{name} {version}");
            let failure = match obstacle {
                Obstacle::NoDependencies(_) => needs_others(outcome, &version),
                Obstacle::Refused(verdict) => incomplete_failure(&version, verdict),
            };
            if !forbidden {
                return Some(failure);
            }
            failure
                .because(format!("a policy forbids {version}, and no other version can be installed"))
                .advise("only another version may replace it", format!("see the reasons: `d8 plugins why {name}`"))
        }
        Outcome::Unchecked { version, verdict, .. } => unchecked_failure(&component, &version.tag, verdict),
        Outcome::Stopped(error) => plan_failure(planning, &component, error),
    })
}

/// Returns the failure when `--no-dependencies` refuses what a version needs.
fn needs_others(outcome: &Outcome, version: &str) -> Failure {
    let headline = format!("{version} needs changes of other plugins (--no-dependencies)");
    outcome.fixes().into_iter().fold(Failure::new(Code::Requirements, headline), |failure, (change, command)| {
        failure.advise(format!("it needs {} {}", change.component, change.to.tag), format!("`{command}`"))
    })
}

/// Returns the failure when an active version lacks plugins that cannot be installed. Its exit code is that of the
/// reasons.
fn incomplete_failure(version: &str, verdict: &Verdict) -> Failure {
    let is_unchecked = verdict.reasons().iter().all(|reason| reason.code() == ReasonCode::RequirementsUnknown);
    let code = if is_unchecked { Code::Unreachable } else { verdict.class().into() };
    let headline = format!("{version} is installed, but it cannot run without other plugins");
    verdict.reasons().iter().map(explain::to_person).fold(Failure::new(code, headline), Failure::because)
}

/// Returns why the tags of a plugin could not be fetched. The answer of the proxy explains more than an empty list.
fn tags_failure(planning: &Planning<'_>, component: &Component) -> Option<Failure> {
    planning.failure(&FactRequest::Tags(component.clone())).cloned()
}

/// Returns the failure when no version of a plugin that is not installed can be installed.
/// `newest` is the newest pre-release, if there is nothing else.
fn nothing(
    name: &PluginName,
    why: NoCandidate,
    major: Option<u64>,
    skipped: &[PassedOver],
    newest: Option<&PublishedVersion>,
) -> Failure {
    let failure = none_eligible_failure(&name.clone().into(), skipped);
    let failure = match why {
        NoCandidate::NotPublished => failure
            .advise(format!("no plugin named {name} is published"), "list the plugins: `kubectl get clireleases`"),
        NoCandidate::OnlyPrereleases => match newest {
            Some(newest) => failure.advise(
                format!("only pre-releases of {name} are published, the newest is {}", newest.tag),
                format!("name the one that you want: `d8 plugins install {name} --version {}`", newest.tag),
            ),
            None => failure.advise(
                "only pre-releases are published",
                format!("pick one from `d8 plugins why {name}`, then: `d8 plugins install {name} --version VERSION`"),
            ),
        },
        NoCandidate::NotInMajor(major) => failure.advise(
            format!("no version of major {major} is published"),
            format!("pick one from `d8 plugins why {name}`, then: `d8 plugins install {name} --use-major N`"),
        ),
        NoCandidate::AllPassedOver => {
            failure.advise("all published versions were skipped", format!("see the reasons: `d8 plugins why {name}`"))
        }
    };
    match (why, major) {
        (NoCandidate::AllPassedOver, Some(major)) => failure.advise(
            format!("only versions of major {major} were considered"),
            format!("allow another major version: `d8 plugins install {name} --use-major N`"),
        ),
        _ => failure,
    }
}
