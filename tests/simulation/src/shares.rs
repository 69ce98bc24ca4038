//! The share of the hosts that have each version, over time, and how far it is from what the rollout says.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        validation::CheckedPolicy,
        wave::{Bucket, Wave},
    },
    records::policy::PluginPolicy,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;

use crate::{cluster::WaveOfFleet, time::Millis};

/// Hosts by version.
pub(crate) type Counts = BTreeMap<Version, u32>;

/// How far the share of a version was from what the rollout says, at most, on hosts without windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// The version.
    pub version: String,
    /// From the hosts that the wave permits by then, which are not exactly as many as the formula says: buckets are
    /// random.
    pub from_permitted: f64,
    /// From the time that has passed, divided by `over`.
    pub from_line: f64,
    /// When `from_line` was that large.
    pub at: Millis,
    /// Comparisons.
    pub samples: u32,
}

/// Shares over time.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// Hosts by version, without and with windows, by time.
    pub(crate) samples: Vec<(Millis, [Counts; 2])>,
    deviations: BTreeMap<String, Deviation>,
    /// When the wave permits the version on each host, in order, for the present `since`.
    permitted: Option<(String, Timestamp, Vec<Timestamp>)>,
}

/// The wave to compare with, and the hosts.
pub(crate) struct Comparison<'a> {
    pub(crate) policy: &'a PluginPolicy,
    pub(crate) component: &'a Component,
    pub(crate) version: &'a str,
    pub(crate) wave: WaveOfFleet,
    pub(crate) first_seen: Timestamp,
    /// Names of the hosts without windows.
    pub(crate) hosts: &'a [&'a str],
    /// How many of them have the version.
    pub(crate) with_version: u32,
}

impl Shares {
    /// Compares the share of a version with its wave.
    pub(crate) fn compare(&mut self, of: &Comparison<'_>, at: Millis, now: Timestamp) {
        // A halted wave stands still, and the hosts that made it halt have the version before.
        let Some(since) = of.wave.since.filter(|_| of.wave.halted_at.is_none()) else { return };
        let (Ok(checked), Ok(version)) = (CheckedPolicy::new(of.policy), Version::parse(of.version)) else { return };
        let Some(rollout) = &checked.rollout else { return };
        let over = rollout.over.as_secs_f64();
        let passed = (now.duration_since(since).as_secs_f64() / over).clamp(0.0, 1.0);
        if passed >= 1.0 {
            return;
        }
        let canaries = rollout.canary_share.map_or(0.0, |share| f64::from(share.percent()) / 100.0);
        let is_canary = |host: &str| {
            rollout.canary_share.is_some_and(|share| share.contains(Bucket::of(host, of.component, &version)))
        };
        let wave = Wave::new(of.first_seen, checked.min_age(of.component), Some(since), rollout.over);
        let is_known = |(known, at, _): &(String, Timestamp, Vec<Timestamp>)| known == of.version && *at == since;
        if !self.permitted.as_ref().is_some_and(is_known) {
            let from = |host: &&str| match wave.permitted_from(Bucket::of(host, of.component, &version)) {
                _ if is_canary(host) => Timestamp::MIN,
                from => from.unwrap_or(Timestamp::MAX),
            };
            let mut permitted: Vec<_> = of.hosts.iter().map(from).collect();
            permitted.sort_unstable();
            self.permitted = Some((of.version.to_owned(), since, permitted));
        }
        let permitted =
            self.permitted.iter().map(|(.., from)| from.partition_point(|from| *from <= now)).sum::<usize>();
        let share = |hosts: usize| number(hosts) / number(of.hosts.len().max(1));
        let share_now = share(usize::try_from(of.with_version).unwrap_or_default());
        let found = [(share_now - share(permitted)).abs(), (share_now - passed.max(canaries)).abs()];
        let deviation = self.deviations.entry(of.version.to_owned()).or_insert_with(|| Deviation {
            version: of.version.to_owned(),
            from_permitted: 0.0,
            from_line: 0.0,
            at,
            samples: 0,
        });
        deviation.samples += 1;
        deviation.from_permitted = deviation.from_permitted.max(found[0]);
        if found[1] > deviation.from_line {
            (deviation.from_line, deviation.at) = (found[1], at);
        }
    }

    /// Returns the largest deviations, by version.
    pub(crate) fn deviations(&self) -> Vec<Deviation> {
        self.deviations.values().cloned().collect()
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
