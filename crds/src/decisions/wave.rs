//! The wave in which a version spreads over the hosts of one policy (`docs/policies.md`, rule 7): the
//! position of a host in the wave, and the time from which the wave permits the version there.
//!
//! This module does not know about expedited versions, or which policies have a rollout.
//!
//! All arithmetic uses whole nanoseconds and fractions of 2^53 without rounding.

mod canaries;
mod course;
mod evidence;

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

pub use self::{
    canaries::{CanaryCounter, NamedHosts},
    course::{FailedChange, begins, halts, resumed_since, stuck_from},
    evidence::UpToDate,
};
use crate::values::{instant, limits, name::Component, version::Version};

/// Number of buckets, 2^53.
const BUCKETS: u64 = 1 << 53;

/// Bucket of a host: the share of the rollout time that passes before the wave permits the version there.
/// It is in [0,1), or 1 for [`Bucket::LAST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u64);

impl Bucket {
    /// The bucket of a store that did not exist before this run. Otherwise a person could create new
    /// stores until one of them has an early bucket.
    pub const LAST: Self = Self(BUCKETS);

    /// Computes the bucket of a host for a version of a component.
    ///
    /// The bucket is the first 53 bits of SHA-256, divided by 2^53: the first eight bytes of the hash as a
    /// big-endian number without its last 11 bits. The input of the hash is the host's id, a NUL, the
    /// component's name (`d8` for d8 itself), a NUL and the version in canonical form: `v`, three numbers
    /// and the pre-release, without build metadata. `1.2`, `1.2.0` and `v1.2.0+a` all become `v1.2.0`.
    pub fn of(host_id: &str, component: &Component, version: &Version) -> Self {
        Self::of_input(host_id, &BucketInput::new(component, version))
    }

    /// Computes the bucket of a host where the rest of the input is known.
    pub fn of_input(host_id: &str, BucketInput(rest): &BucketInput) -> Self {
        let mut hash = Sha256::new();
        hash.update(host_id);
        hash.update(rest);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        Self(u64::from_be_bytes(first) >> 11)
    }
}

/// What the buckets of all hosts for a version have in common: the input of the hash after the host's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInput(String);

impl BucketInput {
    /// Makes the input for a version of a component.
    pub fn new(component: &Component, version: &Version) -> Self {
        Self(format!("\0{}\0{}", component.name(), version.without_build()))
    }
}

/// Share of the hosts that get a version before its wave begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryShare {
    /// From 1 to [`limits::CANARY_PERCENT`].
    percent: u32,
}

impl CanaryShare {
    /// Makes a share of a percentage, or `None` if it is not from 1 to [`limits::CANARY_PERCENT`].
    pub fn of_percent(percent: u32) -> Option<Self> {
        (1..=limits::CANARY_PERCENT).contains(&percent).then_some(Self { percent })
    }

    /// Returns the percentage.
    pub fn percent(self) -> u32 {
        self.percent
    }

    /// Returns whether a host with this bucket is a canary: bucket < percent / 100.
    pub fn contains(self, Bucket(bucket): Bucket) -> bool {
        u128::from(bucket) * 100 < u128::from(self.percent) * u128::from(BUCKETS)
    }
}

/// The wave in which one version spreads over the hosts of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// `None` if the wave starts after [`Timestamp::MAX`].
    start: Option<Timestamp>,
    over: Duration,
}

impl Wave {
    /// Makes the wave of a version that was first seen at `first_seen`.
    ///
    /// `min_age` is that of the policy. `since` is the instant at which the policy began to permit the
    /// version, as the operator recorded it. `over` is the duration of the policy's rollout.
    pub fn new(first_seen: Timestamp, min_age: Duration, since: Option<Timestamp>, over: Duration) -> Self {
        let soaked = instant::after(first_seen, min_age);
        Self { start: soaked.map(|soaked| soaked.max(since.unwrap_or(soaked))), over }
    }

    /// Returns the start of the wave, or `None` if the wave never starts.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// Returns the instant from which the wave permits the version on every host, or `None` if it is after
    /// [`Timestamp::MAX`].
    pub fn end(&self) -> Option<Timestamp> {
        instant::after(self.start?, self.over)
    }

    /// Returns the share of the buckets that the wave has reached, from 0 to 1.
    pub fn reached(&self, now: Timestamp) -> f64 {
        let Some(start) = self.start else { return 0.0 };
        let elapsed = Duration::try_from(now.duration_since(start)).unwrap_or_default();
        if elapsed >= self.over { 1.0 } else { elapsed.div_duration_f64(self.over) }
    }

    /// Returns the first instant at which the wave reaches a host with this bucket, to the nanosecond: f >= 1, or
    /// bucket < f, where f = (now - start) / over. Round it up to write it in seconds. `None`: after
    /// [`Timestamp::MAX`].
    pub fn permitted_from(&self, Bucket(bucket): Bucket) -> Option<Timestamp> {
        let over = self.over.as_nanos();
        let wait = u128::from(bucket).checked_mul(over).map(|share| (share / u128::from(BUCKETS) + 1).min(over));
        instant::after(self.start?, wait.and_then(nanoseconds)?)
    }
}

fn nanoseconds(count: u128) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    // A division of 64 bits is much faster, and enough for every rollout that a policy can have.
    if let Ok(count) = u64::try_from(count) {
        return Some(Duration::from_nanos(count));
    }
    let seconds = u64::try_from(count / SECOND).ok()?;
    let rest = u32::try_from(count % SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests;
