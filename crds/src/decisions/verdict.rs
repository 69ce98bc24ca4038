//! The one verdict that operator, agent and command line share: may this host have this version now.
//!
//! Owns how policies merge and what binds whom (`docs/policies.md`). Pure: host, records, policies and
//! `now` are arguments. It neither chooses a version nor reads a cluster.

mod candidate;
mod effective;
mod for_host;
mod gates;
mod local_rules;
mod outcome;
mod reason;
mod set;
mod speech;

pub use self::{
    candidate::{Candidate, Host, workstation_labels},
    effective::{
        Attributed, Effective, EffectiveComponent, FieldSource, Merged, PinnedDigest, PolicyInEffect, RecordSettings,
        RolloutSettings,
    },
    for_host::HostPolicies,
    local_rules::{LocalRules, LocalRulesError},
    outcome::Verdict,
    reason::{Class, Origin, Reason, ReasonCode},
    set::{Guidance, PolicySet, Required},
};

#[cfg(test)]
mod tests;
