//! Plans: from requests to an ordered list of changes, of plugins and of d8 itself.
//!
//! [`plan`] is a pure function of a [`Snapshot`] and of the facts known so far. If it needs more, it returns
//! the [`FactRequest`]s; the caller fetches them, adds them to the [`KnownFacts`] and calls it again, until
//! it returns a [`Plan`]. Facts that it did not request change no choice. Whether a version may be installed
//! is decided by [`verdict`](crate::decisions::verdict) and [`requirements`](crate::decisions::requirements).
//!
//! The rules of the choice, beyond those of `docs/plugins.md`:
//! - Requests are tried in the order exact, major, newest; within these, components that others require, as
//!   they are installed, come first; then names decide. The order of the input never matters. A request that
//!   another component blocked is tried again after that one was changed.
//! - A version is chosen if all its dependencies can be met. An installed plugin that is in range stays as it
//!   is. Otherwise the newest version is chosen that is eligible and that every plugin accepts which requires
//!   something of it. If the chosen versions exclude each other, one that takes part in the conflict is
//!   chosen anew.
//! - The constraints of an installed plugin apply to every chosen version, unless the plan changes that
//!   plugin too.
//! - If a request leaves a component as it is, and the component lacks plugins that it needs, these are planned.
//! - A dependency is only upgraded, within its major unless the request crosses majors, and only to a stable
//!   version. A conditional dependency applies like a mandatory one while its plugin is installed.
//! - A cycle of mandatory dependencies is refused. A chain has at most [`MAX_DEPTH`] steps, one request
//!   changes at most [`MAX_CHANGES`] components, and a search ends after a fixed number of steps, so that no
//!   contract can keep it busy.

mod candidates;
mod changes;
mod conflicts;
mod dependencies;
mod destination;
mod draft;
mod evaluator;
mod known_facts;
mod order;
mod outcome;
mod planned_state;
mod planner;
mod search;
mod snapshot;
mod trail;

pub use self::{
    dependencies::{Dependencies, Dependency, MAX_CHANGES, MAX_DEPTH},
    destination::Destination,
    evaluator::{EvaluationRequest, Evaluator, PolicyEvaluator, StoredDigests},
    known_facts::{FactRequest, KnownFacts, VersionFacts},
    outcome::{ChangeReason, Obstacle, Outcome, PassedOver, Plan, PlanError, PlanStep, PlannedChange, PreviousVersion},
    snapshot::{Actor, DependencyPolicy, InstalledComponent, InstalledContract, PlanOptions, Request, Snapshot},
};

/// Plans the requests of a snapshot, or returns the facts that are missing for that.
pub fn plan(snapshot: &Snapshot, known: &KnownFacts, evaluator: &impl Evaluator) -> PlanStep {
    planner::Planner::new(snapshot, known, evaluator).plan()
}

#[cfg(test)]
mod tests;
