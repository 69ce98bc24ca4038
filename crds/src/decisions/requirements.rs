//! Whether a cluster, and the host's other plugins, meet what a version demands. Decides and words
//! it; who asks decides what follows.

use std::collections::BTreeMap;

use crate::records::requirements::{ModuleGroup, NamedRequirement, Requirements, VersionRequirement};
use crate::{
    records::{
        cluster::{ClusterFacts, ClusterVersion, Fact, ModuleState},
        release::Fit,
    },
    values::{constraint::Constraint, name::PluginName, text::printable, version::Version},
};

/// What checking found, a sentence each, fit for a terminal, that goes on from the version's name:
/// `requires Kubernetes >=1.34, the cluster runs v1.33.4`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is not met.
    pub unmet: Vec<String>,
    /// What could not be checked.
    pub unchecked: Vec<String>,
    /// What passed without being known to be met.
    pub warnings: Vec<String>,
}

impl Findings {
    /// What they make of the version.
    pub fn fit(&self) -> Fit {
        if !self.unmet.is_empty() {
            Fit::Unfit
        } else if !self.unchecked.is_empty() {
            Fit::Unknown
        } else {
            Fit::Fits
        }
    }

    /// Adds what another check found.
    pub fn extend(&mut self, other: Self) {
        self.unmet.extend(other.unmet);
        self.unchecked.extend(other.unchecked);
        self.warnings.extend(other.warnings);
    }

    fn unmet(&mut self, sentence: &str) {
        self.unmet.push(printable(sentence).into_owned());
    }

    fn unchecked(&mut self, sentence: &str) {
        self.unchecked.push(printable(sentence).into_owned());
    }

    fn warn(&mut self, sentence: &str) {
        self.warnings.push(printable(sentence).into_owned());
    }

    /// The fact, if it is known; else says what could not be checked.
    fn known<'f, T>(&mut self, fact: &'f Fact<T>, demand: &str) -> Option<&'f T> {
        match fact {
            Fact::Known(known) => return Some(known),
            Fact::Skipped(why) => self.warn(&format!("{demand}, not checked: {why}")),
            Fact::Unreadable(why) => self.unchecked(&format!("{demand}, which could not be checked: {why}")),
        }
        None
    }

    /// The constraint, if it is one. Those of contracts are; a record may have been written by anyone.
    fn constraint(&mut self, text: &str, demand: &str) -> Option<Constraint> {
        Constraint::parse(text).map_err(|error| self.unchecked(&format!("{demand}: {error}"))).ok()
    }
}

/// Checks what a version demands of the cluster: Kubernetes, then Deckhouse, then modules. All that
/// fails is reported.
pub fn check(requirements: &Requirements, facts: &ClusterFacts) -> Findings {
    let mut findings = Findings::default();
    for (product, requirement, fact) in [
        ("Kubernetes", &requirements.kubernetes, &facts.kubernetes),
        ("Deckhouse", &requirements.deckhouse, &facts.deckhouse),
    ] {
        if let Some(requirement) = requirement {
            check_version(&mut findings, product, requirement, fact);
        }
    }
    if !requirements.modules.is_empty() {
        let demand = format!("requires {}", plural(&requirements.modules.names()));
        if let Some(modules) = findings.known(&facts.modules, &demand) {
            Modules { modules, findings: &mut findings }.check(requirements);
        }
    }
    findings
}

fn check_version(
    findings: &mut Findings,
    product: &str,
    requirement: &VersionRequirement,
    fact: &Fact<ClusterVersion>,
) {
    if requirement.constraint.is_empty() {
        return;
    }
    let demand = format!("requires {product} {}", requirement.constraint.trim());
    let Some(constraint) = findings.constraint(&requirement.constraint, &demand) else { return };
    let Some(known) = findings.known(fact, &demand) else { return };
    if !constraint.matches(known.version()) {
        findings.unmet(&format!("{demand}, the cluster runs {}", known.raw()));
    }
}

/// How a module stands to a requirement.
enum Standing {
    /// Not enabled, or not there.
    Off,
    /// Enabled and in range.
    Within,
    /// Enabled, in another version.
    Outside(String),
    /// Enabled; a constraint is given, but the module has no version that could be compared.
    Unversioned,
    /// The constraint is none.
    Unjudged,
}

struct Modules<'a> {
    modules: &'a BTreeMap<String, ModuleState>,
    findings: &'a mut Findings,
}

impl Modules<'_> {
    fn check(&mut self, requirements: &Requirements) {
        let wanted = &requirements.modules;
        for module in &wanted.mandatory {
            self.mandatory(module);
        }
        for module in &wanted.conditional {
            self.conditional(module);
        }
        for group in &wanted.any_of {
            self.any_of(group);
        }
        for group in &wanted.none_of {
            self.none_of(group);
        }
    }

    fn standing(&mut self, wanted: &NamedRequirement) -> Standing {
        let Some(module) = self.modules.get(&wanted.name).filter(|module| module.enabled) else { return Standing::Off };
        if wanted.constraint.is_empty() {
            return Standing::Within;
        }
        let demand = format!("requires module {}", shown(wanted));
        let Some(constraint) = self.findings.constraint(&wanted.constraint, &demand) else { return Standing::Unjudged };
        match module.known_version() {
            None => Standing::Unversioned,
            Some(version) if constraint.matches(version.version()) => Standing::Within,
            Some(version) => Standing::Outside(version.raw().to_owned()),
        }
    }

    fn mandatory(&mut self, wanted: &NamedRequirement) {
        let demand = format!("requires module {}", shown(wanted));
        match self.standing(wanted) {
            Standing::Within | Standing::Unjudged => {}
            Standing::Off => self.findings.unmet(&format!("{demand}, which is not enabled")),
            Standing::Outside(version) => self.findings.unmet(&format!("{demand}, the cluster has {version}")),
            Standing::Unversioned => self.findings.warn(&format!("{demand}, not checked: the module has no version")),
        }
    }

    fn conditional(&mut self, wanted: &NamedRequirement) {
        let demand = format!("requires module {} where it is enabled", shown(wanted));
        match self.standing(wanted) {
            Standing::Off | Standing::Within | Standing::Unjudged => {}
            Standing::Outside(version) => self.findings.unmet(&format!("{demand}, the cluster has {version}")),
            Standing::Unversioned => self.findings.warn(&format!("{demand}, not checked: the module has no version")),
        }
    }

    /// Here a module without a version is no answer to a constraint: another member may be one. Where a
    /// member can't be judged and no other answers, it is not known whether the demand is met.
    fn any_of(&mut self, group: &ModuleGroup) {
        let mut states = Vec::new();
        let mut is_judged = true;
        for wanted in &group.modules {
            let name = &wanted.name;
            states.push(match self.standing(wanted) {
                Standing::Within => return,
                Standing::Off => format!("{name} is not enabled"),
                Standing::Outside(version) => format!("{name} is {version}"),
                Standing::Unversioned => format!("{name} has no version"),
                Standing::Unjudged => {
                    is_judged = false;
                    continue;
                }
            });
        }
        if !is_judged {
            return;
        }
        let members: Vec<_> = group.modules.iter().map(shown).collect();
        let sentence =
            format!("requires one of the modules {} ({}): {}", members.join(", "), group.name, states.join(", "));
        self.findings.unmet(&sentence);
    }

    fn none_of(&mut self, group: &ModuleGroup) {
        for wanted in &group.modules {
            let demand = format!("excludes module {} ({})", shown(wanted), group.name);
            match self.standing(wanted) {
                Standing::Off | Standing::Outside(_) | Standing::Unjudged => {}
                Standing::Within => match self.modules.get(&wanted.name).and_then(|module| module.version.as_ref()) {
                    Some(version) if !wanted.constraint.is_empty() => {
                        self.findings.unmet(&format!("{demand}, the cluster has {version}"));
                    }
                    _ => self.findings.unmet(&format!("{demand}, which is enabled")),
                },
                Standing::Unversioned => {
                    self.findings.warn(&format!("{demand}, not checked: the module has no version"));
                }
            }
        }
    }
}

/// Checks what a version demands of the host's other plugins. `installed` has every installed plugin
/// with its active version; None: installed, the version is not known.
pub fn check_plugins(requirements: &Requirements, installed: &BTreeMap<PluginName, Option<Version>>) -> Findings {
    let mut findings = Findings::default();
    let wanted = &requirements.plugins;
    let all = wanted.mandatory.iter().map(|w| (w, true)).chain(wanted.conditional.iter().map(|w| (w, false)));
    for (wanted, mandatory) in all {
        let demand =
            format!("requires plugin {}{}", shown(wanted), if mandatory { "" } else { " where it is installed" });
        let active = wanted.name.parse().ok().and_then(|name: PluginName| installed.get(&name));
        let Some(active) = active else {
            if mandatory {
                findings.unmet(&format!("{demand}, which is not installed"));
            }
            continue;
        };
        let Some(constraint) = findings.constraint(&wanted.constraint, &demand) else { continue };
        match active {
            Some(version) if constraint.matches(version) => {}
            Some(version) => findings.unmet(&format!("{demand}, {version} is installed")),
            None if constraint.is_any() => {}
            None => findings.unchecked(&format!("{demand}, whose installed version is not known")),
        }
    }
    findings
}

fn shown(wanted: &NamedRequirement) -> String {
    format!("{} {}", wanted.name, wanted.constraint.trim()).trim_end().to_owned()
}

fn plural(names: &[&str]) -> String {
    format!("module{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

#[cfg(test)]
mod tests;
