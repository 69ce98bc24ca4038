//! The rollout of a policy and the waves in its status.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;

use super::selector::Selector;
use crate::{
    decisions::wave::CanaryShare,
    records::policy::{PluginPolicy, RequireSucceeded, Rollout, WaveState},
    values::{duration::Bounds, field_error::FieldErrors, limits, name::Component, text::printable, version::Version},
};

/// Gradual rollout of versions over the hosts of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRollout {
    /// Time in which a version reaches every host.
    pub over: Duration,
    /// Hosts that get a version first.
    pub canaries: Option<Selector>,
    /// Share of the hosts that get a version first.
    pub canary_share: Option<CanaryShare>,
    /// Hosts on which a version must have succeeded before its wave begins.
    pub evidence: Option<RequiredEvidence>,
    /// Number of failed hosts at which a wave halts.
    pub max_failed: Option<u32>,
}

/// Hosts on which a version must have succeeded before its wave begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredEvidence {
    /// Number of hosts.
    pub hosts: u32,
    /// Time for which each of them must have reported the version as up to date.
    pub stable_for: Duration,
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
    /// Number of hosts on which the version succeeded; absent: it was not counted.
    pub succeeded: Option<u32>,
}

/// The halts that an admin resumed with the annotation [`RESUME`]: `<component>/<version>@<haltedAt>`, several of them
/// joined by commas. They take effect even before the operator has seen the annotation, and do not resume any other
/// halt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResumedHalts {
    halts: Vec<ResumedHalt>,
    /// What is wrong with the other entries.
    errors: Vec<String>,
}

/// One halt that an admin resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumedHalt {
    pub(super) component: Component,
    pub(super) version: Version,
    pub(super) halted_at: Timestamp,
}

/// Writes the halt as in the annotation.
impl fmt::Display for ResumedHalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{:.0}", self.component.name(), self.version, self.halted_at)
    }
}

/// The annotation with which an admin resumes halted waves.
pub const RESUME: &str = "cli.deckhouse.io/resume";

impl ResumedHalts {
    /// Parses the value of the annotation. An invalid entry resumes nothing.
    pub fn parse(annotation: &str) -> Self {
        let mut resumed = Self::default();
        for entry in annotation.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match ResumedHalt::parse(entry) {
                Ok(halt) => resumed.halts.push(halt),
                Err(why) => resumed.errors.push(why),
            }
        }
        resumed
    }

    /// Returns what is wrong with the entries that resume nothing.
    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }

    /// Returns the halts that the annotation names, whether they are halts of the policy or not.
    pub(super) fn halts(&self) -> &[ResumedHalt] {
        &self.halts
    }

    /// Returns whether the annotation names this halt.
    pub fn names(&self, component: &Component, version: &Version, halted_at: Timestamp) -> bool {
        let is_named = |halt: &ResumedHalt| {
            halt.halted_at == halted_at && halt.version == *version && halt.component == *component
        };
        self.halts.iter().any(is_named)
    }
}

impl ResumedHalt {
    fn parse(entry: &str) -> Result<Self, String> {
        let shown = printable(entry);
        let form = || format!("`{shown}` is not COMPONENT/VERSION@HALTED_AT");
        let (halt, halted_at) = entry.split_once('@').ok_or_else(form)?;
        let (component, version) = halt.split_once('/').ok_or_else(form)?;
        Ok(Self {
            component: component.parse().map_err(|error| format!("`{shown}`: {error}"))?,
            version: Version::parse(version).map_err(|error| format!("`{shown}`: {error}"))?,
            halted_at: halted_at.parse().map_err(|_| form())?,
        })
    }
}

/// Returns the `kubectl` command that resumes a halted wave. `at` is the time of the halt in RFC 3339 with
/// whole seconds.
pub fn resume_command(
    policy: &str,
    component: &Component,
    version: &impl fmt::Display,
    at: &impl fmt::Display,
) -> String {
    format!("kubectl annotate pluginpolicy {policy} --overwrite {RESUME}={}/{version}@{at}", component.name())
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
    let canary_share = rollout.canary_percent.and_then(|percent| canary_share(percent, errors));
    let evidence = rollout.require_succeeded.as_ref().and_then(|required| evidence(required, errors));
    if rollout.require_succeeded.is_some() && rollout.canary_selector.is_none() && rollout.canary_percent.is_none() {
        let message = "needs canarySelector or canaryPercent; without canaries no host gets a version first";
        errors.add("spec.rollout.requireSucceeded", message);
    }
    let over = errors.ok("spec.rollout.over", Bounds::ROLLOUT.parse(&rollout.over))?;
    let canaries = canaries.flatten();
    Some(CheckedRollout { over, canaries, canary_share, evidence, max_failed: rollout.max_failed })
}

fn canary_share(percent: u32, errors: &mut FieldErrors) -> Option<CanaryShare> {
    let share = CanaryShare::of_percent(percent);
    if share.is_none() {
        errors.add("spec.rollout.canaryPercent", format!("must be from 1 to {}", limits::CANARY_PERCENT));
    }
    share
}

fn evidence(required: &RequireSucceeded, errors: &mut FieldErrors) -> Option<RequiredEvidence> {
    let at = "spec.rollout.requireSucceeded";
    if !(1..=limits::MAX_FAILED).contains(&required.hosts) {
        errors.add(format!("{at}.hosts"), format!("must be from 1 to {}", limits::MAX_FAILED));
    }
    let stable_for = errors.ok(&format!("{at}.for"), Bounds::EVIDENCE.parse(&required.stable_for))?;
    Some(RequiredEvidence { hosts: required.hosts, stable_for })
}

/// Returns the lag of the operator. A policy without a generation does not come from an API server, so it
/// has no lag.
pub(super) fn generation_lag(policy: &PluginPolicy) -> Option<GenerationLag> {
    let generation = policy.metadata.generation?;
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none_or(|observed| observed < generation).then_some(GenerationLag { generation, observed })
}

/// Returns the halts that the policy's annotation names.
pub(super) fn resumed(policy: &PluginPolicy) -> ResumedHalts {
    let annotation = policy.metadata.annotations.as_ref().and_then(|annotations| annotations.get(RESUME));
    annotation.map(|annotation| ResumedHalts::parse(annotation)).unwrap_or_default()
}

/// Returns the waves in the policy's status by component name. Ignores waves without a valid version.
pub(super) fn waves(policy: &PluginPolicy, resumed: &ResumedHalts) -> BTreeMap<String, Vec<CheckedWave>> {
    let mut waves: BTreeMap<String, Vec<CheckedWave>> = BTreeMap::new();
    for component in policy.status.iter().flat_map(|status| &status.components) {
        let Ok(name) = component.name.parse::<Component>() else { continue };
        let checked = component.waves.iter().filter_map(|wave| {
            let version = Version::parse(&wave.version).ok()?;
            let halted_at = wave.halted_at.as_ref().map(|time| time.0);
            let is_resumed = halted_at.is_some_and(|halted_at| resumed.names(&name, &version, halted_at));
            Some(CheckedWave {
                version,
                since: wave.since.as_ref().map(|time| time.0),
                halted: wave.state == Some(WaveState::Halted) && !is_resumed,
                halted_at,
                failed: wave.failed,
                succeeded: wave.succeeded,
            })
        });
        waves.entry(component.name.clone()).or_default().extend(checked);
    }
    waves
}
