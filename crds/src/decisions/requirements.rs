//! Whether a cluster, and the host's other plugins, meet what a version requires. Returns data;
//! [`explain`](crate::decisions::explain) has the sentences.

mod finding;
mod recorded;

use std::collections::BTreeMap;

use self::finding::shown;
pub use self::finding::{Findings, Found, FoundModule, ModuleRange, Requirement, Unchecked, Unmet, Warning};
use crate::{
    records::{
        cluster::{ClusterFacts, ClusterVersion, Fact, ModuleState},
        requirements::{ModuleGroup, NamedRequirement, Requirements, VersionRequirement},
    },
    values::{
        constraint::{Constraint, ConstraintError},
        name::PluginName,
        version::Version,
    },
};

/// Checks what a version requires of the cluster: Kubernetes, then Deckhouse, then modules. Reports
/// everything that fails.
pub fn check(requirements: &Requirements, facts: &ClusterFacts) -> Findings {
    let mut findings = Findings::default();
    let kubernetes = |constraint| Requirement::Kubernetes { constraint };
    check_version(&mut findings, requirements.kubernetes.as_ref(), &facts.kubernetes, kubernetes);
    let deckhouse = |constraint| Requirement::Deckhouse { constraint };
    check_version(&mut findings, requirements.deckhouse.as_ref(), &facts.deckhouse, deckhouse);
    if !requirements.modules.is_empty() {
        let all = || Requirement::modules(&requirements.modules.names());
        if let Some(modules) = findings.known(&facts.modules, all) {
            Modules { modules, findings: &mut findings }.check(requirements);
        }
    }
    findings
}

impl Findings {
    /// Returns the fact if it is known; else notes that the requirement could not be checked.
    fn known<'f, T>(&mut self, fact: &'f Fact<T>, requirement: impl Fn() -> Requirement) -> Option<&'f T> {
        match fact {
            Fact::Known(known) => return Some(known),
            Fact::Skipped(why) => {
                self.warnings.push(Warning::Skipped { requirement: requirement(), why: shown(why) });
            }
            Fact::Unreadable(why) => {
                let unreadable = Unchecked::ClusterUnreadable { requirement: requirement(), error: shown(why) };
                self.unchecked.push(unreadable);
            }
        }
        None
    }

    /// Returns the parsed constraint; else notes that it is malformed. Contracts are checked when they are
    /// read, but anyone may have written a record.
    fn constraint(&mut self, text: &str, requirement: impl Fn() -> Requirement) -> Option<Constraint> {
        let malformed = |error: ConstraintError| Unchecked::BadConstraint {
            requirement: requirement(),
            constraint_error: error.to_string(),
        };
        Constraint::parse(text).map_err(|error| self.unchecked.push(malformed(error))).ok()
    }

    fn unmet(&mut self, requirement: Requirement, found: Found) {
        self.unmet.push(Unmet::Requirement { requirement, found });
    }
}

fn check_version(
    findings: &mut Findings,
    requirement: Option<&VersionRequirement>,
    fact: &Fact<ClusterVersion>,
    of: fn(String) -> Requirement,
) {
    let Some(VersionRequirement { constraint: text }) = requirement.filter(|r| !r.constraint.is_empty()) else {
        return;
    };
    let requirement = || of(shown(text.trim()));
    let Some(constraint) = findings.constraint(text, requirement) else { return };
    let Some(known) = findings.known(fact, requirement) else { return };
    if !constraint.matches(known.version()) {
        findings.unmet(requirement(), Found::Version(shown(known.raw())));
    }
}

/// State of a module, compared with a requirement.
enum ModuleCheck {
    /// Not enabled, or absent.
    Off,
    /// Enabled and in range.
    InRange,
    /// Enabled, in another version.
    OutOfRange(String),
    /// Enabled, and without a version that the constraint could be compared with.
    Unversioned,
    /// The constraint is malformed.
    BadConstraint,
}

struct Modules<'a> {
    modules: &'a BTreeMap<String, ModuleState>,
    findings: &'a mut Findings,
}

impl Modules<'_> {
    fn check(&mut self, requirements: &Requirements) {
        let wanted = &requirements.modules;
        for module in &wanted.mandatory {
            self.check_module(module, false);
        }
        for module in &wanted.conditional {
            self.check_module(module, true);
        }
        for group in &wanted.any_of {
            self.check_any_of(group);
        }
        for group in &wanted.none_of {
            self.check_none_of(group);
        }
    }

    fn compare(&mut self, wanted: &NamedRequirement) -> ModuleCheck {
        let enabled = self.modules.get(&wanted.name).filter(|module| module.enabled);
        let Some(module) = enabled else { return ModuleCheck::Off };
        if wanted.constraint.is_empty() {
            return ModuleCheck::InRange;
        }
        let requirement = || Requirement::module(wanted, false);
        let Some(constraint) = self.findings.constraint(&wanted.constraint, requirement) else {
            return ModuleCheck::BadConstraint;
        };
        match module.known_version() {
            None => ModuleCheck::Unversioned,
            Some(version) if constraint.matches(version.version()) => ModuleCheck::InRange,
            Some(version) => ModuleCheck::OutOfRange(shown(version.raw())),
        }
    }

    fn check_module(&mut self, wanted: &NamedRequirement, if_enabled: bool) {
        let requirement = || Requirement::module(wanted, if_enabled);
        match self.compare(wanted) {
            ModuleCheck::InRange | ModuleCheck::BadConstraint => {}
            ModuleCheck::Off if if_enabled => {}
            ModuleCheck::Off => self.findings.unmet(requirement(), Found::NotEnabled),
            ModuleCheck::OutOfRange(version) => self.findings.unmet(requirement(), Found::Version(version)),
            ModuleCheck::Unversioned => {
                self.findings.warnings.push(Warning::NoModuleVersion { requirement: requirement() });
            }
        }
    }

    /// A module without a version does not meet a constraint here, because another member may. If a
    /// constraint is malformed and no other member is in range, the result is unknown.
    fn check_any_of(&mut self, group: &ModuleGroup) {
        let mut found = Vec::new();
        let mut is_known = true;
        for wanted in &group.modules {
            let state = match self.compare(wanted) {
                ModuleCheck::InRange => return,
                ModuleCheck::Off => Found::NotEnabled,
                ModuleCheck::OutOfRange(version) => Found::Version(version),
                ModuleCheck::Unversioned => Found::NoVersion,
                ModuleCheck::BadConstraint => {
                    is_known = false;
                    continue;
                }
            };
            found.push(FoundModule { module: shown(&wanted.name), found: state });
        }
        if is_known {
            self.findings.unmet(Requirement::any_module(group), Found::Modules(found));
        }
    }

    fn check_none_of(&mut self, group: &ModuleGroup) {
        for wanted in &group.modules {
            let requirement = || Requirement::no_module(group, wanted);
            match self.compare(wanted) {
                ModuleCheck::Off | ModuleCheck::OutOfRange(_) | ModuleCheck::BadConstraint => {}
                ModuleCheck::InRange => {
                    let version = self.modules.get(&wanted.name).and_then(|module| module.version.as_ref());
                    let found = match version {
                        Some(version) if !wanted.constraint.is_empty() => Found::Version(shown(version)),
                        _ => Found::Enabled,
                    };
                    self.findings.unmet(requirement(), found);
                }
                ModuleCheck::Unversioned => {
                    self.findings.warnings.push(Warning::NoModuleVersion { requirement: requirement() });
                }
            }
        }
    }
}

/// Checks what a version requires of the host's other plugins. `installed` has the installed ones of the required plugins
/// with their active versions, and may have others; `None`: the version is unknown.
pub fn check_plugins(requirements: &Requirements, installed: &BTreeMap<PluginName, Option<Version>>) -> Findings {
    let mut findings = Findings::default();
    let wanted = &requirements.plugins;
    let all = wanted.mandatory.iter().map(|w| (w, false)).chain(wanted.conditional.iter().map(|w| (w, true)));
    for (wanted, if_installed) in all {
        let requirement = || Requirement::plugin(wanted, if_installed);
        let active = wanted.name.parse().ok().and_then(|name: PluginName| installed.get(&name));
        let Some(active) = active else {
            if !if_installed {
                findings.unmet(requirement(), Found::NotInstalled);
            }
            continue;
        };
        let Some(constraint) = findings.constraint(&wanted.constraint, requirement) else { continue };
        match active {
            Some(version) if constraint.matches(version) => {}
            Some(version) => findings.unmet(requirement(), Found::Version(version.to_string())),
            None if constraint.is_any() => {}
            None => findings.unchecked.push(Unchecked::PluginVersionUnknown { requirement: requirement() }),
        }
    }
    findings
}

#[cfg(test)]
mod tests;
