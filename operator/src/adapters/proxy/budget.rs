//! The budget of requests to the proxy: how many at once, and how many per second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

/// Most requests in flight.
const IN_FLIGHT: u32 = 4;
/// Requests per second in the long run.
const RATE: f64 = 20.0;
/// Most requests at once after a quiet time.
const BURST: f64 = 1000.0;

/// The budget of requests.
#[derive(Debug)]
pub(super) struct RequestBudget {
    slots: Semaphore,
    bucket: Mutex<TokenBucket>,
}

impl RequestBudget {
    /// Makes a full budget.
    pub(super) fn new() -> Self {
        let bucket = TokenBucket { tokens: BURST, updated: Instant::now() };
        Self { slots: Semaphore::new(IN_FLIGHT as usize), bucket: Mutex::new(bucket) }
    }

    /// Waits until `requests` may be sent, in the order of the calls. The permit covers all of them.
    pub(super) async fn acquire(&self, requests: u32) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        let permit = self.slots.acquire_many(requests.clamp(1, IN_FLIGHT)).await.ok();
        sleep(self.take(requests)).await;
        permit
    }

    fn take(&self, requests: u32) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(requests, Instant::now())
    }
}

/// A token bucket. One token is one request.
#[derive(Debug)]
struct TokenBucket {
    /// Below zero: the tokens that were promised to waiting calls.
    tokens: f64,
    updated: Instant,
}

impl TokenBucket {
    /// Takes the tokens for `requests`. Returns the time to wait before sending them.
    fn take(&mut self, requests: u32, now: Instant) -> Duration {
        let added = now.duration_since(self.updated).as_secs_f64() * RATE;
        self.tokens = (self.tokens + added).min(BURST) - f64::from(requests);
        self.updated = now;
        Duration::from_secs_f64((-self.tokens / RATE).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_twenty_requests_per_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket { tokens: BURST, updated: start };
        let seconds = Duration::from_secs;
        for (what, requests, after, wait) in [
            ("a burst", 1000, seconds(0), seconds(0)),
            ("beyond the burst", 20, seconds(0), seconds(1)),
            ("later calls wait longer", 20, seconds(0), seconds(2)),
            ("promised tokens are refilled first", 20, seconds(2), seconds(1)),
            ("a long quiet time fills the bucket and no more", 1020, seconds(9999), seconds(1)),
        ] {
            assert_eq!(bucket.take(requests, start + after), wait, "{what}");
        }
    }

    #[tokio::test]
    async fn four_requests_are_in_flight_at_most() {
        let budget = RequestBudget::new();
        let held = budget.acquire(3).await;
        let one = budget.acquire(1).await;
        let mut fifth = Box::pin(budget.acquire(1));
        assert!(futures::poll!(&mut fifth).is_pending());
        drop(one);
        drop(fifth.await);
        drop(held);
        let whole = budget.acquire(64).await;
        assert!(futures::poll!(Box::pin(budget.acquire(1))).is_pending(), "a large index takes all slots and no more");
        drop(whole);
    }
}
