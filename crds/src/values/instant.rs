//! Arithmetic of instants and durations without overflow, and the forms in which records have times. An instant after
//! [`Timestamp::MAX`] is never reached.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::DateTime};

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

/// Returns the first whole second that is not before the instant: records and people get whole seconds.
pub(crate) fn whole(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second();
    let up = if instant.subsec_nanosecond() > 0 { seconds.saturating_add(1) } else { seconds };
    Timestamp::from_second(up).unwrap_or(instant)
}

/// Parses a date and time without a zone: `2026-11-27T00:00` or `2026-11-27T00:00:00`.
pub(crate) fn local(text: &str) -> Option<DateTime> {
    let has_length = matches!(text.len(), 16 | 19) && text.starts_with(|first: char| first.is_ascii_digit());
    // The parser reads other forms, too, such as the second 60.
    text.parse::<DateTime>().ok().filter(|local| has_length && local.to_string().starts_with(text))
}

/// Parses a time in RFC 3339, `2026-12-01T12:00:00Z`, as the API server does: with capital letters.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date_and_time, rest) = text.split_at_checked(19)?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => rest,
    };
    let is_offset = offset == "Z" || (offset.len() == 6 && offset.starts_with(['+', '-']));
    local(date_and_time).filter(|_| is_offset)?;
    text.parse().ok()
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

    #[test]
    fn times_of_records_have_one_form() {
        for (text, expected) in [
            ("2026-12-01T12:00:00Z", Some("2026-12-01T12:00:00Z")),
            ("2026-12-01T12:00:00.25Z", Some("2026-12-01T12:00:00.25Z")),
            ("2026-12-01T12:00:00+03:00", Some("2026-12-01T09:00:00Z")),
            ("2026-12-01T12:00:00.5-01:30", Some("2026-12-01T13:30:00.5Z")),
            ("2026-12-01T12:00Z", None),
            ("2026-12-01t12:00:00z", None),
            ("2026-12-01T12:00:00", None),
            ("2026-12-01T12:00:00.Z", None),
            ("2026-12-01T12:00:60Z", None),
            ("2026-02-29T12:00:00Z", None),
            ("2026-12-01T12:00:00Z[UTC]", None),
            ("2026-12-01T12:00:00+0300", None),
            ("2026-12-01T12:00:00+03:60", None),
            ("2026-12-01 12:00:00Z", None),
            ("-002026-12-01T12:00:00Z", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
