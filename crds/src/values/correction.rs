//! The right form of a value that people write in another one: `72h` for `3d`, `Sat` for `Saturday`. A text that can
//! mean several values has no correction; its hint names each value with its meaning.

use std::{fmt, time::Duration};

use jiff::{civil::Date, tz::TimeZoneDatabase};

use super::{duration, instant, spelling::nearest};

/// ``write `72h` ``.
pub fn write(corrected: impl fmt::Display) -> String {
    format!("write `{corrected}`")
}

/// Returns how to write a duration: in hours, minutes and seconds. `3M` may mean minutes or months, and a month has no
/// fixed length.
pub fn duration_hint(text: &str) -> Option<String> {
    duration(text).map(write).or_else(|| calendar_hint(text.trim()))
}

/// Returns the hint about months and years.
fn calendar_hint(text: &str) -> Option<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok().filter(|number| (1..=1200).contains(number))?;
    let unit = unit.trim();
    let (days, name) = match unit.to_ascii_lowercase().as_str() {
        "m" | "mo" | "mos" | "mth" | "month" | "months" => (30, "months"),
        "y" | "yr" | "yrs" | "year" | "years" => (365, "years"),
        _ => return None,
    };
    let minutes = if unit == "M" { format!("`{number}m` for minutes, or ") } else { String::new() };
    Some(format!("write {minutes}`{}h` for {name} of {days} days", number * days * 24))
}

/// Returns the duration that a text means: `3d`, `1w`, `2 days`, `24hours`, `1.5h`, `1h 30m`.
pub fn duration(text: &str) -> Option<String> {
    const LONGEST: u64 = 100 * 366 * 24 * 3600;
    let mut rest = text.trim();
    let mut milliseconds = 0_u64;
    let mut has_hours = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit == "M" && !has_hours {
            return None;
        }
        let length = seconds(&unit.to_ascii_lowercase())?;
        has_hours |= length == 3600;
        let of_unit = length.checked_mul(thousandths(number)?)?;
        milliseconds = milliseconds.checked_add(of_unit)?;
        rest = after.trim_start_matches([' ', ',']);
    }
    let is_whole = milliseconds > 0 && milliseconds.is_multiple_of(1000) && milliseconds / 1000 <= LONGEST;
    is_whole.then(|| duration::format(Duration::from_secs(milliseconds / 1000)))
}

/// Returns the seconds of a unit. `m` means minutes.
fn seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 24 * 3600,
        "w" | "wk" | "week" | "weeks" => 7 * 24 * 3600,
        _ => return None,
    })
}

/// Returns a decimal number with at most two digits after the point, in thousandths. `1.500` may be a number with a
/// separator of thousands.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 2 || fraction.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(format!("{fraction:0<3}").parse().ok()?)
}

const DAYS: [(&str, &str); 7] = [
    ("Mon", "monday"),
    ("Tue", "tuesday"),
    ("Wed", "wednesday"),
    ("Thu", "thursday"),
    ("Fri", "friday"),
    ("Sat", "saturday"),
    ("Sun", "sunday"),
];

/// Returns the days that a text means, as a list has them: `Saturday`, `sat`, `Mo`, `weekend`, `Mon-Fri`, and the numbers
/// of cron, in which 0 and 7 are Sunday.
pub fn days(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (first, last) = match text.as_str() {
        "weekend" | "weekends" => (5, 6),
        "weekday" | "weekdays" | "workday" | "workdays" => (0, 4),
        _ => {
            let (first, last) = text.split_once(['-', '\u{2013}']).unwrap_or((&text, &text));
            (day(first)?, day(last)?)
        }
    };
    let count = (last + DAYS.len() - first) % DAYS.len() + 1;
    let names = DAYS.iter().cycle().skip(first).take(count).map(|(name, _)| *name);
    Some(names.collect::<Vec<_>>().join(", "))
}

/// Returns the index of a day from Monday on.
fn day(text: &str) -> Option<usize> {
    let text = text.trim().trim_end_matches('.');
    if let Ok(number) = text.parse::<usize>() {
        return (number <= 7).then_some((number + 6) % 7);
    }
    // One letter may be two days.
    let stem = text.strip_suffix('s').unwrap_or(text);
    let is_day = |(_, name): &(&str, &str)| stem.len() >= 2 && (name.starts_with(stem) || name.starts_with(text));
    DAYS.iter().position(is_day)
}

/// Returns the time of day that a text means: `8:00`, `8`, `0800`, `11pm`, `8:00:00`.
pub fn time_of_day(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let (clock, half) = match text.strip_suffix('m').map(|text| text.trim_end_matches('.')) {
        Some(text) if text.ends_with(['a', 'p']) => (text[..text.len() - 1].trim_end(), Some(text.ends_with('p'))),
        _ => (text.trim_end_matches('h').trim_end(), None),
    };
    let is_digits = !clock.is_empty() && clock.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = match clock.len() {
        3 | 4 if is_digits => vec![&clock[..clock.len() - 2], &clock[clock.len() - 2..]],
        _ => clock.split([':', '.']).collect(),
    };
    let is_number = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute) = match parts.as_slice() {
        [hour] if is_number(hour) => (*hour, "00"),
        [hour, minute] | [hour, minute, "00"] if is_number(hour) && is_number(minute) && minute.len() == 2 => {
            (*hour, *minute)
        }
        _ => return None,
    };
    let (hour, minute): (u8, u8) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = match (half, hour) {
        (None, hour) => hour,
        (Some(afternoon), 1..=12) => hour % 12 + if afternoon { 12 } else { 0 },
        (Some(_), _) => return None,
    };
    (hour < 24 && minute < 60).then(|| format!("{hour:02}:{minute:02}"))
}

/// Returns the local date and time that a text means: `2026-11-27`, `2026-11-27 8:00`. A time with a zone has none: the
/// zone is another field.
pub fn local_time(text: &str) -> Option<String> {
    let corrected = date_and_time(text.trim())?;
    instant::local(&corrected).is_some().then_some(corrected)
}

/// Returns how to write the beginning of a span of time.
pub fn local_time_hint(text: &str) -> Option<String> {
    local_time(text).map(write)
}

/// Returns how to write the end of a span of time. With a day alone, people may mean its beginning or its end.
pub fn end_hint(text: &str) -> Option<String> {
    let corrected = local_time(text)?;
    let Some(next) = day_after(text) else { return Some(write(corrected)) };
    Some(format!("write `{corrected}` for the beginning of that day, or `{next}T00:00` for its end"))
}

/// Returns the day after a text that is a day without a time.
fn day_after(text: &str) -> Option<Date> {
    text.trim().parse::<Date>().ok().filter(|_| text.trim().len() == 10)?.tomorrow().ok()
}

/// Returns how to write an instant in RFC 3339. The zone of a time without one is not known.
pub fn rfc3339_hint(text: &str) -> Option<String> {
    let corrected = rfc3339(text)?;
    if let Some(next) = day_after(text) {
        let next = format!("{next}T00:00:00Z");
        return Some(format!("write `{corrected}` for the beginning of that day in UTC, or `{next}` for its end"));
    }
    let has_zone = text.trim_end().ends_with(['Z', 'z']);
    Some(if has_zone { write(corrected) } else { format!("{} for that time in UTC", write(corrected)) })
}

/// Returns the time in RFC 3339 that a text means. A time without a zone counts as UTC.
fn rfc3339(text: &str) -> Option<String> {
    let upper = text.trim().to_ascii_uppercase();
    let corrected = match upper.strip_suffix('Z') {
        Some(local) => date_and_time(local)?,
        None => date_and_time(&upper)?,
    };
    let seconds = if corrected.len() == 16 { ":00" } else { "" };
    let corrected = format!("{corrected}{seconds}Z");
    instant::rfc3339(&corrected).is_some().then_some(corrected)
}

fn date_and_time(text: &str) -> Option<String> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let time = time.trim();
    let has_seconds = time.len() == 8 && time.split(':').count() == 3;
    Some(format!("{date}T{}", if has_seconds { time.to_owned() } else { time_of_day(time)? }))
}

/// The areas whose zones are named after places.
const AREAS: [&str; 10] = [
    "Africa/",
    "America/",
    "Antarctica/",
    "Arctic/",
    "Asia/",
    "Atlantic/",
    "Australia/",
    "Europe/",
    "Indian/",
    "Pacific/",
];

/// Names in these areas that are no places.
const DIRECTIONS: [&str; 4] = ["North", "South", "East", "West"];

/// Returns the IANA time zone that a text means: `europe/berlin`, `Berlin`, `New York`.
pub fn time_zone(text: &str) -> Option<String> {
    let name = text.trim().replace(' ', "_");
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(&name) {
        return zone.iana_name().filter(|_| !zone.is_unknown()).map(str::to_owned);
    }
    // `GMT+3` is not `Etc/GMT+3`, which is three hours behind. `East` is no city.
    let is_place = |zone: &String| AREAS.iter().any(|area| zone.starts_with(area));
    let known: Vec<String> = database.available().map(|name| name.to_string()).filter(is_place).collect();
    let is_city = |zone: &&String| {
        let city = zone.rsplit('/').next().filter(|city| !DIRECTIONS.contains(city));
        city.is_some_and(|city| city.eq_ignore_ascii_case(&name))
    };
    let cities: Vec<_> = known.iter().filter(is_city).collect();
    match cities.as_slice() {
        [] => {
            // Names of other regions are near by chance.
            let region = name.split_once('/').map(|(region, _)| format!("{region}/"))?;
            nearest(&name, known.iter().filter(|zone| zone.starts_with(&region)).map(String::as_str)).map(str::to_owned)
        }
        [only] => Some((*only).clone()),
        _ => None,
    }
}

/// Returns the value of an enumeration that a text means: written in another case, or with a typing error.
pub fn variant<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let text = text.trim();
    let same = known.iter().find(|known| known.eq_ignore_ascii_case(text));
    same.copied().or_else(|| {
        let lower: Vec<String> = known.iter().map(|known| known.to_ascii_lowercase()).collect();
        let near = nearest(&text.to_ascii_lowercase(), lower.iter().map(String::as_str))?;
        known.iter().find(|known| known.eq_ignore_ascii_case(near)).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Correct = fn(&str) -> Option<String>;

    fn assert_corrected(correct: Correct, cases: &[(&str, Option<&str>)]) {
        for (text, expected) in cases {
            assert_eq!(correct(text).as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        assert_corrected(
            duration,
            &[
                ("3d", Some("72h")),
                ("1w", Some("168h")),
                ("2 days", Some("48h")),
                ("24hours", Some("24h")),
                ("1.5h", Some("1h30m")),
                ("1h 30m", Some("1h30m")),
                ("30m1h", Some("1h30m")),
                ("1d12h", Some("36h")),
                ("90 Minutes", Some("1h30m")),
                ("1 week, 2 days", Some("216h")),
                ("72H", Some("72h")),
                ("3D", Some("72h")),
                ("1H30M", Some("1h30m")),
                ("1.25h", Some("1h15m")),
                // Minutes or months; one and a half, or fifteen hundred.
                ("3M", None),
                ("1d3M", None),
                ("1.500h", None),
                ("1,5h", None),
                ("0.5s", None),
                ("500ms", None),
                ("1 month", None),
                ("72", None),
                ("-3d", None),
                ("soon", None),
                ("", None),
                ("1.2.3h", None),
                ("99999999999999999999d", None),
                ("18446744073709551h", None),
            ],
        );
    }

    /// What can be read in several ways has a hint with each of them, and no hint has another value.
    #[test]
    fn hints() {
        let minutes_or_months = "write `3m` for minutes, or `2160h` for months of 30 days";
        assert_corrected(
            duration_hint,
            &[
                ("3d", Some("write `72h`")),
                ("3M", Some(minutes_or_months)),
                ("3 M", Some(minutes_or_months)),
                ("3mo", Some("write `2160h` for months of 30 days")),
                ("1 month", Some("write `720h` for months of 30 days")),
                ("1y", Some("write `8760h` for years of 365 days")),
                ("0M", None),
                ("M", None),
                ("1.5M", None),
                ("9999999999M", None),
                ("soon", None),
            ],
        );
        assert_corrected(
            local_time_hint,
            &[("2026-11-27", Some("write `2026-11-27T00:00`")), ("2026-11-27 8:00", Some("write `2026-11-27T08:00`"))],
        );
        let day = "write `2026-12-31T00:00` for the beginning of that day, or `2027-01-01T00:00` for its end";
        assert_corrected(
            end_hint,
            &[
                ("2026-12-31", Some(day)),
                ("2026-12-31 8:00", Some("write `2026-12-31T08:00`")),
                ("2026-12-32", None),
                ("9999-12-31", Some("write `9999-12-31T00:00`")),
            ],
        );
        let day = "write `2026-12-01T00:00:00Z` for the beginning of that day in UTC, or `2026-12-02T00:00:00Z` for its \
                   end";
        assert_corrected(
            rfc3339_hint,
            &[
                ("2026-12-01", Some(day)),
                ("2026-12-01 12:00", Some("write `2026-12-01T12:00:00Z` for that time in UTC")),
                ("2026-12-01T12:00Z", Some("write `2026-12-01T12:00:00Z`")),
                ("2026-12-01T12:00 CET", None),
                ("2026-12-01T12:00+0200", None),
            ],
        );
    }

    #[test]
    fn days_of_the_week() {
        assert_corrected(
            days,
            &[
                ("Saturday", Some("Sat")),
                ("saturdays", Some("Sat")),
                ("sat", Some("Sat")),
                ("SAT.", Some("Sat")),
                ("Mo", Some("Mon")),
                ("Thurs", Some("Thu")),
                ("Tues", Some("Tue")),
                ("weds", Some("Wed")),
                ("weekend", Some("Sat, Sun")),
                ("weekdays", Some("Mon, Tue, Wed, Thu, Fri")),
                ("Mon-Fri", Some("Mon, Tue, Wed, Thu, Fri")),
                ("Fri - Mon", Some("Fri, Sat, Sun, Mon")),
                ("0", Some("Sun")),
                ("6", Some("Sat")),
                ("7", Some("Sun")),
                ("8", None),
                ("T", None),
                ("ss", None),
                ("Samstag", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn times_of_day() {
        assert_corrected(
            time_of_day,
            &[
                ("8:00", Some("08:00")),
                ("8", Some("08:00")),
                ("0800", Some("08:00")),
                ("800", Some("08:00")),
                ("08.30", Some("08:30")),
                ("11pm", Some("23:00")),
                ("11:30 PM", Some("23:30")),
                ("12am", Some("00:00")),
                ("12 p.m.", Some("12:00")),
                ("2:00:00", Some("02:00")),
                // It is the next day.
                ("24:00", None),
                ("22h", Some("22:00")),
                ("25:00", None),
                ("13pm", None),
                ("8:0", None),
                ("8:60", None),
                ("noon", None),
                ("", None),
                ("\u{e4}m", None),
            ],
        );
    }

    #[test]
    fn dates_and_times() {
        assert_corrected(
            local_time,
            &[
                ("2026-11-27", Some("2026-11-27T00:00")),
                ("2026-11-27 8:00", Some("2026-11-27T08:00")),
                ("2026-11-27 08:00:30", Some("2026-11-27T08:00:30")),
                ("2026-11-27t08:00", Some("2026-11-27T08:00")),
                ("2026-11-27T00:00Z", None),
                ("27.11.2026", None),
                ("2026-13-01", None),
            ],
        );
        assert_corrected(
            rfc3339,
            &[
                ("2026-12-01", Some("2026-12-01T00:00:00Z")),
                ("2026-12-01 12:00", Some("2026-12-01T12:00:00Z")),
                ("2026-12-01T12:00", Some("2026-12-01T12:00:00Z")),
                ("2026-12-01t12:00:00z", Some("2026-12-01T12:00:00Z")),
                ("2026-12-01T12:00Z", Some("2026-12-01T12:00:00Z")),
                ("tomorrow", None),
            ],
        );
    }

    #[test]
    fn time_zones() {
        assert_corrected(
            time_zone,
            &[
                ("europe/berlin", Some("Europe/Berlin")),
                ("Berlin", Some("Europe/Berlin")),
                ("Europe/Belrin", Some("Europe/Berlin")),
                ("New York", Some("America/New_York")),
                ("GMT+3", None),
                ("UTC+3", None),
                ("Etc/UTC+3", None),
                ("East", None),
                ("Central", None),
                ("Nowhere/At_All", None),
                ("Mars/Base", None),
                ("Etc/Unknown", None),
                ("Local", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn values_of_an_enumeration() {
        let known = ["Allow", "Deny", "Require"];
        for (text, expected) in
            [("deny", Some("Deny")), ("Requires", Some("Require")), ("alow", Some("Allow")), ("Block", None)]
        {
            assert_eq!(variant(text, &known), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_correction_is_right(text in "[0-9]{0,4}[ .:]?[a-z0-9:. -]{0,12}|\\PC{0,16}") {
            if let Some(corrected) = duration(&text) {
                proptest::prop_assert!(duration::parse(&corrected).is_ok());
            }
            for corrected in [days(&text), time_of_day(&text), local_time(&text), rfc3339(&text)].into_iter().flatten() {
                proptest::prop_assert!(!corrected.is_empty());
            }
        }
    }
}
