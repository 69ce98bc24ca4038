//! What is installed and what is requested: the input of a plan, facts excepted.

use std::collections::BTreeMap;

use super::dependencies::Dependencies;
use crate::{
    decisions::reason::Source,
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

/// What is installed, what is requested, and how to plan.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every component that is installed on the host, requested or not.
    pub installed: BTreeMap<Component, InstalledComponent>,
    /// What is requested, by component.
    pub requests: BTreeMap<Component, Request>,
    /// Who requests the plan, and whether other components may change.
    pub options: PlanOptions,
}

/// The requested version of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The newest version, of the installed major if the component is installed.
    Newest,
    /// The newest version of any major; the verdict on a version decides whether its major may be entered.
    /// Where a policy forbids the active version, the installed major is tried first.
    NewestOfAll,
    /// The newest version of one major. Dependencies may then leave their majors.
    Major(u64),
    /// This version, even if it is an older one or a pre-release.
    Exact(Version),
}

/// Who requests the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actor {
    /// A person: verdicts are for the intents `Update` and `Explicit`.
    #[default]
    Person,
    /// The agent: verdicts are for the intent `Agent`.
    Agent,
}

/// Whether a plan may install or update the plugins that a requested version needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DependencyPolicy {
    /// The plan installs and updates them.
    #[default]
    Install,
    /// It may not: versions that need other plugins changed are passed over.
    Refuse {
        /// The field that refuses it.
        by: Source,
    },
}

/// Who requests a plan, and whether components that were not requested may change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// Who requests the plan.
    pub actor: Actor,
    /// What `missingDependencies` of the policies comes to.
    pub missing: DependencyPolicy,
    /// `--no-dependencies`: a request that needs other plugins changed ends as
    /// [`Outcome::NeedsOthers`](super::Outcome::NeedsOthers).
    pub no_dependencies: bool,
}

/// A component that is installed on the host, and what its active version requires.
#[derive(Debug, Clone)]
pub struct InstalledComponent {
    /// The active version. None: not known.
    pub version: Option<Version>,
    /// What the active version requires of other plugins.
    pub contract: InstalledContract,
}

impl InstalledComponent {
    /// Makes a component of which only the active version is known, with what its record says of that version.
    pub fn recorded(version: Option<Version>, release: Option<&CliRelease>) -> Self {
        let recorded = version.as_ref().and_then(|version| release?.recorded(version));
        let contract = match recorded.map(|recorded| Dependencies::read(&recorded.requirements.plugins)) {
            Some(Err(error)) => InstalledContract::Unreadable(error.to_string()),
            Some(Ok(dependencies)) => InstalledContract::Known(dependencies),
            None => InstalledContract::Known(Dependencies::default()),
        };
        Self { version, contract }
    }
}

/// What an installed version requires of other plugins.
#[derive(Debug, Clone)]
pub enum InstalledContract {
    /// Its requirements; none if it has no contract.
    Known(Dependencies),
    /// Its contract is invalid, and neither the store nor a record has a valid copy. The text says what is
    /// wrong and is printable.
    Unreadable(String),
}
