//! How many hosts of a policy get a version before its wave begins.

use std::fmt;

use super::{Bucket, CanaryShare};
use crate::values::{name::Component, version::Version};

/// Counts the canaries of versions among the hosts of one policy.
pub trait CanaryCounter: fmt::Debug {
    /// Returns how many hosts are canaries for the version, by label or by share.
    fn canaries(&self, component: &Component, version: &Version) -> u32;
}

/// The hosts of one policy, by name.
#[derive(Debug, Clone, Default)]
pub struct NamedHosts<'a> {
    /// Name of each host, and whether the policy's `canarySelector` matches it.
    pub hosts: Vec<(&'a str, bool)>,
    /// The policy's `canaryPercent`.
    pub share: Option<CanaryShare>,
}

impl CanaryCounter for NamedHosts<'_> {
    fn canaries(&self, component: &Component, version: &Version) -> u32 {
        let by_share =
            |host: &str| self.share.is_some_and(|share| share.contains(Bucket::of(host, component, version)));
        let canaries = self.hosts.iter().filter(|(host, by_label)| *by_label || by_share(host)).count();
        u32::try_from(canaries).unwrap_or(u32::MAX)
    }
}
