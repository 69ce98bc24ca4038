//! How a version spreads over the hosts of one policy (`docs/policies.md`, rule 7): which place a host
//! has in a version's wave, and when its turn comes. Pure: `now` is an argument.
//!
//! It knows nothing of halts, of which policies have a rollout or of which versions are expedited.
//!
//! Everything is counted in whole nanoseconds and in 2^53ths, without rounding, so that
//! [`Wave::permits`] and [`Wave::turn`] cannot disagree.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::values::{instant, name::Component, version::Version};

/// Parts that a wave is cut into, 2^53: what a 64-bit float holds exactly.
const PARTS: u64 = 1 << 53;

/// A host's share of a wave that passes before its turn, in [0,1), or 1 for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u64);

impl Bucket {
    /// After everyone else: a root that did not exist before this run, or making a new one for every
    /// change would draw lots until one is early.
    pub const LAST: Self = Self(PARTS);

    /// The first 53 bits of SHA-256 over the host's id, a NUL, the component's name (`d8` for the
    /// command line itself), a NUL and the version, divided by 2^53. The first bit is the highest of the
    /// digest's first byte; of the first eight bytes, read as a big-endian number, the last 11 bits are
    /// dropped.
    ///
    /// The version is spelt canonically: `v`, three numbers, the pre-release, no build metadata (for
    /// which versions don't differ). `1.2`, `1.2.0` and `v1.2.0+a` all are `v1.2.0`.
    pub fn of(host_id: &str, component: &Component, version: &Version) -> Self {
        let mut hash = Sha256::new();
        hash.update(host_id);
        hash.update([0]);
        hash.update(component.name());
        hash.update([0]);
        hash.update(version.without_build().to_string());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        Self(u64::from_be_bytes(first) >> 11)
    }

    /// As a number in [0,1], exactly.
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / PARTS as f64
    }
}

/// Where a host stands in a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before the wave: the policy's canaries wait neither for it nor for the policy's `minAge`.
    Canary,
    /// In it.
    At(Bucket),
}

/// When a host's turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// It never has to wait.
    Always,
    /// From this instant on.
    From(Timestamp),
    /// Not before time ends.
    Never,
}

impl Turn {
    /// Whether it has come.
    pub fn has_come(self, now: Timestamp) -> bool {
        match self {
            Self::Always => true,
            Self::From(instant) => instant <= now,
            Self::Never => false,
        }
    }
}

/// One version's way over the hosts of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// None: beyond the end of time.
    start: Option<Timestamp>,
    over: Duration,
}

impl Wave {
    /// The wave of a version first seen at `first_seen`. `min_age` is this policy's own; `since` is what
    /// the operator recorded as the instant at which this policy began to permit the version, absent if
    /// it has not; `over` is the rollout's.
    pub fn new(first_seen: Timestamp, min_age: Duration, since: Option<Timestamp>, over: Duration) -> Self {
        let soaked = instant::after(first_seen, min_age);
        Self { start: soaked.map(|soaked| soaked.max(since.unwrap_or(soaked))), over }
    }

    /// The instant it starts at, `t0`; None: never.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// How far it is, 0 to 1, for showing: permission is [`Wave::permits`]'s to give.
    #[allow(clippy::cast_precision_loss, reason = "shown to people")]
    pub fn progress(&self, now: Timestamp) -> f64 {
        match self.elapsed(now) {
            None => 0.0,
            Some(elapsed) if elapsed >= self.over.as_nanos() => 1.0,
            Some(elapsed) => elapsed as f64 / self.over.as_nanos() as f64,
        }
    }

    /// Whether a host in this place may have the version now: canary, f >= 1, or bucket < f, where
    /// f = (now - t0) / over.
    pub fn permits(&self, place: Place, now: Timestamp) -> bool {
        let bucket = match place {
            Place::Canary => return true,
            Place::At(Bucket(bucket)) => bucket,
        };
        self.elapsed(now).is_some_and(|elapsed| {
            let over = self.over.as_nanos();
            // bucket / 2^53 < elapsed / over. Time has less than 2^70 nanoseconds, so that the right side
            // fits; a left side that does not is larger.
            let due = u128::from(bucket).checked_mul(over);
            elapsed >= over || due.is_some_and(|due| due < elapsed * u128::from(PARTS))
        })
    }

    /// When this place's turn comes: the first instant at which [`Wave::permits`] says yes, to the
    /// nanosecond. Whoever writes it down in seconds rounds up.
    pub fn turn(&self, place: Place) -> Turn {
        let bucket = match place {
            Place::Canary => return Turn::Always,
            Place::At(Bucket(bucket)) => bucket,
        };
        let over = self.over.as_nanos();
        let wait = u128::from(bucket).checked_mul(over).map(|due| (due / u128::from(PARTS) + 1).min(over));
        let turn = self.start.zip(wait.and_then(nanoseconds)).and_then(|(start, wait)| instant::after(start, wait));
        turn.map_or(Turn::Never, Turn::From)
    }

    /// Nanoseconds since its start; None before it.
    fn elapsed(&self, now: Timestamp) -> Option<u128> {
        u128::try_from(now.as_nanosecond() - self.start?.as_nanosecond()).ok()
    }
}

fn nanoseconds(count: u128) -> Option<Duration> {
    const A_SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(count / A_SECOND).ok()?;
    let rest = u32::try_from(count % A_SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests;
