//! What an edit of policies would change on each host, for people who are about to apply it. Pure: hosts,
//! records, policies and `now` are arguments.
//!
//! [`crate::decisions::plan`] chooses the versions; this module summarizes its plans and compares them. It
//! knows only what records contain. Of a component without a record it evaluates the active version.

mod class;
mod diff;
mod edit;
mod facts;
mod forecast;
mod group;
mod lockouts;
mod numbers;
mod places;
mod preview;
mod published;
mod related;
mod stops;
mod wave_reports;
mod waves;

pub use self::{
    diff::{HostDiff, PauseChange, PolicyDiff},
    edit::{KeptHalt, PolicyEdit},
    facts::{ActiveComponent, ClusterState, HostFacts, HostReport},
    forecast::Forecast,
    group::ComponentDiff,
    lockouts::Lockout,
    preview::HostImpact,
    waves::{WaveChange, WaveChangeKind},
};

#[cfg(test)]
mod tests;
