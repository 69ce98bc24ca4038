//! Instants and durations as numbers of nanoseconds.

use jiff::Timestamp;

/// One second.
pub(crate) const SECOND: i128 = 1_000_000_000;
/// One hour.
pub(crate) const HOUR: i128 = 3600 * SECOND;

/// Reads an instant.
pub(crate) fn instant(text: &str) -> Option<i128> {
    Some(text.parse::<Timestamp>().ok()?.as_nanosecond())
}

/// Writes an instant, rounded up to a second.
pub(crate) fn show(instant: i128) -> String {
    let seconds = instant.div_euclid(SECOND) + i128::from(instant.rem_euclid(SECOND) != 0);
    Timestamp::from_second(i64::try_from(seconds).expect("seconds")).expect("an instant").to_string()
}

/// Reads `1h30m`, `45s`: hours, minutes and seconds, each at most once, in this order.
pub(crate) fn duration(text: &str) -> Option<i128> {
    let mut total = 0;
    let mut digits = String::new();
    let mut units = "hms".chars();
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        // Each unit needs a number before it, and units have an order.
        units.find(|unit| *unit == letter)?;
        let number: i128 = digits.parse().ok()?;
        digits.clear();
        total += number
            * match letter {
                'h' => HOUR,
                'm' => 60 * SECOND,
                _ => SECOND,
            };
    }
    (digits.is_empty() && !text.is_empty()).then_some(total)
}

/// Writes an instant with its fraction of a second.
pub(crate) fn exact(instant: i128) -> String {
    Timestamp::from_nanosecond(instant).expect("an instant").to_string()
}
