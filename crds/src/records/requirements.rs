//! Requirements of a version on the cluster and on other plugins. [`crate::decisions::requirements`] checks
//! them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requirements of a version. Contracts and records have the same structure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirements {
    /// Requirement on the version of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VersionRequirement>,
    /// Requirement on the version of Deckhouse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deckhouse: Option<VersionRequirement>,
    /// Requirements on Deckhouse modules.
    #[serde(skip_serializing_if = "ModuleRequirements::is_empty")]
    pub modules: ModuleRequirements,
    /// Requirements on other plugins of the host.
    #[serde(skip_serializing_if = "PluginRequirements::is_empty")]
    pub plugins: PluginRequirements,
}

impl Requirements {
    /// Returns whether there are no requirements.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether there are requirements on the cluster, so that a check needs its facts.
    pub fn need_cluster_facts(&self) -> bool {
        let is_set = |r: &Option<VersionRequirement>| r.as_ref().is_some_and(|r| !r.constraint.is_empty());
        is_set(&self.kubernetes) || is_set(&self.deckhouse) || !self.modules.is_empty()
    }
}

/// A requirement on one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionRequirement {
    /// Version constraint. Empty means any version.
    pub constraint: String,
}

/// A required module or plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedRequirement {
    /// Name of the module or the plugin.
    pub name: String,
    /// Version constraint. Empty means any version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub constraint: String,
}

/// Requirements on Deckhouse modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModuleRequirements {
    /// Modules that must be enabled with a matching version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mandatory: Vec<NamedRequirement>,
    /// Modules that must have a matching version if they are enabled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditional: Vec<NamedRequirement>,
    /// Groups of modules. In each group, at least one module must be enabled with a matching version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<ModuleGroup>,
    /// Groups of modules. In each group, no module may be enabled with a matching version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<ModuleGroup>,
}

impl ModuleRequirements {
    /// Returns whether there are no requirements.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the names of all modules in the requirements, with duplicates.
    pub fn names(&self) -> Vec<&str> {
        let groups = self.any_of.iter().chain(&self.none_of).flat_map(|group| &group.modules);
        self.mandatory.iter().chain(&self.conditional).chain(groups).map(|module| module.name.as_str()).collect()
    }
}

/// A named group of modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleGroup {
    /// Name of the group, unique among the groups of its list. Absent: the position, for example `group 1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Purpose of the group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Modules of the group, at least one.
    pub modules: Vec<NamedRequirement>,
}

/// Requirements on other plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginRequirements {
    /// Plugins that must be installed with a matching version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mandatory: Vec<NamedRequirement>,
    /// Plugins that must have a matching version if they are installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditional: Vec<NamedRequirement>,
}

impl PluginRequirements {
    /// Returns whether there are no requirements.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the names of all plugins in the requirements, with duplicates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mandatory.iter().chain(&self.conditional).map(|plugin| plugin.name.as_str())
    }
}
