//! Waiting times with jitter. Pure: the randomness is an argument.

use std::time::Duration;

/// The wait before try `failures + 1`: `base`, doubled with each failure, at most `max`; between half
/// and the whole of it, by `random` in 0..1.
pub(crate) fn after_failures(failures: u32, base: Duration, max: Duration, random: f64) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(20));
    base.saturating_mul(factor).min(max).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

/// An interval a tenth longer or shorter, by `random` in 0..1, so that records made together don't
/// ask together for ever.
pub(crate) fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        let s = Duration::from_secs;
        for (failures, random, expected) in [
            (1, 1.0, s(5)),
            (1, 0.0, s(5) / 2),
            (2, 1.0, s(10)),
            (4, 1.0, s(40)),
            (5, 1.0, s(60)),
            (u32::MAX, 1.0, s(60)),
        ] {
            assert_eq!(after_failures(failures, s(5), s(60), random), expected, "{failures} {random}");
        }
        assert_eq!(jittered(s(100), 0.0), s(90));
        assert_eq!(jittered(s(100), 0.5), s(100));
        assert_eq!(jittered(s(100), 1.0), s(110));
    }
}
