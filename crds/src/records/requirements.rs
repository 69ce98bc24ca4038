//! What a version demands of the cluster and of other plugins. The shapes stand here, `check` judges
//! them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a version demands. The same shape in a contract and in a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirements {
    /// On the API server's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VersionRequirement>,
    /// On Deckhouse's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deckhouse: Option<VersionRequirement>,
    /// On Deckhouse modules.
    #[serde(skip_serializing_if = "ModuleRequirements::is_empty")]
    pub modules: ModuleRequirements,
    /// On other plugins of the host.
    #[serde(skip_serializing_if = "PluginRequirements::is_empty")]
    pub plugins: PluginRequirements,
}

impl Requirements {
    /// Nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Something is demanded of the cluster: checking needs its facts.
    pub fn concern_cluster(&self) -> bool {
        let demanded = |r: &Option<VersionRequirement>| r.as_ref().is_some_and(|r| !r.constraint.is_empty());
        demanded(&self.kubernetes) || demanded(&self.deckhouse) || !self.modules.is_empty()
    }
}

/// A constraint on one version; empty means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionRequirement {
    /// In the syntax of `constraint`.
    pub constraint: String,
}

/// A module or plugin, and the versions of it that do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedRequirement {
    /// The module's or the plugin's name.
    pub name: String,
    /// In the syntax of `constraint`; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub constraint: String,
}

/// What is demanded of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModuleRequirements {
    /// Enabled and in range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mandatory: Vec<NamedRequirement>,
    /// In range if enabled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditional: Vec<NamedRequirement>,
    /// Of each group one member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<ModuleGroup>,
    /// Of each group no member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<ModuleGroup>,
}

impl ModuleRequirements {
    /// Nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The names of all modules that it speaks of, as often as it does.
    pub fn names(&self) -> Vec<&str> {
        let groups = self.any_of.iter().chain(&self.none_of).flat_map(|group| &group.modules);
        self.mandatory.iter().chain(&self.conditional).chain(groups).map(|module| module.name.as_str()).collect()
    }
}

/// A named group of modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleGroup {
    /// Distinct among the groups of its kind; absent: by position, `group 1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// At least one.
    pub modules: Vec<NamedRequirement>,
}

/// What is demanded of other plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginRequirements {
    /// Installed and in range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mandatory: Vec<NamedRequirement>,
    /// In range if installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditional: Vec<NamedRequirement>,
}

impl PluginRequirements {
    /// Nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
