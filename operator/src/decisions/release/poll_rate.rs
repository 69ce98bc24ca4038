//! How often people may request polls of one record. Without a limit, a user who
//! may annotate records could use up the budget of requests to the proxy.

use std::time::{Duration, Instant};

/// Shortest time between the starts of two polls that people request.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Returns how long a requested poll must wait. `last`: the start of the last requested poll. The request is not lost:
/// it is served when the time is over, together with all requests until then.
pub(crate) fn wait_before(last: Option<Instant>, now: Instant) -> Duration {
    last.map_or(Duration::ZERO, |last| MIN_INTERVAL.saturating_sub(now.saturating_duration_since(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_polls_keep_their_distance() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (last, now, wait) in [
            (None, 0, 0),
            (Some(0), 0, 10),
            (Some(0), 3, 7),
            (Some(0), 10, 0),
            (Some(0), 60, 0),
            // The clock of another thread may be a little behind.
            (Some(5), 4, 10),
        ] {
            assert_eq!(wait_before(last.map(at), at(now)), Duration::from_secs(wait), "{last:?} {now}");
        }
    }

    /// As the poller does: a request waits, and what is requested meanwhile is served with it.
    #[test]
    fn a_flood_of_requests_gives_few_polls_and_loses_none() {
        let start = Instant::now();
        let requests = (0..200).map(|number| start + Duration::from_millis(number * 75));
        let mut polls: Vec<Instant> = Vec::new();
        for request in requests {
            if polls.last().is_none_or(|poll| *poll < request) {
                polls.push(request + wait_before(polls.last().copied(), request));
            }
        }
        let seconds: Vec<u64> = polls.iter().map(|poll| (*poll - start).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20], "200 requests in 15 s");
    }
}
