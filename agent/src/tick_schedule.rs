//! When the agent of a host ticks again: pure, so that a test needs no clock.

use std::time::Duration;

use jiff::Timestamp;

/// Time between two ticks if nothing happens, before jitter.
pub const INTERVAL: Duration = Duration::from_mins(15);
/// Share of [`INTERVAL`] by which hosts differ, so that they do not tick at once.
const SPREAD: f64 = 0.2;
/// Shortest time over which hosts spread when a window opens or a hold ends for many of them at once.
const STAGGER: Duration = Duration::from_secs(10);
/// So many hosts tick in a second, on average, when the same event makes all of them tick.
const TICKS_PER_SECOND: f64 = 100.0;
/// Longest time over which hosts spread: a change of a policy arrives everywhere within it.
const LONGEST_SPREAD: Duration = Duration::from_mins(5);
/// First and longest delay after ticks that failed, before jitter.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_mins(10);
/// Shortest time between two ticks, unless a policy changes.
const SHORTEST: Duration = Duration::from_secs(1);

/// How a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickResult {
    /// It read the policies and reported. `until`: the first end of a hold.
    Done {
        /// When the first of the held components may change; `None`: no hold has an end.
        until: Option<Timestamp>,
    },
    /// Policies or records could not be read, or the report could not be written.
    Failed,
}

/// The schedule of one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TickSchedule {
    /// Ticks that failed, since the last one that did not.
    failures: u32,
    /// Hosts that the same policies select: as many may tick at the same event.
    peers: u32,
}

/// Returns how long to wait after this many failures in a row. `random` is in [0, 1). The delay grows up to 10 minutes,
/// with full jitter, so that many hosts do not return to a server at once.
pub fn wait_after_failures(failures: u32, random: f64) -> Duration {
    let longest = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY);
    longest.mul_f64(random).max(SHORTEST)
}

impl TickSchedule {
    /// Sets how many hosts the policies of this host select, by their status.
    pub fn set_peers(&mut self, hosts: u32) {
        self.peers = hosts;
    }

    /// Returns how long to wait with the tick after a policy changed. `random` is in [0, 1): each host has another one. A
    /// few hosts tick at once; of many, [`TICKS_PER_SECOND`] do in each second.
    pub fn wait_after_change(self, random: f64) -> Duration {
        self.spread().mul_f64(random)
    }

    /// Returns the time over which the peers spread when the same event makes all of them tick.
    fn spread(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.peers) / TICKS_PER_SECOND).min(LONGEST_SPREAD)
    }

    /// Returns how many ticks have failed since the last one that did not.
    pub fn failures(self) -> u32 {
        self.failures
    }

    /// Returns how long to wait after a tick. `random` is in [0, 1): each host has another one. After failures the delay
    /// grows up to 10 minutes, with full jitter, so that many hosts do not return to a server at once.
    pub fn wait_after(&mut self, result: TickResult, now: Timestamp, random: f64) -> Duration {
        let TickResult::Done { until } = result else {
            self.failures = self.failures.saturating_add(1);
            return wait_after_failures(self.failures, random);
        };
        self.failures = 0;
        let regular = INTERVAL.mul_f64(1.0 - SPREAD / 2.0 + SPREAD * random);
        let hold = until.map(|until| {
            let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            left.saturating_add(self.spread().max(STAGGER).mul_f64(random))
        });
        hold.map_or(regular, |hold| hold.min(regular)).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn wait(schedule: &mut TickSchedule, result: TickResult, random: f64) -> f64 {
        schedule.wait_after(result, NOW, random).as_secs_f64()
    }

    #[test]
    fn ticks_are_regular_and_at_the_end_of_a_hold() {
        let until = |seconds| TickResult::Done { until: Some(NOW + SignedDuration::from_secs(seconds)) };
        for (result, random, expected) in [
            (TickResult::Done { until: None }, 0.0, 810.0),
            (TickResult::Done { until: None }, 0.5, 900.0),
            (until(60), 0.0, 60.0),
            (until(60), 0.5, 65.0),
            (until(3600), 0.5, 900.0),
            // A hold that is over, by a clock that differs, does not make the agent busy.
            (until(-60), 0.0, 1.0),
        ] {
            assert!(
                (wait(&mut TickSchedule::default(), result, random) - expected).abs() < 1e-6,
                "{result:?} {random}"
            );
        }
    }

    #[test]
    fn hosts_spread_by_their_number() {
        let until = TickResult::Done { until: Some(NOW + SignedDuration::from_secs(60)) };
        for (peers, after_change, at_end) in
            [(0, 0.0, 65.0), (10, 0.05, 65.0), (10_000, 50.0, 110.0), (1 << 20, 150.0, 210.0)]
        {
            let mut schedule = TickSchedule::default();
            schedule.set_peers(peers);
            let found = schedule.wait_after_change(0.5).as_secs_f64();
            assert!((found - after_change).abs() < 1e-6, "{peers}: {found}");
            let found = wait(&mut schedule, until, 0.5);
            assert!((found - at_end).abs() < 1e-6, "{peers}: {found}");
        }
    }

    #[test]
    fn failures_back_off_until_a_tick_succeeds() {
        let mut schedule = TickSchedule::default();
        let waits: Vec<f64> = (0..40).map(|_| wait(&mut schedule, TickResult::Failed, 0.999)).collect();
        assert!(
            waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[39] <= 600.0 && waits[39] > 599.0,
            "{waits:?}"
        );
        assert!(waits[0] < 2.0 && wait(&mut schedule, TickResult::Failed, 0.0) >= 1.0);
        assert_eq!(schedule.failures(), 41);
        wait(&mut schedule, TickResult::Done { until: None }, 0.0);
        assert_eq!(schedule.failures(), 0);
    }
}
