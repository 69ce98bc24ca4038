//! Reasons as data: why a version is not eligible, who set the rule, and the values involved.
//!
//! Owns what a reason consists of. Gates, requirements and the planner create reasons;
//! [`explain`](crate::decisions::explain) turns them into sentences. Nothing here builds text.

mod cause;
mod code;
mod conflict;
mod source;

use std::{cmp::Ordering, sync::Arc};

use jiff::Timestamp;

pub use self::{
    cause::{Cause, MissingRecord, PolicyProblem},
    code::{Class, ReasonCode},
    conflict::{DependencyChain, DependencyProblem, PluginConflict},
    source::{Field, Origin, Required, Source},
};
use crate::values::{name::Component, version::Version};

/// Component and version that a reason is about. Two subjects are equal whenever they were evaluated.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Plugin, or d8 itself.
    pub component: Component,
    /// Version in question; `None`: the component as a whole, such as its removal.
    pub version: Option<Version>,
    /// Version that is active on the host; `None`: none, or unknown.
    pub active: Option<Version>,
    /// Time of the evaluation, for texts that say how long something takes from then; `None`: no time was
    /// involved.
    pub evaluated_at: Option<Timestamp>,
}

impl Subject {
    fn key(&self) -> (&Component, Option<&Version>, Option<&Version>) {
        (&self.component, self.version.as_ref(), self.active.as_ref())
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Subject {}

impl PartialOrd for Subject {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Subject {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// One reason against a version. Ordered by strength, then by name, policy and rule.
///
/// A host under many policies has many reasons for each version, so that their size shows in the time of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Component and version that the reason is about; shared by all reasons of a verdict.
    pub subject: Arc<Subject>,
    /// What stands against the version.
    pub cause: Cause,
}

impl Reason {
    /// Returns the stable name.
    pub fn code(&self) -> ReasonCode {
        self.cause.code()
    }

    /// Returns the class that the version gets from this reason.
    pub fn class(&self) -> Class {
        self.code().class()
    }

    /// Returns the policy that sets the rule, `agent.toml` for the host's own rules. `None`: no policy
    /// is involved.
    pub fn policy(&self) -> Option<&str> {
        self.cause.policy()
    }

    /// Returns the place of the rule in the policy's spec.
    pub fn rule(&self) -> Option<Origin> {
        self.cause.source().map(Source::origin)
    }

    /// Returns the same reason for a host that a wave reaches at another time.
    pub(crate) fn for_times(&self, translate: impl Fn(Timestamp) -> Timestamp) -> Self {
        let mut reason = self.clone();
        if let Cause::NotInWave { until: Some(until), .. } = &mut reason.cause {
            *until = translate(*until);
        }
        reason
    }

    /// Returns when the reason ends by itself, in whole seconds; `None`: unknown or never.
    pub fn until(&self) -> Option<Timestamp> {
        self.cause.until()
    }
}

const _: () = assert!(size_of::<Reason>() <= 80, "put rare fields of the cause into a box");

impl PartialOrd for Reason {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Reason {
    fn cmp(&self, other: &Self) -> Ordering {
        let (code, other_code) = (self.code(), other.code());
        code.order(other_code).then_with(|| self.cause.cmp(&other.cause)).then_with(|| self.subject.cmp(&other.subject))
    }
}
