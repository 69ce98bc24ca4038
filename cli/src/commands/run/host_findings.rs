//! What is wrong with the plugins that a plugin needs: these are on this machine, so the cluster is not the cause.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        requirements::{self, Findings, Found, Requirement, Unchecked, Unmet},
    },
    records::requirements::Requirements,
    values::name::PluginName,
};

use crate::{installed::InstalledPlugin, terminal::failure::Failure};

/// What is wrong with the plugins that a plugin needs.
pub(super) struct HostFindings {
    /// Plugins that are missing, or have other versions.
    pub(super) findings: Findings,
    /// Plugins that are needed and damaged, with the damage.
    damaged: Vec<(PluginName, String)>,
}

impl HostFindings {
    pub(super) fn of(requirements: &Requirements, installed: &BTreeMap<PluginName, InstalledPlugin>) -> Self {
        let versions = installed.iter().map(|(name, plugin)| (name.clone(), plugin.version())).collect();
        let needed = requirements.plugins.mandatory.iter().filter_map(|needed| needed.name.parse().ok());
        let damage = |name: PluginName| Some((name.clone(), installed.get(&name)?.damage()?));
        Self {
            findings: requirements::check_plugins(requirements, &versions),
            damaged: needed.filter_map(damage).collect(),
        }
    }

    /// Returns whether the plugin cannot run.
    pub(super) fn is_failure(&self) -> bool {
        !self.findings.unmet.is_empty() || !self.findings.unchecked.is_empty() || !self.damaged.is_empty()
    }

    /// Adds the causes, and the commands that mend them.
    pub(super) fn add_to(&self, mut failure: Failure, name: &PluginName) -> Failure {
        for unmet in &self.findings.unmet {
            failure = failure.because(explain::unmet(unmet));
            failure = match unmet {
                Unmet::Requirement { requirement: Requirement::Plugin { plugin, .. }, found: Found::NotInstalled } => {
                    failure.advise(format!("plugin {plugin} is missing"), format!("`d8 plugins install {plugin}`"))
                }
                _ => failure.advise(
                    "a plugin that it needs has another version",
                    format!("update what it needs: `d8 plugins install {name}`"),
                ),
            };
        }
        for (plugin, damage) in &self.damaged {
            failure = failure
                .because(format!("requires plugin {plugin}, which is damaged: {damage}"))
                .advise(format!("plugin {plugin} is damaged"), format!("`d8 plugins install {plugin}`"));
        }
        for unchecked in self.findings.unchecked.iter().filter(|unchecked| !self.is_damaged(unchecked)) {
            let plugin = required(unchecked).unwrap_or(name.as_str());
            failure = failure.because(explain::unchecked(unchecked)).advise(
                format!("the version of plugin {plugin} is not known"),
                format!("install it again: `d8 plugins install {plugin} --force`"),
            );
        }
        failure
    }

    /// Returns whether the damage is reported instead.
    fn is_damaged(&self, unchecked: &Unchecked) -> bool {
        required(unchecked).is_some_and(|plugin| self.damaged.iter().any(|(damaged, _)| damaged.as_str() == plugin))
    }
}

/// Returns the plugin that a requirement is on.
fn required(unchecked: &Unchecked) -> Option<&str> {
    match unchecked {
        Unchecked::PluginVersionUnknown { requirement: Requirement::Plugin { plugin, .. } }
        | Unchecked::BadConstraint { requirement: Requirement::Plugin { plugin, .. }, .. } => Some(plugin),
        _ => None,
    }
}
