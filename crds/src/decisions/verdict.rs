//! The one verdict that operator, agent and command line share: may this host have this version now.
//!
//! Owns how policies merge and what binds whom (`docs/policies.md`). Pure: host, records, policies and
//! `now` are arguments. It neither chooses a version nor reads a cluster.

mod case;
mod effective;
mod floor;
mod for_host;
mod gates;
mod judgement;
mod reason;
mod set;
mod speech;

pub use self::{
    case::{Case, Host, workstation_labels},
    effective::{Decided, Effective, EffectiveComponent, PinnedTo, Recorded, Source, Speaking, Spread, Word},
    floor::{Floor, FloorError},
    for_host::HostPolicies,
    judgement::Judgement,
    reason::{Class, Origin, Reason, ReasonCode},
    set::{Guidance, PolicySet, Required},
};

#[cfg(test)]
mod tests;
