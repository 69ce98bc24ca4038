//! How long hosts keep a version that a policy forbids.

use std::collections::BTreeMap;

use crate::time::Millis;

/// Hosts on forbidden versions.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    /// Since when, by host.
    since: BTreeMap<usize, Millis>,
    /// How long each of the others was.
    lengths: Vec<Millis>,
}

impl Exits {
    /// Notes that the version of a host is forbidden.
    pub(crate) fn begin(&mut self, host: usize, at: Millis) {
        self.since.entry(host).or_insert(at);
    }

    /// Notes that a host has a version that is not forbidden.
    pub(crate) fn end(&mut self, host: usize, at: Millis) {
        self.lengths.extend(self.since.remove(&host).map(|since| at - since));
    }

    /// Returns how many hosts had a forbidden version, how many still have one, and the mean and the longest time.
    pub(crate) fn summary(&self) -> (usize, usize, Millis, Millis) {
        let count = Millis::try_from(self.lengths.len()).unwrap_or(Millis::MAX);
        let mean = self.lengths.iter().sum::<Millis>().checked_div(count).unwrap_or_default();
        let longest = self.lengths.iter().copied().max().unwrap_or_default();
        (self.lengths.len() + self.since.len(), self.since.len(), mean, longest)
    }
}
