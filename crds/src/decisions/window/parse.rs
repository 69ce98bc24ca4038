//! Converts windows between the form of a record and [`CheckedWindow`].

use jiff::{
    civil::{Time, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};

use super::occurrence::{CheckedWindow, day_index};
use crate::{
    records::policy::{Day, Window},
    values::{
        correction,
        duration::{self, Bounds},
        field_error::FieldErrors,
    },
};

const WEEK: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

/// Parses the window at the path `field`. Adds everything that is wrong with it to `errors`.
pub(super) fn window(window: &Window, field: &str, errors: &mut FieldErrors) -> Option<CheckedWindow> {
    let days = days(window.days.as_deref(), &format!("{field}.days"), errors);
    let start = errors.ok(&format!("{field}.start"), time_of_day(&window.start));
    let duration = errors.ok(&format!("{field}.duration"), Bounds::WINDOW.parse(&window.duration));
    let zone = errors.ok(&format!("{field}.timeZone"), zone(window.time_zone.as_deref()));
    Some(CheckedWindow { days: days?, start: start?, duration: duration?, zone: zone? })
}

/// Returns the window as a record has it.
pub(super) fn to_record(window: &CheckedWindow) -> Window {
    let days: Vec<_> = WEEK.into_iter().filter(|day| window.days[day_index(weekday(*day))]).collect();
    Window {
        days: (days.len() < WEEK.len()).then_some(days),
        start: format!("{:02}:{:02}", window.start.hour(), window.start.minute()),
        duration: duration::format(window.duration),
        time_zone: window.zone.iana_name().filter(|name| *name != "UTC").map(str::to_owned),
    }
}

fn days(listed: Option<&[Day]>, field: &str, errors: &mut FieldErrors) -> Option<[bool; 7]> {
    let Some(listed) = listed else { return Some([true; 7]) };
    if listed.is_empty() {
        errors.add(field, "an empty list never opens; remove the field for every day");
        return None;
    }
    errors.check_length(field, listed.len(), WEEK.len());
    let mut days = [false; 7];
    for day in listed {
        days[day_index(weekday(*day))] = true;
    }
    Some(days)
}

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

/// Parses `00:00` to `23:59`. Both numbers have two digits.
fn time_of_day(text: &str) -> Result<Time, String> {
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if is_number { text.parse::<i8>().ok() } else { None }
    };
    let time = text.split_once(':').and_then(|(hour, minute)| Time::new(number(hour)?, number(minute)?, 0, 0).ok());
    time.ok_or_else(|| {
        let corrected = correction::time_of_day(text).map(|corrected| format!(": write `{corrected}`"));
        format!("{text:?} is not a time of day such as `02:00`{}", corrected.unwrap_or_default())
    })
}

/// Looks up a zone in the built-in database. Names are case-sensitive, as in the API server.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let unknown = || {
        let corrected = correction::time_zone(name).map(|corrected| format!(": write `{corrected}`"));
        format!("{name:?} is not an IANA time zone such as `Europe/Berlin`{}", corrected.unwrap_or_default())
    };
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        Some(canonical) if canonical == name && !zone.is_unknown() => Ok(zone),
        Some(canonical) if !zone.is_unknown() => Err(format!("{name:?} must be written `{canonical}`")),
        _ => Err(unknown()),
    }
}
