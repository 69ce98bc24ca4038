//! What the managed hosts of a cluster run, where policies lead them and what keeps them, for people who watch a fleet.
//! Pure: hosts, records, policies and the current time are arguments.
//!
//! States and reasons are those that hosts report. Targets and next versions are computed from the policies as they are
//! now, by [`crate::decisions::impact`], also for hosts that have not followed an edit yet.

mod component;
mod holds;
mod host;
mod policies;
mod waves;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

pub use self::{
    component::{ComponentSummary, NextCount, ReasonCount, StateCount, VersionCount},
    holds::{FailedHost, Hold, SilentHost},
    host::{Contact, FleetComponent, FleetHost, ObservedHost},
    policies::PolicySummary,
    waves::WaveProgress,
};
use crate::{
    decisions::{impact::Forecast, verdict::PolicySet},
    records::{host::ComponentState, release::CliRelease},
    values::name::Component,
};

/// What a fleet is summarized from.
#[derive(Debug, Clone, Copy)]
pub struct FleetInputs<'a> {
    /// The hosts.
    pub hosts: &'a [ObservedHost],
    /// The policies, as JSON.
    pub policies: &'a [Value],
    /// The same policies, parsed.
    pub set: &'a PolicySet,
    /// The records by component name.
    pub records: &'a BTreeMap<String, CliRelease>,
    /// The components to show. Empty: all.
    pub components: &'a BTreeSet<Component>,
    /// The current time.
    pub now: Timestamp,
}

impl FleetInputs<'_> {
    /// Returns whether a component is shown.
    fn shows(&self, component: &Component) -> bool {
        self.components.is_empty() || self.components.contains(component)
    }
}

/// The hosts of a cluster at one time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// When.
    pub time: Timestamp,
    /// Numbers of hosts.
    pub totals: HostTotals,
    /// Each policy, by name.
    pub policies: Vec<PolicySummary>,
    /// Each component, by name.
    pub components: Vec<ComponentSummary>,
    /// The waves in which versions spread, by policy and component.
    pub waves: Vec<WaveProgress>,
    /// What keeps hosts from their targets, and which hosts: the most hosts first.
    pub holds: Vec<Hold>,
    /// Changes that failed or are stuck.
    pub failed: Vec<FailedHost>,
    /// Hosts that have not reported for longer than they may, or never.
    pub silent: Vec<SilentHost>,
    /// Each host, by name.
    pub hosts: Vec<FleetHost>,
}

/// Numbers of hosts. Each is counted once, in the worst state of its components.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostTotals {
    /// All hosts.
    pub hosts: usize,
    /// Every component is up to date, or nothing is installed.
    pub up_to_date: usize,
    /// A change has begun or begins with the next tick.
    pub changing: usize,
    /// A newer version is held.
    pub held: usize,
    /// Requirements are not met.
    pub unfit: usize,
    /// A policy forbids what is active.
    pub forbidden: usize,
    /// The last change failed.
    pub failed: usize,
    /// They have never reported.
    pub never_reported: usize,
    /// Those that are silent for longer than they may be. They are counted by their last report, too.
    pub silent: usize,
}

impl HostTotals {
    fn add(&mut self, host: &FleetHost) {
        self.hosts += 1;
        self.silent += usize::from(host.contact == Contact::Silent);
        let count = match host.state {
            _ if host.contact == Contact::Never => &mut self.never_reported,
            None | Some(ComponentState::UpToDate) => &mut self.up_to_date,
            Some(ComponentState::Pending | ComponentState::Switching) => &mut self.changing,
            Some(ComponentState::Held) => &mut self.held,
            Some(ComponentState::Unfit) => &mut self.unfit,
            Some(ComponentState::Forbidden) => &mut self.forbidden,
            Some(ComponentState::Failed) => &mut self.failed,
        };
        *count += 1;
    }
}

impl Fleet {
    /// Summarizes a fleet.
    pub fn new(inputs: FleetInputs<'_>) -> Self {
        let mut forecast = Forecast::new(inputs.set, inputs.records, inputs.now);
        let mut hosts: Vec<_> = inputs.hosts.iter().map(|host| FleetHost::new(host, &mut forecast, &inputs)).collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut totals = HostTotals::default();
        for host in &hosts {
            totals.add(host);
        }
        let policies = policies::decoded(inputs.policies);
        Self {
            time: inputs.now,
            totals,
            components: component::summaries(&hosts),
            waves: waves::progress(&policies, &inputs),
            policies: policies.iter().map(PolicySummary::of).collect(),
            holds: holds::holds(&hosts),
            failed: holds::failed(inputs.hosts, &inputs),
            silent: holds::silent(&hosts),
            hosts,
        }
    }

    /// Returns the waves that still matter to some host.
    pub fn open_waves(&self) -> impl Iterator<Item = &WaveProgress> {
        self.waves.iter().filter(|wave| wave.is_open())
    }
}

#[cfg(test)]
mod tests;
