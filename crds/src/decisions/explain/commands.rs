//! Command lines that sentences name.

use std::fmt::Display;

use crate::{
    decisions::{reason::Subject, requirements::Requirement},
    values::{name::Component, version::Version},
};

/// Returns the command that installs one version.
pub fn install(component: &Component, version: &Version) -> String {
    match component {
        Component::D8 => format!("d8 cli update --version {version}"),
        Component::Plugin(name) => format!("d8 plugins install {name} --version {version}"),
    }
}

/// Returns the command that shows every version with its verdict, on this machine or on a managed host.
pub(super) fn why(component: &Component, host: Option<&str>) -> String {
    match (component, host) {
        (Component::D8, None) => "d8 cli check".to_owned(),
        (Component::Plugin(name), None) => format!("d8 plugins why {name}"),
        (component, Some(host)) => format!("d8 plugins why {component} --host {host}"),
    }
}

/// Returns the command that takes the newest permitted version.
pub(super) fn update(subject: &Subject) -> String {
    match (&subject.component, &subject.active) {
        (Component::D8, _) => "d8 cli update".to_owned(),
        (Component::Plugin(name), Some(_)) => format!("d8 plugins update {name}"),
        (Component::Plugin(name), None) => format!("d8 plugins install {name}"),
    }
}

/// Returns the command that takes the version in question.
pub(super) fn take(subject: &Subject) -> String {
    match &subject.version {
        None => update(subject),
        Some(version) => install(&subject.component, version),
    }
}

/// Returns the command that creates the record of a component.
pub fn create_record(component: &Component) -> String {
    create_record_with(component, None)
}

/// Returns the command that creates a record which lists `version`, too, if that is a pre-release.
pub(super) fn create_record_with(component: &Component, version: Option<&Version>) -> String {
    let is_prerelease = version.is_some_and(Version::is_prerelease);
    let spec = if is_prerelease { serde_json::json!({"channel": "Prerelease"}) } else { serde_json::json!({}) };
    let record = serde_json::json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "CliRelease",
        "metadata": {"name": component.name()},
        "spec": spec,
    });
    format!("echo '{record}' | kubectl apply -f -")
}

/// Returns the command that makes a record list pre-releases.
pub(super) fn list_prereleases(component: &Component) -> String {
    format!("kubectl patch clirelease {component} --type=merge -p '{{\"spec\":{{\"channel\":\"Prerelease\"}}}}'")
}

/// Returns the command that reads what a requirement is about.
pub(super) fn read_fact(requirement: &Requirement) -> &'static str {
    match requirement {
        Requirement::Kubernetes { .. } => "kubectl version",
        Requirement::Deckhouse { .. } => "kubectl -n d8-system get deployment deckhouse",
        Requirement::Modules { .. }
        | Requirement::Module { .. }
        | Requirement::AnyModule { .. }
        | Requirement::NoModule { .. } => "kubectl get modules.deckhouse.io",
        Requirement::Plugin { .. } => "d8 plugins list",
    }
}

/// Returns the command that removes a plugin.
pub(super) fn remove(component: &impl Display) -> String {
    format!("d8 plugins remove {component}")
}
