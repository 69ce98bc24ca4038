//! Messages about published versions, verdicts and plans, for plugins and for d8 itself.

use d8_agent::cluster::Caller;
use d8_crds::{
    decisions::{
        explain,
        plan::{PassedOver, PlanError},
        selection::LookupError,
        verdict::Verdict,
    },
    values::{
        name::{Component, Tag},
        text::printable,
        version::Version,
    },
};

use super::Planning;
use crate::{
    args::skipping_cluster_checks,
    context::Context,
    terminal::failure::{Code, Failure},
    version::PRODUCT,
};

/// Returns the name of a component in messages.
fn display_name(component: &Component) -> &str {
    match component {
        Component::D8 => PRODUCT,
        Component::Plugin(name) => name.as_str(),
    }
}

/// Returns for whom policies are evaluated, where that matters: ` as alice`.
pub(crate) fn acting_as(caller: &Caller) -> String {
    match caller {
        Caller::NotAsked => String::new(),
        Caller::Known(user) => format!(" as {}", printable(&user.username)),
        Caller::Unanswered | Caller::Unknown => " as a person who is not known to the cluster".to_owned(),
    }
}

/// Returns the command that lists the versions of a component.
fn list_command(component: &Component) -> String {
    match component {
        Component::D8 => "d8 cli versions".to_owned(),
        Component::Plugin(name) => format!("d8 plugins why {name}"),
    }
}

/// Parses a version that a person typed.
///
/// # Errors
/// It is not a version: exit 2.
pub(crate) fn parse_version(component: &Component, typed: &str) -> Result<Version, Failure> {
    Version::parse(typed).map_err(|error| lookup_failure(component, &LookupError::NotAVersion(error)))
}

/// Turns a [`LookupError`] into a failure.
pub(crate) fn lookup_failure(component: &Component, error: &LookupError) -> Failure {
    let (code, cause) = match error {
        LookupError::NotAVersion(_) => (Code::Usage, "a version looks like v1.2.3"),
        LookupError::NotPublished(_) => (Code::Failed, "the version was never published, or it was withdrawn"),
        LookupError::Ambiguous { .. } => (Code::Failed, "only the publisher can remove one of the tags"),
    };
    Failure::new(code, format!("{}: {error}", display_name(component)))
        .advise(cause, format!("list the published versions: `{}`", list_command(component)))
}

/// Returns the failure when a version that a person named may not be installed.
pub(crate) fn refused_failure(component: &Component, tag: &Tag, verdict: &Verdict) -> Failure {
    let headline = format!("{} {tag} cannot be installed on this machine", display_name(component));
    let reasons = verdict.reasons().iter().map(explain::to_person);
    let see = match component {
        Component::D8 => "see which version is available: `d8 cli check`".to_owned(),
        Component::Plugin(name) => format!("see which versions can be installed: `d8 plugins why {name}`"),
    };
    reasons
        .fold(Failure::new(verdict.class().into(), headline), Failure::because)
        .advise("d8 tries no other version than the one you named", see)
}

/// Returns the failure when requirements of a version, or of a dependency that it needs, cannot be checked: exit 5.
pub(crate) fn unchecked_failure(component: &Component, tag: &Tag, verdict: &Verdict) -> Failure {
    let name = display_name(component);
    let headline = format!("the requirements of {name} {tag} cannot be checked");
    let reasons = verdict.reasons().iter().map(explain::to_person);
    let failure = reasons.fold(Failure::new(Code::Unreachable, headline), Failure::because);
    failure.advise_skipping_checks(&name, &skipping_cluster_checks(0))
}

/// Returns the failure when every published version was skipped. Its exit code is that of the newest version.
pub(crate) fn none_eligible_failure(component: &Component, skipped: &[PassedOver]) -> Failure {
    let code = skipped.first().map_or(Code::Failed, |(_, verdict)| verdict.class().into());
    let headline = format!("no version of {} can be installed on this machine", display_name(component));
    skipped_lines(skipped).fold(Failure::new(code, headline), Failure::because)
}

/// Prints a note for each skipped version and each of its reasons.
pub(crate) fn note_skipped(context: &Context, component: &Component, skipped: &[PassedOver]) {
    for line in skipped_lines(skipped) {
        context.printer.note(format!("skipped {} {line}", display_name(component)));
    }
}

fn skipped_lines(skipped: &[PassedOver]) -> impl Iterator<Item = String> {
    skipped.iter().flat_map(move |(published, verdict)| {
        verdict.reasons().iter().map(move |reason| format!("{}: {}", published.tag, explain::to_person(reason)))
    })
}

/// Turns the error that ended the search for a version of `component` into a failure.
pub(crate) fn plan_failure(planning: &Planning<'_>, component: &Component, error: &PlanError) -> Failure {
    match error {
        PlanError::Fact { need, message } => planning.failure(need).cloned().unwrap_or_else(|| {
            Failure::new(Code::Failed, message.clone())
                .advise("the published tag list or contract is invalid", error.fix())
        }),
        PlanError::Unreadable { .. } => {
            Failure::new(Code::Failed, format!("{} cannot be changed", display_name(component)))
                .because(error.to_string())
                .advise("d8 changes no plugin while the requirements of an installed plugin are unknown", error.fix())
        }
    }
}
