//! What is wrong with the plugins that a plugin needs: these are on this machine, so the cluster is not the cause.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        reason::Reason,
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
    /// Plugins that are needed and damaged.
    damaged: Vec<DamagedPlugin>,
}

/// A damaged plugin that another one needs.
struct DamagedPlugin {
    name: PluginName,
    damage: String,
    /// Why policies refuse to run and to repair it.
    refusal: Option<Reason>,
}

impl HostFindings {
    /// `refusal` returns why policies refuse to run a plugin.
    pub(super) fn of(
        requirements: &Requirements,
        installed: &BTreeMap<PluginName, InstalledPlugin>,
        refusal: impl Fn(&InstalledPlugin) -> Option<Reason>,
    ) -> Self {
        let versions = installed.iter().map(|(name, plugin)| (name.clone(), plugin.version())).collect();
        let needed = requirements.plugins.mandatory.iter().filter_map(|needed| needed.name.parse().ok());
        let damage = |name: PluginName| {
            let plugin = installed.get(&name)?;
            Some(DamagedPlugin { name, damage: plugin.damage()?, refusal: refusal(plugin) })
        };
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
        for DamagedPlugin { name: plugin, damage, refusal } in &self.damaged {
            failure = failure.because(format!("requires plugin {plugin}, which is damaged: {damage}"));
            failure = match refusal {
                None => failure.advise(format!("plugin {plugin} is damaged"), format!("`d8 plugins install {plugin}`")),
                Some(reason) => failure.because(explain::to_person(reason)).advise(
                    format!("a policy refuses to run and to repair plugin {plugin}"),
                    format!("ask an admin to change the policy, or remove {name}: `d8 plugins remove {name}`"),
                ),
            };
        }
        for unchecked in self.findings.unchecked.iter().filter(|unchecked| !self.is_damaged(unchecked)) {
            failure = match of_unknown_version(unchecked) {
                Some(plugin) => failure.because(explain::unchecked(unchecked)).advise(
                    format!("the version of plugin {plugin} is not known"),
                    format!("install it again: `d8 plugins install {plugin} --force`"),
                ),
                None => failure.because(format!("the contract of {name}: {}", explain::unchecked(unchecked))).advise(
                    format!("the contract of {name} is wrong or was changed"),
                    format!(
                        "download it again: `d8 plugins install {name} --force`; if that does not help, ask the \
                         publisher of {name} to correct it, or find another version: `d8 plugins why {name}`"
                    ),
                ),
            };
        }
        failure
    }

    /// Returns whether the damage is reported instead.
    fn is_damaged(&self, unchecked: &Unchecked) -> bool {
        of_unknown_version(unchecked)
            .is_some_and(|plugin| self.damaged.iter().any(|damaged| damaged.name.as_str() == plugin))
    }
}

/// Returns the plugin whose unknown version is the cause.
fn of_unknown_version(unchecked: &Unchecked) -> Option<&str> {
    match unchecked {
        Unchecked::PluginVersionUnknown { requirement: Requirement::Plugin { plugin, .. } } => Some(plugin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::values::version::Version;

    use super::*;
    use crate::terminal::failure::Code;

    /// What is said if `a`, which requires `b`, runs.
    fn message(constraint: &str, version: Option<&str>, damaged: bool) -> String {
        let needs = serde_json::json!({"plugins": {"mandatory": [{"name": "b", "constraint": constraint}]}});
        let requirements: Requirements = serde_json::from_value(needs).unwrap();
        let b: PluginName = "b".parse().unwrap();
        let versions = BTreeMap::from([(b.clone(), version.map(|version| Version::parse(version).unwrap()))]);
        let findings = requirements::check_plugins(&requirements, &versions);
        let damage = "v1 is missing".to_owned();
        let damaged = damaged.then_some(DamagedPlugin { name: b, damage, refusal: None });
        let host = HostFindings { findings, damaged: damaged.into_iter().collect() };
        assert!(host.is_failure());
        host.add_to(Failure::new(Code::Requirements, "a cannot run"), &"a".parse().unwrap()).to_string()
    }

    #[test]
    fn the_contract_that_is_wrong_is_named() {
        for damaged in [false, true] {
            let text = message("=>>1", Some("1.0.0"), damaged);
            for words in ["the contract of a: requires plugin b", "`d8 plugins install a --force`", "publisher of a"] {
                assert!(text.contains(words), "{words}: {text}");
            }
            assert_eq!(text.contains("`d8 plugins install b"), damaged, "{text}");
        }
    }

    #[test]
    fn an_unknown_version_is_that_of_the_other_plugin() {
        let text = message(">=1", None, false);
        assert!(text.contains("`d8 plugins install b --force`") && !text.contains("the contract of a"), "{text}");
        assert!(!message(">=1", None, true).contains("--force"), "the damage is reported instead");
    }
}
