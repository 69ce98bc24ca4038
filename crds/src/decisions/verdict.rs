//! The verdict that operator, agent and command line share: may this host have this version now.
//!
//! Owns how policies merge and which gate binds which intent (`docs/policies.md`). Pure: host, records, policies
//! and `now` are arguments. It neither chooses a version nor reads a cluster.

mod applicable;
mod candidate;
mod changes;
mod effective;
mod evaluate;
mod gates;
mod guidance;
mod host_policies;
mod loaded;
mod local_rules;
mod merge;
mod next;
mod outcome;
mod permitted;
mod policy_conflicts;
mod policy_set;
mod spreading;

pub use self::{
    candidate::{Candidate, Host, WORKSTATION_PLATFORMS, labelled_platform, workstation_labels},
    changes::{HostChanges, PolicyChanges, SelectedPolicies},
    effective::{
        Attributed, BlackoutSpan, Effective, EffectiveComponent, FieldSource, MergedField, PinnedDigest,
        PolicyInEffect, RecordSettings, RolloutSettings,
    },
    guidance::Guidance,
    host_policies::HostPolicies,
    local_rules::{LocalRules, LocalRulesError},
    next::NextVersion,
    outcome::Verdict,
    policy_conflicts::PolicyConflict,
    policy_set::PolicySet,
    spreading::{Place, SpreadingWave},
};
pub use crate::decisions::{
    person::{Person, UserInfo},
    reason::{Class, Origin, Reason, ReasonCode, Required},
};

#[cfg(test)]
mod tests;
