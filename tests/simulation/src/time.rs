//! The virtual clock: milliseconds since its start, which is a Monday at midnight.

use jiff::Timestamp;

/// Milliseconds since the start of the simulation.
pub type Millis = i64;

/// 2026-11-23T00:00:00Z
const START_SECOND: i64 = 1_795_392_000;

/// A second.
pub(crate) const SECOND: Millis = 1000;
/// A minute.
pub(crate) const MINUTE: Millis = 60 * SECOND;
/// An hour.
pub(crate) const HOUR: Millis = 60 * MINUTE;

/// Returns the instant for decisions.
pub(crate) fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(START_SECOND * SECOND + at).unwrap_or(Timestamp::MAX)
}

/// Returns the instant in whole seconds, as the API has it.
pub(crate) fn whole_second(at: Millis) -> Timestamp {
    timestamp(at - at.rem_euclid(SECOND))
}

/// Returns the time of an instant, rounded up.
pub(crate) fn millis(at: Timestamp) -> Millis {
    let nanos = at.as_nanosecond() - i128::from(START_SECOND) * 1_000_000_000;
    Millis::try_from(nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) > 0)).unwrap_or(Millis::MAX)
}

/// Returns the length of a delay.
pub(crate) fn of_delay(delay: std::time::Duration) -> Millis {
    Millis::try_from(delay.as_millis()).unwrap_or(Millis::MAX / 4)
}

/// Shows an instant as day and time: `Tue 22:00`.
pub(crate) fn shown(at: Millis) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let day = DAYS[usize::try_from(at.div_euclid(24 * HOUR).rem_euclid(7)).unwrap_or_default()];
    format!("{day} {:02}:{:02}", at.div_euclid(HOUR).rem_euclid(24), at.div_euclid(MINUTE).rem_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(timestamp(0).to_string(), "2026-11-23T00:00:00Z");
        assert_eq!(millis(timestamp(1234)), 1234);
        assert_eq!(shown(46 * HOUR + 5 * MINUTE), "Tue 22:05");
        assert_eq!(whole_second(1999), timestamp(1000));
    }
}
