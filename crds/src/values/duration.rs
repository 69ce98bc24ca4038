//! Durations as the records write them: whole hours, minutes and seconds, `72h`, `1h30m`, `30s`.
//!
//! Narrower than Go's `ParseDuration`, which the API server's CEL uses: no sign, no fraction, no unit
//! below a second, each unit once and in this order. What passes here passes there.

use std::{fmt, time::Duration};

/// Why a text is no duration, or not one that may stand here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is not hours, minutes and seconds.
    #[error("{text:?} is not a duration: write hours, minutes and seconds, as in `72h`, `1h30m` or `30s`")]
    Malformed {
        /// What was given, cut to 64 characters.
        text: String,
    },
    /// It is shorter or longer than allowed here.
    #[error("{text} is not within {within}")]
    OutOfBounds {
        /// What was given.
        text: String,
        /// What is allowed.
        within: Bounds,
    },
}

/// The shortest and the longest duration that a field takes, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

const HOUR: u64 = 3600;

impl Bounds {
    /// `CliRelease.spec.interval`: how often the proxy is asked.
    pub const INTERVAL: Self = Self::secs(30, 24 * HOUR);
    /// `minAge`: none to a year.
    pub const MIN_AGE: Self = Self::secs(0, 8760 * HOUR);
    /// `windows[].duration`: a minute to a week, after which every weekly window is open always.
    pub const WINDOW: Self = Self::secs(60, 168 * HOUR);
    /// `rollout.over`: a minute to thirty days.
    pub const ROLLOUT: Self = Self::secs(60, 720 * HOUR);

    const fn secs(min: u64, max: u64) -> Self {
        Self { min: Duration::from_secs(min), max: Duration::from_secs(max) }
    }

    /// Reads a duration that must lie within.
    pub fn parse(self, text: &str) -> Result<Duration, DurationError> {
        let duration = parse(text)?;
        if (self.min..=self.max).contains(&duration) {
            Ok(duration)
        } else {
            Err(DurationError::OutOfBounds { text: text.to_owned(), within: self })
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", show(self.min), show(self.max))
    }
}

/// Reads `72h`, `1h30m`, `30s`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    read(text).ok_or_else(|| DurationError::Malformed { text: text.chars().take(64).collect() })
}

fn read(text: &str) -> Option<Duration> {
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

/// Writes a duration as [`parse`] reads it; fractions of a second are cut. `90m` is shown as `1h30m`.
pub fn show(duration: Duration) -> String {
    Shown(duration).to_string()
}

/// The same, to be written into a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
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
    fn what_is_read_and_shown() {
        for (text, seconds, shown) in [
            ("0s", 0, "0s"),
            ("30s", 30, "30s"),
            ("72h", 72 * HOUR, "72h"),
            ("1h30m", 5400, "1h30m"),
            ("90m", 5400, "1h30m"),
            ("1h0m1s", 3601, "1h1s"),
            ("007h", 7 * HOUR, "7h"),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show(Duration::from_secs(seconds)), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for bad in [
            "", "0", "1", "h", "1.5h", "-1h", "+1h", "1d", "1h1h", "1m1h", "1s1m", "1H", " 1h", "1h ", "1 h", "100ms",
            "9999999h", "1hm", "١h",
        ] {
            assert!(matches!(parse(bad), Err(DurationError::Malformed { .. })), "{bad:?}");
        }
    }

    #[test]
    fn bounds_include_their_ends() {
        for (text, inside) in [("59s", false), ("60s", true), ("1m", true), ("720h", true), ("720h1s", false)] {
            assert_eq!(Bounds::ROLLOUT.parse(text).is_ok(), inside, "{text}");
        }
        let error = Bounds::INTERVAL.parse("29s").unwrap_err().to_string();
        assert_eq!(error, "29s is not within 30s to 24h");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9hms ]{0,24}|\\PC{0,24}") {
            if let Ok(duration) = parse(&text) {
                proptest::prop_assert_eq!(parse(&show(duration)), Ok(duration));
            }
        }
    }
}
