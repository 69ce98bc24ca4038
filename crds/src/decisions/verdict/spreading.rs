//! Which versions some hosts may have while others wait for them: those whose waves are not complete.

use jiff::Timestamp;

use super::{applicable::ApplicableRule, host_policies::HostPolicies};
use crate::{
    decisions::wave::Wave,
    records::release::{CliRelease, ReleaseVersion},
    values::{name::Component, version::Version},
};

impl HostPolicies<'_> {
    /// Returns the versions of a record on which the verdict depends on the place of the host in a wave. On any other
    /// version it is the same for all hosts to which these policies apply.
    pub fn spreading(&self, component: &Component, release: &CliRelease, now: Timestamp) -> Vec<Version> {
        if !self.features().rollouts {
            return Vec::new();
        }
        let rules = self.rules(component);
        let recorded = release.status.iter().flat_map(|status| &status.versions);
        let spreads = |(version, entry): &(Version, &ReleaseVersion)| {
            rules.iter().any(|rule| depends_on_place(rule, component, version, entry, now))
        };
        let versions = recorded.filter_map(|entry| Some((Version::parse(&entry.version).ok()?, entry)));
        versions.filter(spreads).map(|(version, _)| version).collect()
    }
}

/// Returns whether it depends on the place of a host in the policy's wave what the policy says of a version.
fn depends_on_place(
    rule: &ApplicableRule<'_>,
    component: &Component,
    version: &Version,
    entry: &ReleaseVersion,
    now: Timestamp,
) -> bool {
    let Some(rollout) = rule.policy.rollout.as_ref().filter(|_| !rule.canary) else { return false };
    let since = rule.policy.wave(component, version).and_then(|wave| wave.since);
    if rollout.evidence.is_some() && since.is_none() {
        return rollout.canary_share.is_some();
    }
    // Without a time at which it was first seen, a version has no wave.
    entry.first_seen.as_ref().is_some_and(|first_seen| {
        let min_age = rule.setting(|settings| settings.min_age).map(|setting| setting.value).unwrap_or_default();
        Wave::new(first_seen.0, min_age, since, rollout.over).end().is_none_or(|end| end > now)
    })
}
