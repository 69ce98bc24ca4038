//! Conflicts between a version and the host's other plugins, as the planner finds them.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Class, Reason, ReasonCode, Required, Source};
use crate::values::{name::Component, version::Version};

/// Other plugins and a version exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "conflict", rename_all_fields = "camelCase")]
pub enum PluginConflict {
    /// A dependency cannot be installed or updated.
    Dependency {
        /// Plugin that is needed, and the chain of versions that leads to it.
        #[serde(flatten)]
        dependency: DependencyChain,
        /// Why that plugin cannot be installed or updated.
        #[serde(flatten)]
        problem: DependencyProblem,
    },
    /// An installed plugin needs another version.
    DependentPlugin {
        /// Installed plugin that the plan does not change.
        plugin: Component,
        /// Its installed version; `None`: unknown.
        #[serde(serialize_with = "optional_version", skip_serializing_if = "Option::is_none")]
        installed_version: Option<Version>,
        /// Constraint that it puts on the version.
        constraint: String,
    },
    /// Dependencies form a cycle.
    Cycle {
        /// Plugins of the cycle; the first one is also the last one.
        cycle: Vec<Component>,
    },
    /// A chain of dependencies is too long.
    TooDeep {
        /// Chain from the version to the dependency that is too far away.
        #[serde(flatten)]
        dependency: DependencyChain,
        /// Longest chain that is planned, in steps.
        limit: usize,
    },
    /// Too many other plugins would change.
    TooManyChanges {
        /// Most other plugins that a plan may change for one version.
        limit: usize,
    },
    /// Trying all versions of the dependencies would take too long.
    TooComplex,
}

/// A plugin that a version depends on, and the chain that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DependencyChain {
    /// Versions that depend on each other, from the one in question to the one that needs `plugin`.
    #[serde(serialize_with = "chain")]
    pub chain: Vec<(Component, Version)>,
    /// The plugin that is needed.
    pub plugin: Component,
    /// Constraints on it, joined by commas; empty: any version.
    pub constraint: String,
    /// The dependency binds only if the plugin is installed.
    pub if_installed: bool,
}

/// Why a dependency cannot be installed or updated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "problem", rename_all_fields = "camelCase")]
pub enum DependencyProblem {
    /// The plugin is not published.
    NotPublished,
    /// No published version meets the constraint.
    NoneInRange {
        /// Installed version, which does not either.
        #[serde(serialize_with = "optional_version", skip_serializing_if = "Option::is_none")]
        installed: Option<Version>,
    },
    /// Only pre-releases meet the constraint.
    OnlyPreReleases {
        /// The newest of them.
        #[serde(serialize_with = "version")]
        newest: Version,
    },
    /// Only versions of another major version meet the constraint.
    OtherMajor {
        /// Installed version; its major version must stay.
        #[serde(serialize_with = "version")]
        installed: Version,
        /// Major version that meets the constraint.
        major: u64,
    },
    /// The installed version is too new; dependencies are never downgraded.
    TooNew {
        /// Installed version, which is newer than all that meet the constraint.
        #[serde(serialize_with = "version")]
        installed: Version,
        /// Newest version that meets the constraint.
        #[serde(serialize_with = "version")]
        newest: Version,
    },
    /// The installed version is unknown.
    UnknownVersion,
    /// The same plan brings in a version that does not meet the constraint.
    OtherVersionPlanned {
        /// Version of the needed plugin in the plan.
        #[serde(serialize_with = "version")]
        planned: Version,
    },
    /// No version meets this constraint and that of another plugin of the plan.
    ConstraintsDisagree {
        /// Component of the plan that depends on the same plugin.
        with: Component,
        /// Constraint that `with` puts on the plugin; several are joined by commas.
        other_constraint: String,
    },
    /// A policy refuses to bring in dependencies.
    MissingDependenciesRefused {
        /// `missingDependencies` of a policy.
        #[serde(skip)]
        by: Source,
    },
    /// The version that would be taken is not eligible itself.
    NotEligible {
        /// The reason, whose subject is that version.
        reason: Box<Reason>,
        /// Rule that requires the plugin in question, if one does.
        #[serde(skip)]
        required: Option<Required>,
    },
}

impl PluginConflict {
    /// Returns the stable name. A dependency that is forbidden does not forbid what needs it: that would
    /// have to leave the host, too.
    pub(super) fn code(&self) -> ReasonCode {
        match self {
            Self::Dependency { problem: DependencyProblem::MissingDependenciesRefused { .. }, .. } => {
                ReasonCode::DependencyDenied
            }
            Self::Dependency { problem: DependencyProblem::NotEligible { reason, .. }, .. } => {
                if reason.class() == Class::Forbidden { ReasonCode::DependencyDenied } else { reason.code() }
            }
            _ => ReasonCode::Unfit,
        }
    }

    pub(super) fn source(&self) -> Option<&Source> {
        match self {
            Self::Dependency { problem: DependencyProblem::MissingDependenciesRefused { by }, .. } => Some(by),
            _ => self.reason()?.cause.source(),
        }
    }

    pub(super) fn policy(&self) -> Option<&str> {
        match self.reason() {
            Some(reason) => reason.policy(),
            None => self.source().map(Source::policy),
        }
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        self.reason()?.until()
    }

    /// Returns the reason against a dependency that is not eligible.
    fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Dependency { problem: DependencyProblem::NotEligible { reason, .. }, .. } => Some(reason),
            _ => None,
        }
    }
}

fn version<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn optional_version<S: Serializer>(version: &Option<Version>, serializer: S) -> Result<S::Ok, S::Error> {
    match version {
        Some(version) => serializer.collect_str(version),
        None => serializer.serialize_none(),
    }
}

fn chain<S: Serializer>(chain: &[(Component, Version)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(chain.iter().map(|(name, version)| format!("{name} {version}")))
}
