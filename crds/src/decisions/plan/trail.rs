//! The decisions of one search, in the order they were made.
//!
//! The place of a decision in the trail is its level. Level 0 is the version that the search is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    conflicts::DependencyPath,
    dependencies::{Dependencies, Dependency},
    known_facts::{FactRequest, VersionFacts},
    outcome::PlanError,
    planned_state::PlannedComponent,
};
use crate::{
    decisions::{
        reason::{Reason, Subject},
        selection::PublishedVersion,
    },
    values::{name::Component, version::Version},
};

/// A version that a component is changed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'k> {
    pub(super) published: &'k PublishedVersion,
    pub(super) facts: &'k VersionFacts,
}

/// A version that was chosen for a component.
#[derive(Debug)]
pub(super) struct Decision<'k> {
    pub(super) component: &'k Component,
    pub(super) version: &'k Version,
    pub(super) dependencies: &'k Dependencies,
    /// None: the component stays as it is installed, and the search is for what it needs.
    pub(super) change: Option<Target<'k>>,
    /// The state that it replaced.
    pub(super) replaced: Option<PlannedComponent<'k>>,
    /// The level that requires the component; its own level for level 0.
    pub(super) parent: usize,
    /// Whether the parent requires the component to be installed.
    pub(super) mandatory: bool,
    /// The number of steps from level 0.
    pub(super) depth: usize,
}

/// The decisions of one search.
#[derive(Debug)]
pub(super) struct Trail<'k> {
    /// What the reasons of the search are about: the version of level 0.
    subject: Arc<Subject>,
    decisions: Vec<Decision<'k>>,
    levels: BTreeMap<&'k Component, usize>,
}

/// A component that does not meet what the decision at a level requires of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnmetDependency<'k> {
    pub(super) target: &'k Component,
    pub(super) dependencies: &'k [Dependency],
    /// The level that requires it.
    pub(super) level: usize,
}

/// Why a search found no versions that fit together.
#[derive(Debug)]
pub(super) enum SearchFailure {
    /// The decisions at `levels` exclude each other. Other decisions there may succeed.
    Conflict { levels: BTreeSet<usize>, reasons: Vec<Reason> },
    /// Requirements could not be checked, and older versions are not tried.
    Unchecked(Vec<Reason>),
    /// The search was cut off.
    LimitReached(Box<Reason>),
    /// The search needs these facts to go on.
    MissingFacts(Vec<FactRequest>),
    /// The request cannot be planned at all.
    Error(Box<PlanError>),
}

impl<'k> Trail<'k> {
    /// A trail without decisions. `subject` is what its reasons are about.
    pub(super) fn new(subject: Arc<Subject>) -> Self {
        Self { subject, decisions: Vec::new(), levels: BTreeMap::new() }
    }

    pub(super) fn subject(&self) -> Arc<Subject> {
        Arc::clone(&self.subject)
    }

    /// The decisions, by level.
    pub(super) fn decisions(&self) -> &[Decision<'k>] {
        &self.decisions
    }

    pub(super) fn decision(&self, level: usize) -> &Decision<'k> {
        &self.decisions[level]
    }

    /// The level of a component, if a version was chosen for it.
    pub(super) fn level_of(&self, component: &Component) -> Option<usize> {
        self.levels.get(component).copied()
    }

    /// The depth of a decision that is needed by `parent`.
    pub(super) fn depth_below(&self, parent: usize) -> usize {
        self.decisions.get(parent).map_or(0, |parent| parent.depth + 1)
    }

    /// Adds a decision, and returns its level.
    pub(super) fn push(&mut self, decision: Decision<'k>) -> usize {
        let level = self.decisions.len();
        self.levels.insert(decision.component, level);
        self.decisions.push(decision);
        level
    }

    /// Removes the decisions from this level on, and returns them, the newest first.
    pub(super) fn truncate(&mut self, level: usize) -> Vec<Decision<'k>> {
        let mut removed = self.decisions.split_off(level.min(self.decisions.len()));
        removed.reverse();
        for decision in &removed {
            self.levels.remove(decision.component);
        }
        removed
    }

    /// The levels from 0 down to this one.
    pub(super) fn path_levels(&self, mut level: usize) -> Vec<usize> {
        let mut levels = vec![level];
        while level != 0 {
            level = self.decisions[level].parent;
            levels.push(level);
        }
        levels.reverse();
        levels
    }

    /// The components from level 0 down to this one.
    pub(super) fn component_path(&self, level: usize) -> Vec<&'k Component> {
        self.path_levels(level).into_iter().map(|at| self.decisions[at].component).collect()
    }

    /// The path from level 0 down to this one, for reasons.
    pub(super) fn path(&self, level: usize) -> DependencyPath<'k> {
        let named = |at: usize| (self.decisions[at].component, self.decisions[at].version);
        DependencyPath { subject: self.subject(), chain: self.path_levels(level).into_iter().map(named).collect() }
    }

    /// Whether `top` leads down to `level` by mandatory dependencies alone. A conditional dependency can be
    /// installed after what requires it, so that it closes no cycle.
    pub(super) fn is_mandatory_path(&self, top: usize, mut level: usize) -> bool {
        while level > top && self.decisions[level].mandatory {
            level = self.decisions[level].parent;
        }
        level == top
    }
}
