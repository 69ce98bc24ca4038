//! How far a client is behind the rate at which it must read responses.

use std::time::Duration;

use tokio::time::Instant;

use super::ConnectionLimits;

/// The time for which a connection waited for its client, less the time for which the bytes that the client took would
/// last at the lowest allowed rate. Time in which the connection does not wait for the client counts back. Only bytes of
/// responses count: requests, resets and control frames change nothing.
#[derive(Debug)]
pub(super) struct ReadLag {
    /// The time in which the client must take [`Self::bytes`]. A larger lag ends the connection.
    limit: Duration,
    bytes: u64,
    /// The lag at `since`.
    lag: Duration,
    since: Instant,
    is_blocked: bool,
    /// Bytes of response bodies that fit into the windows of the client and were not counted yet.
    taken: u64,
    /// Bytes that the operating system accepted and that were not counted yet.
    written: u64,
}

impl ReadLag {
    pub(super) fn new(limits: &ConnectionLimits, now: Instant) -> Self {
        let (limit, bytes) = (limits.progress, limits.progress_bytes.max(1));
        Self { limit, bytes, lag: Duration::ZERO, since: now, is_blocked: false, taken: 0, written: 0 }
    }

    /// Returns the lag.
    pub(super) fn at(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.since);
        if self.is_blocked { self.lag.saturating_add(elapsed) } else { self.lag.saturating_sub(elapsed) }
    }

    /// Returns when the lag is too large, if the client takes nothing until then. `None` if the connection does not wait
    /// for the client.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.is_blocked.then(|| self.since + self.limit.saturating_sub(self.lag))
    }

    /// Notes whether the connection waits for the client from now on.
    pub(super) fn set_blocked(&mut self, is_blocked: bool, now: Instant) {
        self.lag = self.at(now);
        self.since = now;
        self.is_blocked = is_blocked;
    }

    /// Counts bytes of a response over HTTP/1, where the server writes nothing else.
    pub(super) fn wrote_response(&mut self, bytes: u64, now: Instant) {
        self.lag = self.at(now).saturating_sub(self.duration_of(bytes));
        self.since = now;
    }

    /// Counts bytes over HTTP/2: `taken` bytes of bodies that fit into the windows of the client, `written` bytes that
    /// were written. Neither is enough: a client can open its windows and not read, and frames without content are
    /// written, too.
    pub(super) fn count(&mut self, taken: u64, written: u64, now: Instant) {
        self.taken = self.taken.saturating_add(taken);
        self.written = self.written.saturating_add(written);
        let both = self.taken.min(self.written);
        self.taken -= both;
        self.written = (self.written - both).min(self.bytes);
        self.wrote_response(both, now);
    }

    /// Returns how long this many bytes last at the lowest allowed rate.
    fn duration_of(&self, bytes: u64) -> Duration {
        let nanos = self.limit.as_nanos().saturating_mul(bytes.into()) / u128::from(self.bytes);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens at a time.
    enum Event {
        Blocked,
        Free,
        Http1(u64),
        Taken(u64),
        Written(u64),
        Nothing,
    }

    #[test]
    fn only_bytes_of_responses_and_time_without_waiting_reduce_the_lag() {
        use Event::{Blocked, Free, Http1, Nothing, Taken, Written};
        let seconds = Duration::from_secs;
        let limits = ConnectionLimits { progress: seconds(10), progress_bytes: 1000, ..ConnectionLimits::default() };
        let start = Instant::now();
        let mut lag = ReadLag::new(&limits, start);
        // The time, what happens, the lag after it, and the deadline.
        let steps: [(u64, Event, u64, Option<u64>); 16] = [
            (0, Nothing, 0, None),
            (50, Nothing, 0, None),
            (60, Blocked, 0, Some(70)),
            (64, Nothing, 4, Some(70)),
            // A new request on a connection that waits, or a reset of one.
            (65, Blocked, 5, Some(70)),
            (65, Written(5000), 5, Some(70)),
            (66, Taken(200), 4, Some(72)),
            (66, Taken(800), 0, Some(76)),
            (67, Taken(5000), 1, Some(76)),
            (67, Written(100), 0, Some(77)),
            (71, Http1(300), 1, Some(80)),
            (75, Free, 5, None),
            (76, Blocked, 4, Some(82)),
            (77, Free, 5, None),
            (90, Nothing, 0, None),
            (90, Blocked, 0, Some(100)),
        ];
        for (now, event, expected, deadline) in steps {
            let at = start + seconds(now);
            match event {
                Blocked => lag.set_blocked(true, at),
                Free => lag.set_blocked(false, at),
                Http1(bytes) => lag.wrote_response(bytes, at),
                Taken(bytes) => lag.count(bytes, 0, at),
                Written(bytes) => lag.count(0, bytes, at),
                Nothing => {}
            }
            assert_eq!(lag.at(at), seconds(expected), "lag at {now}");
            assert_eq!(lag.deadline(), deadline.map(|after| start + seconds(after)), "deadline at {now}");
        }
    }
}
