//! Durations in the notation of the records: hours, minutes and seconds, for example `72h`, `1h30m`, `30s`.
//!
//! The notation is a subset of Go's `ParseDuration`, which the API server's CEL uses: no sign, no fraction,
//! no unit below a second, each unit at most once and in this order.

use std::{fmt, time::Duration};

use super::correction;

/// A text that is not a duration, or a duration that its field does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text does not consist of hours, minutes and seconds.
    #[error("{text:?} is not a duration: {}", right_form(text))]
    Malformed {
        /// The given text, cut to 64 characters.
        text: String,
    },
    /// The duration is shorter or longer than its field allows.
    #[error("{text} is out of range: the duration must be from {bounds}")]
    OutOfBounds {
        /// The text that was given.
        text: String,
        /// The durations that the field allows.
        bounds: Bounds,
    },
}

/// The shortest and the longest duration that a field allows, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest duration, inclusive.
    pub min: Duration,
    /// The longest duration, inclusive.
    pub max: Duration,
}

const HOUR: u64 = 3600;

impl Bounds {
    /// `CliRelease.spec.interval`: 30 seconds to a day.
    pub const INTERVAL: Self = Self::secs(30, 24 * HOUR);
    /// `minAge`: zero to a year.
    pub const MIN_AGE: Self = Self::secs(0, 8760 * HOUR);
    /// `windows[].duration`: a minute to a week. A weekly window of a week is always open.
    pub const WINDOW: Self = Self::secs(60, 168 * HOUR);
    /// `rollout.over`: a minute to thirty days.
    pub const ROLLOUT: Self = Self::secs(60, 720 * HOUR);
    /// `rollout.requireSucceeded.for`: a minute to thirty days.
    pub const EVIDENCE: Self = Self::ROLLOUT;

    const fn secs(min: u64, max: u64) -> Self {
        Self { min: Duration::from_secs(min), max: Duration::from_secs(max) }
    }

    /// Parses a duration and checks that it is within these bounds.
    pub fn parse(self, text: &str) -> Result<Duration, DurationError> {
        let duration = parse(text)?;
        if (self.min..=self.max).contains(&duration) {
            Ok(duration)
        } else {
            Err(DurationError::OutOfBounds { text: text.to_owned(), bounds: self })
        }
    }
}

/// Writes the bounds as `30s to 24h`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", FormattedDuration(self.min), FormattedDuration(self.max))
    }
}

fn right_form(text: &str) -> String {
    correction::duration_hint(text)
        .unwrap_or_else(|| "write hours, minutes and seconds, such as `72h`, `1h30m` or `30s`".to_owned())
}

/// Parses a duration without bounds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    parse_units(text).ok_or_else(|| DurationError::Malformed { text: text.chars().take(64).collect() })
}

fn parse_units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_u64;
    for (unit, seconds, digits) in [('h', HOUR, 6), ('m', 60, 6), ('s', 1, 8)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if !(1..=digits).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        total += number.parse::<u64>().ok()?.checked_mul(seconds)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(total))
}

/// Formats a duration in the notation that [`parse`] reads. Drops fractions of a second and uses the
/// largest units: 90 minutes become `1h30m`.
pub fn format(duration: Duration) -> String {
    FormattedDuration(duration).to_string()
}

/// A duration that is displayed as [`format`] writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormattedDuration(pub Duration);

impl fmt::Display for FormattedDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, count) in [("h", seconds / HOUR), ("m", seconds % HOUR / 60), ("s", seconds % 60)] {
            if count > 0 {
                fmt::Display::fmt(&count, f)?;
                f.write_str(unit)?;
            }
        }
        if seconds == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_formatted() {
        for (text, seconds, formatted) in [
            ("0s", 0, "0s"),
            ("30s", 30, "30s"),
            ("72h", 72 * HOUR, "72h"),
            ("1h30m", 5400, "1h30m"),
            ("90m", 5400, "1h30m"),
            ("1h0m1s", 3601, "1h1s"),
            ("007h", 7 * HOUR, "7h"),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format(Duration::from_secs(seconds)), formatted, "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_refused() {
        for bad in [
            "", "0", "1", "h", "1.5h", "-1h", "+1h", "1d", "1h1h", "1m1h", "1s1m", "1H", " 1h", "1h ", "1 h", "100ms",
            "9999999h", "1hm", "١h",
        ] {
            assert!(matches!(parse(bad), Err(DurationError::Malformed { .. })), "{bad:?}");
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        for (text, inside) in [("59s", false), ("60s", true), ("1m", true), ("720h", true), ("720h1s", false)] {
            assert_eq!(Bounds::ROLLOUT.parse(text).is_ok(), inside, "{text}");
        }
        let error = Bounds::INTERVAL.parse("29s").unwrap_err().to_string();
        assert_eq!(error, "29s is out of range: the duration must be from 30s to 24h");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9hms ]{0,24}|\\PC{0,24}") {
            if let Ok(duration) = parse(&text) {
                proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
            }
        }
    }
}
