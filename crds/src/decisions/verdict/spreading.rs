//! Which versions some hosts may have while others wait for them: those whose waves are not complete, and the places of
//! hosts in these waves.

use jiff::Timestamp;

use super::{applicable::ApplicableRule, candidate::Host, host_policies::HostPolicies};
use crate::{
    decisions::{
        intent::Intent,
        wave::{Bucket, BucketInput, CanaryShare, Wave},
    },
    records::release::{CliRelease, ReleaseVersion},
    values::{instant, name::Component, version::Version},
};

/// The wave of one policy in which a version spreads over hosts. It is the same for all hosts to which the same policies
/// apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpreadingWave {
    /// The version.
    pub version: Version,
    input: BucketInput,
    /// Hosts that do not wait for the wave.
    canaries: Option<CanaryShare>,
    /// `None`: it waits for evidence.
    wave: Option<Wave>,
}

/// The place of a host in a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The wave has reached the host, or the host does not wait for it.
    Reached,
    /// The wave waits for evidence.
    Waits,
    /// The wave reaches the host then, in whole seconds.
    At(Timestamp),
    /// The wave does not reach the host before the end of time.
    Never,
}

impl SpreadingWave {
    /// Returns the place of a host.
    pub fn place(&self, host: &Host<'_>, now: Timestamp) -> Place {
        let bucket = if host.new_root { Bucket::LAST } else { Bucket::of_input(host.id, &self.input) };
        if self.canaries.is_some_and(|share| share.contains(bucket)) {
            return Place::Reached;
        }
        match self.wave.map(|wave| wave.permitted_from(bucket)) {
            None => Place::Waits,
            Some(None) => Place::Never,
            Some(Some(from)) if from <= now => Place::Reached,
            Some(Some(from)) => Place::At(instant::whole(from)),
        }
    }
}

impl HostPolicies<'_> {
    /// Returns the waves of the versions of a record on which the verdict depends on the place of the host. On any other
    /// version it is the same for all hosts to which these policies apply.
    pub fn spreading(&self, component: &Component, release: &CliRelease, now: Timestamp) -> Vec<SpreadingWave> {
        if !self.features().rollouts {
            return Vec::new();
        }
        let rules = self.rules(component);
        let recorded = release.status.iter().flat_map(|status| &status.versions);
        let versions = recorded.filter_map(|entry| Some((Version::parse(&entry.version).ok()?, entry)));
        let waves = versions.flat_map(|(version, entry)| {
            let of = |rule| spreading_wave(rule, component, &version, entry, now);
            rules.iter().filter_map(of).collect::<Vec<_>>()
        });
        waves.collect()
    }

    /// Returns whether time can only end what holds changes of the agent: no window or blackout begins, and no emergency
    /// ends.
    pub fn holds_only_end(&self) -> bool {
        !self.limits_switches(Intent::Agent) && self.emergencies().next().is_none()
    }
}

/// Returns the policy's wave of a version, if it depends on the place of a host what the policy says of the version.
fn spreading_wave(
    rule: &ApplicableRule<'_>,
    component: &Component,
    version: &Version,
    entry: &ReleaseVersion,
    now: Timestamp,
) -> Option<SpreadingWave> {
    let rollout = rule.policy.rollout.as_ref().filter(|_| !rule.canary)?;
    let since = rule.policy.wave(component, version).and_then(|wave| wave.since);
    let wave = if rollout.evidence.is_some() && since.is_none() {
        rollout.canary_share?;
        None
    } else {
        // Without a time at which it was first seen, a version has no wave.
        let first_seen = entry.first_seen.as_ref()?.0;
        let min_age = rule.setting(|settings| settings.min_age).map(|setting| setting.value).unwrap_or_default();
        let wave = Wave::new(first_seen, min_age, since, rollout.over);
        Some(wave).filter(|wave| wave.end().is_none_or(|end| end > now)).map(Some)?
    };
    let input = BucketInput::new(component, version);
    Some(SpreadingWave { version: version.clone(), input, canaries: rollout.canary_share, wave })
}
