//! From requests to an ordered plan: which versions to bring in, of which plugins, and why no others.
//!
//! Owns the choice across plugins: candidates newest first, what each needs of the others and the others
//! of it. It neither judges a version ([`crate::decisions::verdict`]) nor a cluster ([`crate::records::requirements`]), reads
//! nothing and waits for nothing: [`plan`] is a function of a [`Snapshot`] and of the [`Knowledge`] so
//! far. Where a fact is missing it says which ([`Step::Need`]); whoever calls it fetches that, adds it and
//! calls again, until there is a [`Plan`]. A fact that was not asked for changes no choice.
//!
//! How it chooses, where `docs/plugins.md` leaves room:
//! - Wishes are taken in the order exact, major, newest; of each, what the others as installed dependency
//!   comes first, then names decide. The order of the input never matters. A request that another plugin stood in the way of is tried again after that one moved.
//! - A candidate is taken if all it needs of other plugins can be met. What is installed and in range
//!   stays; else the newest that is permitted, fits and agrees with every plugin that speaks of it. If
//!   the parts of a choice don't fit together, the part that is to blame is chosen anew.
//! - An installed plugin's constraints bind what is chosen, unless it is itself moved by the same plan.
//! - A dependency only goes up, in its own major unless the request crosses majors, and only to a stable
//!   version. A conditional requirement is as good as a mandatory one while its plugin is there.
//! - Whatever needs itself through others is refused as a cycle. A chain has at most [`MAX_DEPTH`]
//!   steps, one request brings in at most [`MAX_CHANGES`] plugins, and the search ends after a fixed number
//!   of tries, so that no contract can keep it busy.

mod candidates;
mod changes;
mod evaluator;
mod facts;
mod knowledge;
mod order;
mod requests;
mod say;
mod search;
mod state;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::{
    evaluator::{EvaluationRequest, Evaluator, PolicyEvaluator, StoredDigests},
    knowledge::{Contract, Dependencies, Dependency, Installed, Knowledge, Need, VersionFacts},
};
use crate::{
    decisions::{
        selection::{LookupError, NoCandidate, PublishedVersion},
        verdict::Verdict,
    },
    values::{name::PluginName, version::Version},
};

/// Longest chain of dependencies, in steps from what was requested for.
pub const MAX_DEPTH: usize = 16;

/// Most plugins that one request may change, itself included.
pub const MAX_CHANGES: usize = 256;

/// What is requested for one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The newest, in the installed major if there is one.
    Newest,
    /// The newest, whatever its major: whether majors are crossed is left to the verdict. The installed
    /// major is tried first only where policy forbids what is installed.
    NewestOfAll,
    /// The newest of one major; dependencies may cross theirs.
    Major(u64),
    /// This one, older or a pre-release too.
    Exact(Version),
}

/// Who requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actor {
    /// A person: the verdict's intents U and X.
    #[default]
    Person,
    /// The agent: intent A.
    Agent,
}

/// What becomes of other plugins that a version needs and that are missing or out of range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MissingPolicy {
    /// They are planned too.
    #[default]
    Install,
    /// A policy wants none brought in: the version is passed over.
    Refuse {
        /// The policy.
        policy: String,
    },
}

/// How to plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Who requests.
    pub actor: Actor,
    /// `missingDependencies` as policies say it.
    pub missing: MissingPolicy,
    /// `--no-dependencies`: a request that needs other plugins changed ends as [`Outcome::NeedsOthers`].
    pub no_dependencies: bool,
}

/// What there is and what is requested.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every installed plugin.
    pub installed: BTreeMap<PluginName, Installed>,
    /// What is requested for which plugin.
    pub requests: BTreeMap<PluginName, Request>,
    /// How to plan.
    pub options: Options,
}

/// What a call of [`plan`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These facts are missing, in order, each once. They can be fetched at the same time.
    Need(Vec<Need>),
    /// The plan.
    Done(Plan),
}

/// What is to be done, and what each request came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Dependency first.
    pub changes: Vec<Change>,
    /// By request.
    pub outcomes: BTreeMap<PluginName, Outcome>,
}

/// One plugin's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The plugin.
    pub name: PluginName,
    /// What it leaves.
    pub from: PreviousVersion,
    /// What is brought in.
    pub to: PublishedVersion,
    /// Why.
    pub why: ChangeReason,
    /// What passed without being known to be met, a sentence each.
    pub warnings: Vec<String>,
}

/// What a change leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousVersion {
    /// Nothing: it is a first install.
    Nothing,
    /// This version.
    Version(Version),
    /// Something whose version is not known.
    Unknown,
}

/// Why a plugin is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeReason {
    /// It was requested for.
    Requested,
    /// Another one needs it.
    Dependency {
        /// From what was requested for down to this plugin.
        chain: Vec<PluginName>,
    },
}

/// A version that was passed over, with every reason.
pub type PassedOver = (PublishedVersion, Verdict);

/// What one request came to. Versions passed over are newest first and newer than what it ended at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is among the changes.
    Take {
        /// Its version.
        version: PublishedVersion,
        /// Newer ones.
        passed_over: Vec<PassedOver>,
    },
    /// The newest that remains is active.
    AlreadyActive {
        /// It.
        version: PublishedVersion,
        /// Newer ones.
        passed_over: Vec<PassedOver>,
    },
    /// What is installed stays: nothing newer remains, and it is not published itself or, if
    /// `forbidden`, there is nothing to leave it for.
    Keep {
        /// A policy forbids what is installed.
        forbidden: bool,
        /// What was tried.
        passed_over: Vec<PassedOver>,
    },
    /// Nothing is installed and nothing can be.
    Nothing {
        /// Why.
        why: NoCandidate,
        /// The major that the search was limited to.
        major: Option<u64>,
        /// All that were tried.
        passed_over: Vec<PassedOver>,
    },
    /// The version that was named can't be had.
    NotPublished(LookupError),
    /// The version that was named may not be installed.
    Refused {
        /// It.
        version: PublishedVersion,
        /// Every reason.
        judgement: Verdict,
    },
    /// Without dependencies (`--no-dependencies`) it can't be installed.
    NeedsOthers {
        /// The version that would have been taken.
        version: PublishedVersion,
        /// What it needs changed, dependency first. [`Outcome::fixes`] has the commands.
        needs: Vec<Change>,
        /// Newer ones.
        passed_over: Vec<PassedOver>,
    },
    /// The search can't go on; no older version is tried.
    Stopped(Box<PlanError>),
}

/// What stops a search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A tag list or a contract could not be had.
    #[error("{message}")]
    Fact {
        /// Which.
        need: Need,
        /// What [`Knowledge`] says of it.
        message: String,
    },
    /// Requirements on the cluster that can't be checked.
    #[error("requirements of {name} {version} cannot be checked: {}", unchecked.join("; "))]
    Unchecked {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: Version,
        /// A sentence each.
        unchecked: Vec<String>,
    },
    /// What an installed plugin needs of the others is not known.
    #[error("the contract of installed plugin {name} cannot be read ({why}); reinstall it: `{}`", self.fix())]
    Unreadable {
        /// The plugin.
        name: PluginName,
        /// What is wrong with its contract.
        why: String,
    },
}

impl PlanError {
    /// The next command to type.
    pub fn fix(&self) -> String {
        match self {
            Self::Fact { need: Need::Tags(name) | Need::Contract { name, .. }, .. } => format!("d8 plugins why {name}"),
            Self::Unchecked { name, version, .. } => {
                format!("d8 plugins install {name} --version {version} --skip-cluster-checks")
            }
            Self::Unreadable { name, .. } => format!("d8 plugins install {name} --force"),
        }
    }
}

impl Outcome {
    /// The versions passed over, newest first.
    pub fn passed_over(&self) -> &[PassedOver] {
        match self {
            Self::Take { passed_over, .. }
            | Self::AlreadyActive { passed_over, .. }
            | Self::Keep { passed_over, .. }
            | Self::Nothing { passed_over, .. }
            | Self::NeedsOthers { passed_over, .. } => passed_over,
            Self::NotPublished(_) | Self::Refused { .. } | Self::Stopped(_) => &[],
        }
    }

    /// What it needs of others and is not to bring in, each with the command that does.
    pub fn fixes(&self) -> Vec<(&Change, String)> {
        let Self::NeedsOthers { needs, .. } = self else { return Vec::new() };
        needs.iter().map(|change| (change, say::install(&change.name, &change.to.version))).collect()
    }
}

/// Plans, or says what it must know first.
pub fn plan(snapshot: &Snapshot, knowledge: &Knowledge, judge: &impl Evaluator) -> Step {
    requests::Planner::new(snapshot, knowledge, judge).plan()
}

#[cfg(test)]
mod tests;
