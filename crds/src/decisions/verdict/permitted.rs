//! Whether a policy permits a version, so that its wave may begin (`docs/policies.md`, rule 7).

use jiff::Timestamp;

use super::{candidate::Candidate, host_policies::HostPolicies};
use crate::{
    decisions::{intent::Intent, reason::Class, validation::CheckedPolicy},
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

impl HostPolicies<'_> {
    /// Returns whether a policy is there and nothing forbids the version; it may be held. An emergency policy alone governs
    /// nothing.
    ///
    /// There can be thousands of versions: only a pin needs the full verdict, because it compares the record's digest.
    /// Otherwise a version is forbidden exactly if hosts must replace it.
    pub fn permit(&self, component: &Component, version: &Version, release: &CliRelease, now: Timestamp) -> bool {
        if self.valid().next().is_none() {
            return false;
        }
        let is_pinned = |policy: &CheckedPolicy| {
            policy.rule_for(component).is_some_and(|rule| rule.pins.iter().any(|pin| pin.version == *version))
        };
        if !self.valid().any(is_pinned) {
            return self.guidance(component, Some(version)).active_forbidden.is_none();
        }
        let candidate = Candidate::new(self.host(), component, version, Intent::Explicit, now).release(Some(release));
        self.evaluate(&candidate).class() != Class::Forbidden
    }
}
