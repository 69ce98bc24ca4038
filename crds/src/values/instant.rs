//! Arithmetic of instants and durations without overflow. An instant after [`Timestamp::MAX`] is never
//! reached.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Adds a duration to an instant. Returns `None` if the result exceeds [`Timestamp::MAX`].
pub(crate) fn after(instant: Timestamp, duration: Duration) -> Option<Timestamp> {
    // Faster than the sum of a `Timestamp` and a duration, which takes any kind of span.
    let sum = instant.as_duration().checked_add(SignedDuration::try_from(duration).ok()?)?;
    Timestamp::from_duration(sum).ok()
}

/// Adds a duration to an instant, up to [`Timestamp::MAX`].
pub(crate) fn after_or_last(instant: Timestamp, duration: Duration) -> Timestamp {
    after(instant, duration).unwrap_or(Timestamp::MAX)
}

/// Subtracts a duration from an instant, down to [`Timestamp::MIN`].
pub(crate) fn before_or_first(instant: Timestamp, duration: Duration) -> Timestamp {
    let earlier = SignedDuration::try_from(duration).ok().and_then(|duration| instant.checked_sub(duration).ok());
    earlier.unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_saturate_at_the_limits() {
        let hour = Duration::from_hours(1);
        let epoch = Timestamp::UNIX_EPOCH;
        for (instant, duration, expected) in [
            (epoch, hour, Some("1970-01-01T01:00:00Z")),
            (epoch, Duration::ZERO, Some("1970-01-01T00:00:00Z")),
            (epoch, Duration::MAX, None),
            (epoch, Duration::from_secs(i64::MAX.unsigned_abs()), None),
            (Timestamp::MAX, Duration::ZERO, Some("9999-12-30T22:00:00.999999999Z")),
            (Timestamp::MAX, Duration::from_nanos(1), None),
        ] {
            let expected: Option<Timestamp> = expected.map(|text| text.parse().unwrap());
            assert_eq!(after(instant, duration), expected, "{instant} {duration:?}");
            assert_eq!(after_or_last(instant, duration), expected.unwrap_or(Timestamp::MAX));
        }
        assert_eq!(before_or_first(after_or_last(epoch, hour), hour), epoch);
        for instant in [Timestamp::MIN, epoch, Timestamp::MAX] {
            assert_eq!(before_or_first(instant, Duration::MAX), Timestamp::MIN);
        }
    }
}
