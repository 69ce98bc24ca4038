//! What a plan comes to: changes, the outcome of each request, and errors.

use std::collections::BTreeMap;

use serde::Serialize;

use super::known_facts::FactRequest;
use crate::{
    decisions::{
        explain,
        requirements::Warning,
        selection::{LookupError, NoCandidate, PublishedVersion, Rejected},
        verdict::Verdict,
    },
    values::{name::Component, version::Version},
};

/// The result of a call of [`plan`](super::plan).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    /// These facts are missing. They are sorted, each comes once, and they can be fetched in parallel.
    Fetch(Vec<FactRequest>),
    /// The plan is complete.
    Done(Plan),
}

/// The changes to make, and the outcome of each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, dependencies first.
    pub changes: Vec<PlannedChange>,
    /// The outcome of each request.
    pub outcomes: BTreeMap<Component, Outcome>,
}

/// The change of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// The component. A plan changes each component once at most.
    pub component: Component,
    /// The version it is changed from.
    pub from: PreviousVersion,
    /// The version it is changed to.
    pub to: PublishedVersion,
    /// Why it is changed.
    pub why: ChangeReason,
    /// Requirements that passed although they are not known to be met.
    pub warnings: Vec<Warning>,
}

/// The version that a change replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousVersion {
    /// None: it is a first install.
    Nothing,
    /// The version that was active before the plan.
    Version(Version),
    /// The component is installed in a version that is not known.
    Unknown,
}

/// Why a component is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeReason {
    /// The change was requested.
    Requested,
    /// Another component needs it.
    Dependency {
        /// From the requested component down to this one.
        chain: Vec<Component>,
    },
}

/// A version that was passed over, with every reason.
pub type PassedOver = Rejected<Verdict>;

/// The outcome of one request. `passed_over` has the versions that were rejected, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A version is among the changes.
    Take {
        /// The version that the plan installs.
        version: PublishedVersion,
        /// The rejected versions that were preferred to it. Empty if an exact version was requested.
        passed_over: Vec<PassedOver>,
    },
    /// The active version stays; it is published, and every newer one was passed over.
    AlreadyActive {
        /// The active version, as it is published.
        version: PublishedVersion,
        /// The newer versions, all rejected. Empty if an exact version was requested.
        passed_over: Vec<PassedOver>,
    },
    /// What is installed stays: nothing newer can be installed, and the active version is not published
    /// or, if `forbidden`, there is no version to replace it with.
    Keep {
        /// Whether a policy forbids the active version.
        forbidden: bool,
        /// All versions that were tried.
        passed_over: Vec<PassedOver>,
    },
    /// What is installed stays, and it needs other plugins that are missing or have other versions, and that cannot be
    /// installed or updated.
    Incomplete {
        /// The active version, which stays.
        version: Version,
        /// Why it cannot get what it needs.
        obstacle: Obstacle,
        /// Whether a policy forbids the active version, and there is no version to replace it with.
        forbidden: bool,
        /// The rejected versions. Empty if an exact version was requested.
        passed_over: Vec<PassedOver>,
    },
    /// The component is not installed, and no version can be.
    Nothing {
        /// Why there is no version to install. For `AllPassedOver`, the reasons are in `passed_over`.
        why: NoCandidate,
        /// The major version that the search was restricted to.
        major: Option<u64>,
        /// All versions that were tried.
        passed_over: Vec<PassedOver>,
    },
    /// The requested version is not published.
    NotPublished(LookupError),
    /// The requested version may not be installed.
    Refused {
        /// The requested version, which is published.
        version: PublishedVersion,
        /// The verdict on it, with every reason.
        verdict: Verdict,
    },
    /// A version could be installed, but not without changes of other plugins, which `--no-dependencies`
    /// refuses.
    NeedsOthers {
        /// The version that could be installed with the changes in `needs`.
        version: PublishedVersion,
        /// The changes it needs, dependencies first. [`Outcome::fixes`] returns the commands.
        needs: Vec<PlannedChange>,
        /// The rejected versions that were preferred to it. Empty if an exact version was requested.
        passed_over: Vec<PassedOver>,
    },
    /// A person requested it, and requirements of a version, or of a dependency that it leads to, could not be
    /// checked. Older versions were not tried. For the agent such a version is held and passed over.
    Unchecked {
        /// The version at which the search ended.
        version: PublishedVersion,
        /// The verdict on it, whose reasons all are `RequirementsUnknown`.
        verdict: Verdict,
        /// The rejected versions that were preferred to it. Empty if an exact version was requested.
        passed_over: Vec<PassedOver>,
    },
    /// The search ended with an error; older versions were not tried.
    Stopped(Box<PlanError>),
}

/// Why an installed version cannot get the plugins that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It needs these changes, dependencies first, which `--no-dependencies` refuses. [`Outcome::fixes`] returns the
    /// commands.
    NoDependencies(Vec<PlannedChange>),
    /// These reasons stand against the changes that it needs.
    Refused(Verdict),
}

/// An error that ends the search for a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A tag list or a contract could not be read.
    #[error("{message}")]
    Fact {
        /// The tag list or the contract that could not be read.
        need: FactRequest,
        /// The message that [`KnownFacts`](super::KnownFacts) has for it.
        message: String,
    },
    /// The contract of an installed plugin could not be read, so that its requirements are not known.
    #[error("the contract of installed plugin {component} cannot be read ({why}); reinstall it: `{}`", self.fix())]
    Unreadable {
        /// The installed plugin, which must be reinstalled.
        component: Component,
        /// What is wrong with its contract.
        why: String,
    },
}

impl PlanError {
    /// Returns the next command to type.
    pub fn fix(&self) -> String {
        match self {
            Self::Fact { need: FactRequest::Tags(component) | FactRequest::Contract { component, .. }, .. } => {
                match component {
                    Component::D8 => "d8 cli check".to_owned(),
                    Component::Plugin(name) => format!("d8 plugins why {name}"),
                }
            }
            Self::Unreadable { component, .. } => format!("d8 plugins install {component} --force"),
        }
    }
}

impl Outcome {
    /// Returns the versions that were passed over, newest first.
    pub fn passed_over(&self) -> &[PassedOver] {
        match self {
            Self::Take { passed_over, .. }
            | Self::AlreadyActive { passed_over, .. }
            | Self::Keep { passed_over, .. }
            | Self::Incomplete { passed_over, .. }
            | Self::Nothing { passed_over, .. }
            | Self::NeedsOthers { passed_over, .. }
            | Self::Unchecked { passed_over, .. } => passed_over,
            Self::NotPublished(_) | Self::Refused { .. } | Self::Stopped(_) => &[],
        }
    }

    /// Returns the changes that it needs and may not make, each with the command that makes it.
    pub fn fixes(&self) -> Vec<(&PlannedChange, String)> {
        let (Self::NeedsOthers { needs, .. } | Self::Incomplete { obstacle: Obstacle::NoDependencies(needs), .. }) =
            self
        else {
            return Vec::new();
        };
        needs.iter().map(|change| (change, explain::install(&change.component, &change.to.version))).collect()
    }
}
