//! The rollout of a policy and the waves in its status.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;

use super::selector::Selector;
use crate::{
    records::policy::{PluginPolicy, Rollout, WaveState},
    values::{duration::Bounds, field_error::FieldErrors, limits, version::Version},
};

/// Gradual rollout of versions over the hosts of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRollout {
    /// Time in which a version reaches every host.
    pub over: Duration,
    /// Hosts that get a version first.
    pub canaries: Option<Selector>,
    /// Number of failed hosts at which a wave halts.
    pub max_failed: Option<u32>,
}

/// The wave of one version in the status of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedWave {
    /// Version of the component.
    pub version: Version,
    /// Time at which the policy began to permit the version.
    pub since: Option<Timestamp>,
    /// Whether the wave is halted and not resumed. No further host takes the version then.
    pub halted: bool,
    /// Time of the halt, which identifies it.
    pub halted_at: Option<Timestamp>,
    /// Number of hosts on which the version failed.
    pub failed: u32,
}

/// The halt that an admin resumed with the annotation [`RESUME`], `<version>@<haltedAt>`. It takes effect
/// even before the operator has seen the annotation, and does not resume any other halt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumedHalt {
    /// Version whose wave continues.
    pub version: Version,
    /// Time of the halt.
    pub halted_at: Timestamp,
}

/// The annotation with which an admin resumes a halted wave.
pub const RESUME: &str = "cli.deckhouse.io/resume";

/// Returns the `kubectl` command that resumes a halted wave. `at` is the time of the halt in RFC 3339 with
/// whole seconds.
pub fn resume_command(policy: &str, version: &impl fmt::Display, at: &impl fmt::Display) -> String {
    format!("kubectl annotate pluginpolicy {policy} --overwrite {RESUME}={version}@{at}")
}

/// The difference between the generation of a policy and the generation that the operator has processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationLag {
    /// Generation of the policy.
    pub generation: i64,
    /// Generation in the policy's status. `None` if there is no status yet.
    pub observed: Option<i64>,
}

pub(super) fn rollout(rollout: &Rollout, errors: &mut FieldErrors) -> Option<CheckedRollout> {
    let canaries = rollout
        .canary_selector
        .as_ref()
        .map(|selector| Selector::parse(selector, "spec.rollout.canarySelector", errors));
    if rollout.max_failed.is_some_and(|failed| !(1..=limits::MAX_FAILED).contains(&failed)) {
        errors.add("spec.rollout.maxFailed", format!("must be from 1 to {}", limits::MAX_FAILED));
    }
    let over = errors.ok("spec.rollout.over", Bounds::ROLLOUT.parse(&rollout.over))?;
    Some(CheckedRollout { over, canaries: canaries.flatten(), max_failed: rollout.max_failed })
}

/// Returns the lag of the operator. A policy without a generation does not come from an API server, so it
/// has no lag.
pub(super) fn generation_lag(policy: &PluginPolicy) -> Option<GenerationLag> {
    let generation = policy.metadata.generation?;
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none_or(|observed| observed < generation).then_some(GenerationLag { generation, observed })
}

/// Parses the annotation [`RESUME`]. An invalid annotation resumes nothing.
pub(super) fn resumed(policy: &PluginPolicy) -> Option<ResumedHalt> {
    let (version, halted_at) = policy.metadata.annotations.as_ref()?.get(RESUME)?.split_once('@')?;
    Some(ResumedHalt { version: Version::parse(version).ok()?, halted_at: halted_at.parse().ok()? })
}

/// Returns the waves in the policy's status by component name. Ignores waves without a valid version.
pub(super) fn waves(policy: &PluginPolicy) -> BTreeMap<String, Vec<CheckedWave>> {
    let components = policy.status.iter().flat_map(|status| &status.components);
    let resumed = resumed(policy);
    let mut waves: BTreeMap<String, Vec<CheckedWave>> = BTreeMap::new();
    for component in components {
        let checked = component.waves.iter().filter_map(|wave| {
            let version = Version::parse(&wave.version).ok()?;
            let halted_at = wave.halted_at.as_ref().map(|time| time.0);
            let is_resumed = resumed.as_ref().is_some_and(|r| r.version == version && Some(r.halted_at) == halted_at);
            Some(CheckedWave {
                version,
                since: wave.since.as_ref().map(|time| time.0),
                halted: wave.state == Some(WaveState::Halted) && !is_resumed,
                halted_at,
                failed: wave.failed,
            })
        });
        waves.entry(component.name.clone()).or_default().extend(checked);
    }
    waves
}
