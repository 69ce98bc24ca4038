//! Delays between retries, and jitter.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::watcher::ExponentialBackoff;

/// Returns delays that double with each failure. The first is at most `first`, none is longer than `longest`. Jitter
/// shortens each delay by up to half.
pub(crate) fn backoff(first: Duration, longest: Duration) -> ExponentialBackoff {
    // `backon` adds a jitter of up to the whole delay.
    let builder = ExponentialBuilder::default().with_min_delay(first / 2).with_max_delay(longest / 2);
    builder.with_jitter().without_max_times().into()
}

/// Returns the interval, a tenth longer or shorter at most, so that objects created together are not polled together
/// forever.
pub(crate) fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use kube::runtime::utils::Backoff as _;

    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut delays = backoff(Duration::from_secs(5), Duration::from_mins(1));
        for _ in 0..2 {
            for longest in [5, 10, 20, 40, 60, 60, 60] {
                let delay = delays.next().unwrap().as_secs_f64();
                let longest = f64::from(longest);
                assert!((longest / 2.0..=longest).contains(&delay), "{longest}: {delay}");
            }
            delays.reset();
        }
    }

    #[test]
    fn jitter_is_a_tenth() {
        for _ in 0..100 {
            let interval = jitter(Duration::from_secs(100)).as_secs_f64();
            assert!((90.0..=110.0).contains(&interval), "{interval}");
        }
    }
}
