//! How far the waves of policies have come: the share of the hosts that a wave has reached, and the hosts that have the
//! version.

use jiff::Timestamp;
use serde::Serialize;

use super::{FleetInputs, host::ObservedHost};
use crate::{
    decisions::{validation::CheckedPolicy, wave::Wave},
    records::policy::{PluginPolicy, WaveState, WaveStatus},
    values::{name::Component, version::Version},
};

/// The progress of the wave of one version under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveProgress {
    /// Name of the policy.
    pub policy: String,
    /// Name of the plugin, or `d8`.
    pub component: String,
    /// The version that spreads over the hosts.
    pub version: String,
    /// State of the wave.
    pub state: WaveState,
    /// When it starts to spread; absent: not yet known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// When it has reached every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// When it was halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted_at: Option<Timestamp>,
    /// The share of the hosts that it has reached, from 0 to 1.
    pub reached: f64,
    /// Number of selected hosts that report the component.
    pub hosts: usize,
    /// Number of them on which the version is active.
    pub active: usize,
    /// Number of them on which a newer version is active.
    pub newer: usize,
    /// Number of hosts on which the version failed, as the operator counted them.
    pub failed: u32,
    /// Number of hosts on which the version succeeded; absent: the policy requires none, or the wave has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<u32>,
    /// Number of hosts on which it must succeed; absent: the policy requires none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<u32>,
    /// Number of canaries; absent: as `succeeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canaries: Option<u32>,
    /// Since when hosts report the version as up to date, in order. Not on each host where it is active: the time of a
    /// host moves if its state changes.
    #[serde(skip)]
    pub taken: Vec<Timestamp>,
}

/// Returns the progress of each wave in the status of a policy.
pub(super) fn progress(policies: &[PluginPolicy], inputs: &FleetInputs<'_>) -> Vec<WaveProgress> {
    policies.iter().flat_map(|policy| of_policy(policy, inputs)).collect()
}

fn of_policy(policy: &PluginPolicy, inputs: &FleetInputs<'_>) -> Vec<WaveProgress> {
    let components = policy.status.iter().flat_map(|status| &status.components);
    let waves = components.flat_map(|progress| progress.waves.iter().map(|wave| (progress.name.as_str(), wave)));
    let parsed = waves.filter_map(|(name, wave)| {
        let component: Component = name.parse().ok()?;
        Some((inputs.shows(&component).then_some(component)?, Version::parse(&wave.version).ok()?, wave))
    });
    let parsed: Vec<_> = parsed.collect();
    // The hosts of a policy that is not valid are not known.
    let Some(checked) = CheckedPolicy::new(policy).ok().filter(|_| !parsed.is_empty()) else { return Vec::new() };
    let selected = inputs.hosts.iter().filter(|host| checked.selector.matches(&host.facts.labels));
    let selected: Vec<&ObservedHost> = selected.collect();
    parsed
        .iter()
        .map(|(component, version, wave)| of_wave(&checked, component, version, wave, &selected, inputs))
        .collect()
}

fn of_wave(
    checked: &CheckedPolicy,
    component: &Component,
    version: &Version,
    status: &WaveStatus,
    selected: &[&ObservedHost],
    inputs: &FleetInputs<'_>,
) -> WaveProgress {
    let halted_at = status.halted_at.as_ref().map(|time| time.0);
    let wave = spread(checked, component, version, status, inputs);
    let at = halted_at.map_or(inputs.now, |halted| halted.min(inputs.now));
    let mut progress = WaveProgress {
        policy: checked.name.to_string(),
        component: component.name().to_owned(),
        version: version.to_string(),
        state: status.state.unwrap_or(WaveState::Running),
        start: wave.and_then(|wave| wave.start()),
        end: wave.and_then(|wave| wave.end()),
        halted_at,
        reached: wave.map_or(0.0, |wave| wave.reached(at)),
        hosts: 0,
        active: 0,
        newer: 0,
        failed: status.failed,
        succeeded: status.succeeded,
        required: checked.rollout.as_ref().and_then(|rollout| Some(rollout.evidence?.hosts)),
        canaries: status.canaries,
        taken: Vec::new(),
    };
    for host in selected {
        progress.count(host, component, version, inputs.now);
    }
    progress.taken.sort_unstable();
    progress
}

/// Returns when the wave spreads; `None`: it has not begun, or the policy has no rollout.
fn spread(
    checked: &CheckedPolicy,
    component: &Component,
    version: &Version,
    status: &WaveStatus,
    inputs: &FleetInputs<'_>,
) -> Option<Wave> {
    let since = status.since.as_ref()?.0;
    let recorded = inputs.records.get(component.name()).and_then(|record| record.recorded(version));
    let first_seen = recorded.and_then(|entry| Some(entry.first_seen.as_ref()?.0)).unwrap_or(since);
    Some(Wave::new(first_seen, checked.min_age(component), Some(since), checked.rollout.as_ref()?.over))
}

impl WaveProgress {
    /// Returns whether the wave still matters to some host: it is not complete, and hosts lack the version, or something
    /// went wrong.
    pub(super) fn is_open(&self) -> bool {
        let is_taken_by_all = self.active + self.newer == self.hosts;
        let has_trouble = self.state == WaveState::Halted || self.failed > 0;
        self.state != WaveState::Complete && self.hosts > 0 && (has_trouble || !is_taken_by_all)
    }

    fn count(&mut self, host: &ObservedHost, component: &Component, version: &Version, now: Timestamp) {
        let Some(active) = host.facts.active.get(component) else { return };
        self.hosts += 1;
        match active.version.as_ref().map(|active| active.cmp(version)) {
            Some(std::cmp::Ordering::Equal) => {
                self.active += 1;
                self.taken.extend(active.up_to_date.map(|up_to_date| up_to_date.since().min(now)));
            }
            Some(std::cmp::Ordering::Greater) => self.newer += 1,
            _ => {}
        }
    }
}
