//! Numbers in place of components and what is active of them, which are quick to compare.

use std::collections::{BTreeSet, HashMap};

use super::facts::HostFacts;
use crate::values::{digest::Digest, name::Component, version::Version};

/// The number of a component and what is active of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ActiveNumber {
    /// Its version and digests.
    Active(usize),
    /// It is not installed.
    Missing(usize),
}

/// The numbers that are given so far.
#[derive(Debug, Default)]
pub(super) struct ActiveNumbers<'a> {
    /// A number for each version that is active somewhere.
    active: HashMap<(&'a Component, Option<&'a Version>, &'a [Digest]), usize>,
    /// A number for each component that is required somewhere and not installed there.
    missing: HashMap<Component, usize>,
}

impl<'a> ActiveNumbers<'a> {
    /// Returns what is equal for the same components with the same active versions.
    pub(super) fn of(&mut self, machine: &'a HostFacts, components: &BTreeSet<&Component>) -> Vec<ActiveNumber> {
        let number = |component: &&Component| {
            if let Some((component, active)) = machine.active.get_key_value(*component) {
                let next = self.active.len();
                let key = (component, active.version.as_ref(), active.digests.as_slice());
                return ActiveNumber::Active(*self.active.entry(key).or_insert(next));
            }
            let next = self.missing.len();
            ActiveNumber::Missing(*self.missing.entry((*component).clone()).or_insert(next))
        };
        components.iter().map(number).collect()
    }
}
