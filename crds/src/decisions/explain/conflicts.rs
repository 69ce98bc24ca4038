//! Sentences about conflicts between plugins.

use super::{Audience, commands, requirements::releases_only};
use crate::{
    decisions::reason::{DependencyChain, DependencyProblem, PluginConflict, Subject},
    values::name::Component,
};

/// Returns the rule that the sentence begins with. The reason against a dependency names its own.
pub(super) fn prefix(conflict: &PluginConflict) -> String {
    match conflict {
        PluginConflict::Dependency { problem: DependencyProblem::MissingDependenciesRefused { by }, .. } => {
            format!("{by}: ")
        }
        _ => String::new(),
    }
}

pub(super) fn explain(subject: &Subject, conflict: &PluginConflict, audience: Audience<'_>) -> String {
    let name = &subject.component;
    let version = subject.version.as_ref().map(ToString::to_string).unwrap_or_default();
    match conflict {
        PluginConflict::Dependency { dependency, problem } => {
            format!("{}, {}", requires(dependency), explain_problem(dependency, problem, audience))
        }
        PluginConflict::DependentPlugin { plugin, installed_version, constraint } => {
            let installed = installed_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            let only = subject.version.as_ref().and_then(|version| releases_only(constraint, version));
            let only = if only.is_some() { "covers releases only and " } else { "" };
            let first = act(plugin, audience, || format!("; run `d8 plugins update {plugin}` first"));
            format!(
                "installed plugin {plugin}{installed} requires {name} {constraint}, which {only}excludes {version}{first}"
            )
        }
        PluginConflict::Cycle { cycle } => format!(
            "{name} {version} has a dependency cycle, {}; ask the publisher of {} to remove it",
            path(cycle),
            cycle.first().map(Component::name).unwrap_or_default()
        ),
        PluginConflict::TooDeep { dependency, limit } => {
            let plugin = &dependency.plugin;
            let first = act(plugin, audience, || format!("; run `d8 plugins install {plugin}` first"));
            format!("{}, and that chain has more than {limit} dependencies{first}", requires(dependency))
        }
        PluginConflict::TooManyChanges { limit } => {
            format!("{name} {version} needs changes to more than {limit} other plugins{}", update_all(name, audience))
        }
        PluginConflict::TooComplex => format!(
            "the dependencies of {name} {version} have too many combinations of versions to try{}",
            update_all(name, audience)
        ),
    }
}

/// Returns `a v2.0.0 requires plugin b >=3`; for a dependency of a dependency `a v2.0.0 needs b v3.0.0, which
/// requires plugin c (needed by: a -> b -> c)`.
fn requires(dependency: &DependencyChain) -> String {
    let DependencyChain { chain, plugin, constraint, if_installed } = dependency;
    let subject = match chain.as_slice() {
        [] => String::new(),
        [(name, version)] => format!("{name} {version}"),
        [(name, version), .., (last, last_version)] => format!("{name} {version} needs {last} {last_version}, which"),
    };
    let constraint = if constraint.is_empty() { String::new() } else { format!(" {constraint}") };
    let condition = if *if_installed { " if it is installed" } else { "" };
    let needed_by = if chain.len() < 2 {
        String::new()
    } else {
        let names: Vec<_> = chain.iter().map(|(name, _)| name).chain([plugin]).cloned().collect();
        format!(" (needed by: {})", path(&names))
    };
    format!("{subject} requires plugin {plugin}{constraint}{condition}{needed_by}")
}

/// Returns the second half of the sentence that [`requires`] begins.
fn explain_problem(dependency: &DependencyChain, problem: &DependencyProblem, audience: Audience<'_>) -> String {
    let plugin = &dependency.plugin;
    let why = commands::why(plugin, audience.host);
    let list = format!("run `{why}` to see its versions");
    let act = |command: &dyn Fn() -> String| act(plugin, audience, command);
    match problem {
        DependencyProblem::NotPublished => {
            format!("which is not published; run `{why}` to see its published tags")
        }
        DependencyProblem::NoneInRange { installed: None } => {
            format!("but no published version is in that range; {list}")
        }
        DependencyProblem::NoneInRange { installed: Some(installed) } => {
            format!("but {installed} is installed and no published version is in that range; {list}")
        }
        DependencyProblem::OnlyPreReleases { newest } => {
            let install = act(&|| format!("; run `{}`", commands::install(plugin, newest)));
            format!("but only pre-releases are in that range{install}")
        }
        DependencyProblem::OtherMajor { installed, major } => {
            let install = act(&|| format!("; run `d8 plugins install {plugin} --use-major {major}`"));
            format!("but {installed} is installed{install}")
        }
        DependencyProblem::TooNew { installed, newest } => {
            let install = act(&|| format!("; run `{}`", commands::install(plugin, newest)));
            format!("but {installed} is installed, which is too new{install}")
        }
        DependencyProblem::UnknownVersion => {
            let install = act(&|| format!("; reinstall it with `d8 plugins install {plugin} --force`"));
            format!("but its installed version is unknown{install}")
        }
        DependencyProblem::OtherVersionPlanned { planned } => {
            format!("but the plan already has {planned}; {list}")
        }
        DependencyProblem::ConstraintsDisagree { with, other_constraint } => format!(
            "but {with}, which is installed with it, requires {plugin} {other_constraint}, and no published version \
             meets both; {list}"
        ),
        DependencyProblem::MissingDependenciesRefused { .. } => {
            let install = act(&|| format!("; run `d8 plugins install {plugin}` first"));
            format!("and dependencies are not installed automatically{install}")
        }
        DependencyProblem::NotEligible { reason, required } => {
            let version = reason.subject.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            let required = match required {
                Some(required) => format!("; {} requires {}", required.by, required.plugin),
                None => String::new(),
            };
            let elsewhere = Audience { sees_versions: false, ..audience };
            let reason = super::causes::explain(reason, elsewhere);
            format!("but {plugin}{version} may not be installed: {reason}{required}")
        }
    }
}

/// Returns the end of a sentence that names a command for the machine of the reader, or the command that shows what is on
/// another machine.
fn act(plugin: &Component, audience: Audience<'_>, command: impl FnOnce() -> String) -> String {
    match audience.host {
        None => command(),
        Some(_) => format!("; see `{}`", commands::why(plugin, audience.host)),
    }
}

fn update_all(component: &Component, audience: Audience<'_>) -> String {
    act(component, audience, || "; update installed plugins first: `d8 plugins update all`".to_owned())
}

fn path(names: &[Component]) -> String {
    names.iter().map(Component::name).collect::<Vec<_>>().join(" -> ")
}
