//! From requests to an ordered plan: which versions to bring in, of which plugins, and why no others.
//!
//! Owns the choice across plugins: candidates newest first, what each needs of the others and the others
//! of it. It neither judges a version ([`crate::decisions::verdict`]) nor a cluster ([`crate::records::requirements`]), reads
//! nothing and waits for nothing: [`plan`] is a function of a [`Snapshot`] and of the [`KnownFacts`] so
//! far. Where a fact is missing it says which ([`PlanStep::Fetch`]); whoever calls it fetches that, adds it and
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
mod conflicts;
mod dependencies;
mod evaluator;
mod facts;
mod known_facts;
mod order;
mod outcome;
mod requests;
mod search;
mod snapshot;
mod state;

pub use self::{
    dependencies::{Dependencies, Dependency},
    evaluator::{EvaluationRequest, Evaluator, PolicyEvaluator, StoredDigests},
    known_facts::{FactRequest, KnownFacts, VersionFacts},
    outcome::{ChangeReason, Outcome, PassedOver, Plan, PlanError, PlanStep, PlannedChange, PreviousVersion},
    snapshot::{Actor, DependencyPolicy, InstalledComponent, InstalledContract, PlanOptions, Request, Snapshot},
};

/// Longest chain of dependencies, in steps from what was requested for.
pub const MAX_DEPTH: usize = 16;

/// Most plugins that one request may change, itself included.
pub const MAX_CHANGES: usize = 256;

/// Plans the requests of a snapshot, or returns the facts that are missing for that.
pub fn plan(snapshot: &Snapshot, known: &KnownFacts, evaluator: &impl Evaluator) -> PlanStep {
    requests::Planner::new(snapshot, known, evaluator).plan()
}

#[cfg(test)]
mod tests;
