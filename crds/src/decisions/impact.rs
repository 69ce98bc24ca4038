//! What an edit of policies would change on each host, for people who are about to apply it. Pure: hosts,
//! records, policies and `now` are arguments.
//!
//! [`crate::decisions::plan`] chooses the versions; this module summarizes its plans and compares them. It
//! knows only what records contain. Of a component without a record it evaluates the active version.

mod diff;
mod edit;
mod facts;
mod preview;
mod published;
mod waves;

pub use self::{
    diff::{ComponentDiff, HostDiff, Lockout, PauseChange, PolicyDiff},
    edit::PolicyEdit,
    facts::{ActiveComponent, ClusterState, HostFacts},
    preview::HostImpact,
    waves::{WaveChange, WaveChangeKind},
};

#[cfg(test)]
mod tests;
