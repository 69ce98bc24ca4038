//! Sentences about requirements. Each one goes on from the version's name: `requires Kubernetes >=1.34, the
//! cluster runs v1.33.4`. At most 256 characters.

use crate::{
    decisions::requirements::{Found, FoundModule, ModuleRange, Requirement, Unchecked, Unmet, Warning},
    values::{constraint::Constraint, text::printable, version::Version},
};

/// Explains a requirement that is not met.
pub fn unmet(unmet: &Unmet) -> String {
    bounded(&match unmet {
        Unmet::NotForPlatform { platform, why: None } => format!("is not published for {platform}"),
        Unmet::NotForPlatform { platform, why: Some(why) } => format!("cannot be used on {platform}: {why}"),
        Unmet::Requirement { requirement, found } => {
            format!("{}{}{}", shown(requirement), covered(requirement, found), shown_found(requirement, found))
        }
        Unmet::Recorded { reason: Some(reason) } => reason.clone(),
        Unmet::Recorded { reason: None } => "does not fit the cluster, and the record gives no reason".to_owned(),
    })
}

/// Explains a requirement that could not be checked.
pub fn unchecked(unchecked: &Unchecked) -> String {
    bounded(&match unchecked {
        Unchecked::ClusterUnreadable { requirement, error } => {
            format!("{}, which could not be checked: {error}", shown(requirement))
        }
        Unchecked::BadConstraint { requirement, constraint_error } => {
            format!("{}: {constraint_error}", shown(requirement))
        }
        Unchecked::PluginVersionUnknown { requirement } => {
            format!("{}, whose installed version is unknown", shown(requirement))
        }
        Unchecked::ContractUnreadable { contract_error } => {
            format!("has requirements that cannot be read: {contract_error}")
        }
        Unchecked::Recorded { reason: Some(reason) } => reason.clone(),
        Unchecked::Recorded { reason: None } => {
            "has requirements that are not known to be met, and the record gives no reason".to_owned()
        }
    })
}

/// Explains a requirement that passes although nothing shows that it is met.
pub fn warning(warning: &Warning) -> String {
    bounded(&match warning {
        Warning::Skipped { requirement, why } => format!("{}, not checked: {why}", shown(requirement)),
        Warning::NoModuleVersion { requirement } => {
            format!("{}, not checked: the module has no version", shown(requirement))
        }
    })
}

/// Returns what to add about a version that a constraint excludes only as a pre-release: `, which covers releases only`.
pub(super) fn releases_only(constraint: &str, version: &Version) -> Option<&'static str> {
    let constraint = Constraint::parse(constraint).ok()?;
    constraint.excludes_as_prerelease(version).then_some(", which covers releases only")
}

fn bounded(sentence: &str) -> String {
    printable(sentence).into_owned()
}

fn shown(requirement: &Requirement) -> String {
    match requirement {
        Requirement::Kubernetes { constraint } => format!("requires Kubernetes {constraint}"),
        Requirement::Deckhouse { constraint } => format!("requires Deckhouse {constraint}"),
        Requirement::Modules { modules } => {
            format!("requires module{} {}", if modules.len() == 1 { "" } else { "s" }, modules.join(", "))
        }
        Requirement::Module { module, constraint, if_enabled } => {
            let condition = if *if_enabled { " if it is enabled" } else { "" };
            format!("requires module {}{condition}", range(module, constraint))
        }
        Requirement::AnyModule { group, modules } => {
            let members: Vec<_> =
                modules.iter().map(|ModuleRange { module, constraint }| range(module, constraint)).collect();
            format!("requires one of the modules {} ({group})", members.join(", "))
        }
        Requirement::NoModule { group, module, constraint } => {
            format!("excludes module {} ({group})", range(module, constraint))
        }
        Requirement::Plugin { plugin, constraint, if_installed } => {
            let condition = if *if_installed { " if it is installed" } else { "" };
            format!("requires plugin {}{condition}", range(plugin, constraint))
        }
    }
}

/// Returns what to add about a constraint that excludes what was found only as a pre-release.
fn covered(requirement: &Requirement, found: &Found) -> &'static str {
    let constraint = match requirement {
        Requirement::Kubernetes { constraint }
        | Requirement::Deckhouse { constraint }
        | Requirement::Module { constraint, .. }
        | Requirement::Plugin { constraint, .. } => constraint,
        Requirement::Modules { .. } | Requirement::AnyModule { .. } | Requirement::NoModule { .. } => return "",
    };
    let Found::Version(version) = found else { return "" };
    Version::parse(version).ok().and_then(|version| releases_only(constraint, &version)).unwrap_or_default()
}

fn shown_found(requirement: &Requirement, found: &Found) -> String {
    match (requirement, found) {
        (Requirement::Kubernetes { .. } | Requirement::Deckhouse { .. }, Found::Version(version)) => {
            format!(", the cluster runs {version}")
        }
        (Requirement::Plugin { .. }, Found::Version(version)) => format!(", {version} is installed"),
        (_, Found::Version(version)) => format!(", the cluster has {version}"),
        (_, Found::Enabled) => ", which is enabled".to_owned(),
        (_, Found::NotEnabled) => ", which is not enabled".to_owned(),
        (_, Found::NoVersion) => ", which has no version".to_owned(),
        (_, Found::NotInstalled) => ", which is not installed".to_owned(),
        (_, Found::Modules(modules)) => {
            let states: Vec<_> =
                modules.iter().map(|FoundModule { module, found }| format!("{module} {}", state(found))).collect();
            format!(": {}", states.join(", "))
        }
    }
}

/// Returns the state of one module of a group.
fn state(found: &Found) -> String {
    match found {
        Found::Version(version) => format!("is {version}"),
        Found::Enabled => "is enabled".to_owned(),
        Found::NotEnabled => "is not enabled".to_owned(),
        Found::NoVersion => "has no version".to_owned(),
        Found::NotInstalled => "is not installed".to_owned(),
        Found::Modules(modules) => format!("has {} members", modules.len()),
    }
}

fn range(name: &str, constraint: &str) -> String {
    format!("{name} {constraint}").trim_end().to_owned()
}
