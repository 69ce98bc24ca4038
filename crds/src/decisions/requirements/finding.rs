//! What checking a requirement can find, as data. Every text that comes from a contract, a record or a
//! cluster is made printable here.

use serde::Serialize;

use crate::{
    records::{
        release::Fit,
        requirements::{ModuleGroup, NamedRequirement},
    },
    values::{platform::Platform, text::printable},
};

/// Findings of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Requirements that are not met.
    pub unmet: Vec<Unmet>,
    /// Requirements that could not be checked.
    pub unchecked: Vec<Unchecked>,
    /// Requirements that pass although nothing shows that they are met.
    pub warnings: Vec<Warning>,
}

impl Findings {
    /// Returns what a record says of the version.
    pub fn fit(&self) -> Fit {
        if !self.unmet.is_empty() {
            Fit::Unfit
        } else if !self.unchecked.is_empty() {
            Fit::Unknown
        } else {
            Fit::Fits
        }
    }

    /// Adds the findings of another check.
    pub fn extend(&mut self, other: Self) {
        self.unmet.extend(other.unmet);
        self.unchecked.extend(other.unchecked);
        self.warnings.extend(other.warnings);
    }
}

/// One requirement of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Requirement {
    /// On the version of Kubernetes.
    Kubernetes {
        /// Constraint as the contract has it, printable.
        constraint: String,
    },
    /// On the version of Deckhouse.
    Deckhouse {
        /// Constraint as the contract has it, printable.
        constraint: String,
    },
    /// On several modules, as one: the state of no module is known.
    Modules {
        /// Names of the modules.
        modules: Vec<String>,
    },
    /// On one module, which must be enabled in a version that meets the constraint.
    Module {
        /// Name of the module.
        module: String,
        /// Constraint on its version; empty: any.
        constraint: String,
        /// The requirement binds only while the module is enabled.
        if_enabled: bool,
    },
    /// On one of several modules.
    AnyModule {
        /// Name of the group.
        group: String,
        /// Modules of the group.
        modules: Vec<ModuleRange>,
    },
    /// That a module is not enabled.
    NoModule {
        /// Name of the group that the module is in.
        group: String,
        /// Name of the module.
        module: String,
        /// Constraint on the versions that are excluded; empty: all.
        constraint: String,
    },
    /// On another plugin of the host.
    Plugin {
        /// Name of the plugin.
        plugin: String,
        /// Constraint on its version; empty: any.
        constraint: String,
        /// The requirement binds only while the plugin is installed.
        if_installed: bool,
    },
}

/// Versions of a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRange {
    /// Name of the module.
    pub module: String,
    /// Constraint on its version; empty: any.
    pub constraint: String,
}

/// A requirement that is not met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Unmet {
    /// The version is not published for the host's platform.
    NotForPlatform {
        /// Platform of the host, such as `linux-amd64`.
        platform: Platform,
        /// Why what is published for it cannot be used; `None`: nothing is.
        #[serde(rename = "platformReason", skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The cluster or the host has something else.
    Requirement {
        /// Requirement on the cluster or on an installed plugin.
        requirement: Requirement,
        /// What was found instead.
        found: Found,
    },
    /// The record says so.
    Recorded {
        /// Reason in the record; `None`: it gives none.
        #[serde(rename = "recordedReason", skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What a check found in place of what is required.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "is", content = "value")]
pub enum Found {
    /// The version in the cluster or on the host, printable.
    Version(String),
    /// A module that is enabled, in whatever version.
    Enabled,
    /// A module that is not enabled.
    NotEnabled,
    /// A module without a version.
    NoVersion,
    /// A plugin that is not installed on the host.
    NotInstalled,
    /// Of each module of a group.
    Modules(Vec<FoundModule>),
}

/// What a check found of one module of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FoundModule {
    /// Name of the module.
    pub module: String,
    /// Whether the module is not enabled, has another version, or has none.
    #[serde(flatten)]
    pub found: Found,
}

/// A requirement that could not be checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Unchecked {
    /// The cluster could not be read.
    ClusterUnreadable {
        /// Requirement on Kubernetes, Deckhouse or modules.
        requirement: Requirement,
        /// Error of the reader.
        error: String,
    },
    /// The constraint is malformed.
    BadConstraint {
        /// Requirement with the malformed constraint.
        requirement: Requirement,
        /// What is wrong with the constraint.
        constraint_error: String,
    },
    /// The installed version of the plugin is unknown.
    PluginVersionUnknown {
        /// Requirement on the plugin. Its constraint does not accept every version.
        requirement: Requirement,
    },
    /// What the version requires is unknown.
    ContractUnreadable {
        /// Error of the reader.
        contract_error: String,
    },
    /// The record says so.
    Recorded {
        /// Reason in the record; `None`: it gives none.
        #[serde(rename = "recordedReason", skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// A requirement that passes although nothing shows that it is met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// It was not checked.
    Skipped {
        /// Requirement on Kubernetes, Deckhouse or modules.
        requirement: Requirement,
        /// Why it was not checked.
        why: String,
    },
    /// The module has no version that a constraint could be compared with.
    NoModuleVersion {
        /// Requirement on the module, with a constraint.
        requirement: Requirement,
    },
}

impl Requirement {
    pub(super) fn modules(names: &[&str]) -> Self {
        Self::Modules { modules: names.iter().map(|name| shown(name)).collect() }
    }

    pub(super) fn module(wanted: &NamedRequirement, if_enabled: bool) -> Self {
        let ModuleRange { module, constraint } = ModuleRange::new(wanted);
        Self::Module { module, constraint, if_enabled }
    }

    pub(super) fn any_module(group: &ModuleGroup) -> Self {
        Self::AnyModule { group: shown(&group.name), modules: group.modules.iter().map(ModuleRange::new).collect() }
    }

    pub(super) fn no_module(group: &ModuleGroup, wanted: &NamedRequirement) -> Self {
        let ModuleRange { module, constraint } = ModuleRange::new(wanted);
        Self::NoModule { group: shown(&group.name), module, constraint }
    }

    pub(super) fn plugin(wanted: &NamedRequirement, if_installed: bool) -> Self {
        let ModuleRange { module: plugin, constraint } = ModuleRange::new(wanted);
        Self::Plugin { plugin, constraint, if_installed }
    }
}

impl ModuleRange {
    fn new(wanted: &NamedRequirement) -> Self {
        Self { module: shown(&wanted.name), constraint: shown(wanted.constraint.trim()) }
    }
}

impl Unmet {
    /// Returns that a version is not published for a platform. `why`: why what is published for it cannot be used.
    pub fn not_for_platform(platform: &Platform, why: Option<&str>) -> Self {
        Self::NotForPlatform { platform: platform.clone(), why: why.map(shown) }
    }

    /// Returns the reasons of a record whose version does not fit; at least one.
    pub fn recorded(reasons: &[String]) -> Vec<Self> {
        recorded(reasons).map(|reason| Self::Recorded { reason }).collect()
    }
}

impl Unchecked {
    /// Returns the reasons of a record that does not know whether the version fits; at least one.
    pub fn recorded(reasons: &[String]) -> Vec<Self> {
        recorded(reasons).map(|reason| Self::Recorded { reason }).collect()
    }

    /// Returns that the version's contract could not be read.
    pub fn contract(error: &str) -> Self {
        Self::ContractUnreadable { contract_error: shown(error) }
    }
}

fn recorded(reasons: &[String]) -> impl Iterator<Item = Option<String>> {
    let none = reasons.is_empty().then_some(None);
    reasons.iter().map(|reason| Some(shown(reason))).chain(none)
}

/// Makes a foreign text printable.
pub(super) fn shown(text: &str) -> String {
    printable(text).into_owned()
}
