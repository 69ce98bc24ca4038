//! When switches may begin (`docs/policies.md`, rule 10): the windows of a policy, and of several
//! policies at once. Pure: `now` is an argument, and the zones' rules are those built into the binary,
//! never the host's, so that every host reads a window the same.
//!
//! A window opens, on each of its local days, at the first instant at which the zone's clock has reached
//! `start` of that day: where the clock skips `start` at the skip, even if that falls on the next day
//! (Nuuk skips from 23:00 to midnight) or a day is skipped whole; where the clock shows `start` twice,
//! the first time. It stays open for `duration` of elapsed time. A duration may exceed the time to the
//! next opening: openings of one window and of several unite. It is at most a week ([`Bounds::WINDOW`]),
//! which does not make it endless: `24h` every day, like `168h` every week, is closed during the extra
//! hour when the clocks go back.

mod opening;

use jiff::{Timestamp, civil::Weekday, tz::TimeZoneDatabase};

use self::opening::{Cursor, OneWindow};
use crate::{
    decisions::validation::FieldError,
    records::policy::{Day, Window},
    values::{
        duration::{self, Bounds},
        instant,
        text::printable_to,
    },
};

/// How far ahead is looked: windows that don't open within are said never to.
pub const HORIZON: std::time::Duration = std::time::Duration::from_hours(400 * 24);

/// The windows of one policy, read once; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(Vec<OneWindow>);

impl Windows {
    /// Reads the list that stands at `field` of its record, `spec.windows`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field, in the record's order.
    pub fn read(raw: &[Window], field: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Errors(Vec::new());
        if raw.is_empty() {
            errors.add(field, "an empty list never opens: leave it out for always");
        }
        let windows: Vec<_> =
            raw.iter().enumerate().filter_map(|(i, raw)| window(raw, &format!("{field}[{i}]"), &mut errors)).collect();
        if errors.0.is_empty() { Ok(Self(windows)) } else { Err(errors.0) }
    }

    /// As a record writes them: days in the order of the week, absent if all; no zone for UTC.
    pub fn as_written(&self) -> Vec<Window> {
        self.0.iter().map(written).collect()
    }

    /// Whether one of them is open.
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.next_opening(now) == Some(now)
    }

    /// The first instant, not before `now`, at which one of them is open: `now` itself if one is. None:
    /// time ends before.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        Cursors::of(self).next_opening(now)
    }

    /// The first instant, not before `now`, at which none of them is open: `now` itself if none is. None
    /// if it lies more than 400 days ahead.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = instant::after_or_last(now, HORIZON);
        let mut cursors = Cursors::of(self);
        let mut closed = now;
        while let Some(closes) = cursors.closing(closed) {
            closed = closes;
            if closed > limit || closed == Timestamp::MAX {
                return None;
            }
        }
        Some(closed)
    }
}

/// The windows of several policies, all of which must be open. Without any it is open always.
#[derive(Debug, Clone, Default)]
pub struct Merged<'a>(Vec<&'a Windows>);

impl Merged<'_> {
    /// Whether all are open.
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.0.iter().all(|windows| windows.open_at(now))
    }

    /// The first instant, not before `now`, at which all are open: `now` itself if they are. None if
    /// there is none within 400 days: `WindowsNeverMeet`.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = instant::after_or_last(now, HORIZON);
        let mut policies: Vec<_> = self.0.iter().map(|windows| Cursors::of(windows)).collect();
        let mut candidate = now;
        loop {
            // Whoever is closed at the candidate moves it on; all are asked again until nobody does.
            let before = candidate;
            for policy in &mut policies {
                candidate = policy.next_opening(candidate)?;
                if candidate > limit {
                    return None;
                }
            }
            if candidate == before {
                return Some(candidate);
            }
        }
    }

    /// The first instant, not before `now`, at which one of them is closed: `now` itself if one is. None
    /// if it lies more than 400 days ahead.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|windows| windows.open_until(now)).min()
    }
}

impl<'a> FromIterator<&'a Windows> for Merged<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Windows>>(policies: I) -> Self {
        Self(policies.into_iter().collect())
    }
}

/// One cursor for each window of a policy, asked about instants that only rise.
struct Cursors<'a>(Vec<Cursor<'a>>);

impl<'a> Cursors<'a> {
    fn of(windows: &'a Windows) -> Self {
        Self(windows.0.iter().map(Cursor::new).collect())
    }

    fn next_opening(&mut self, at: Timestamp) -> Option<Timestamp> {
        let mut first: Option<Timestamp> = None;
        for cursor in &mut self.0 {
            let Some(opening) = cursor.seek(at) else { continue };
            if opening.opens <= at {
                return Some(at);
            }
            first = Some(first.map_or(opening.opens, |first| first.min(opening.opens)));
        }
        first
    }

    /// When some opening in which `at` lies ends; None: nothing is open then.
    fn closing(&mut self, at: Timestamp) -> Option<Timestamp> {
        let open = self.0.iter_mut().filter_map(|cursor| cursor.seek(at)).filter(|opening| opening.opens <= at);
        open.map(|opening| opening.closes).max()
    }
}

struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: &str, why: &str) {
        self.0.push(FieldError { field: field.to_owned(), why: printable_to(why, 300).into_owned() });
    }

    fn keep<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|why| self.add(field, &why)).ok()
    }
}

fn window(raw: &Window, field: &str, errors: &mut Errors) -> Option<OneWindow> {
    let days = errors.keep(&format!("{field}.days"), days(raw.days.as_deref()));
    let start = errors.keep(&format!("{field}.start"), time_of_day(&raw.start));
    let duration = Bounds::WINDOW.parse(&raw.duration).map_err(|error| error.to_string());
    let duration = errors.keep(&format!("{field}.duration"), duration);
    let zone = errors.keep(&format!("{field}.timeZone"), zone(raw.time_zone.as_deref()));
    Some(OneWindow { days: days?, start: start?, duration: duration?, zone: zone? })
}

fn days(raw: Option<&[Day]>) -> Result<[bool; 7], String> {
    let mut days = [raw.is_none(); 7];
    if raw.is_some_and(<[Day]>::is_empty) {
        return Err("an empty list never opens: leave it out for every day".to_owned());
    }
    if raw.is_some_and(|days| days.len() > 7) {
        return Err("a week has seven days".to_owned());
    }
    for day in raw.unwrap_or_default() {
        days[opening::index(weekday(*day))] = true;
    }
    Ok(days)
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

fn written(window: &OneWindow) -> Window {
    const WEEK: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    let days: Vec<_> = WEEK.into_iter().filter(|day| window.days[opening::index(weekday(*day))]).collect();
    Window {
        days: (days.len() < WEEK.len()).then_some(days),
        start: format!("{:02}:{:02}", window.start.hour(), window.start.minute()),
        duration: duration::show(window.duration),
        time_zone: window.zone.iana_name().filter(|name| *name != "UTC").map(str::to_owned),
    }
}

/// `00:00` to `23:59`, both numbers of two digits.
fn time_of_day(text: &str) -> Result<jiff::civil::Time, String> {
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<i8>().ok() } else { None }
    };
    let time = text
        .split_once(':')
        .and_then(|(hour, minute)| jiff::civil::Time::new(number(hour)?, number(minute)?, 0, 0).ok());
    time.ok_or_else(|| format!("{text:?} is not a time of day, as in `02:00`"))
}

/// A zone of the built-in database, spelt as it spells it: so does the API server.
fn zone(name: Option<&str>) -> Result<jiff::tz::TimeZone, String> {
    let Some(name) = name else { return Ok(jiff::tz::TimeZone::UTC) };
    let unknown = || format!("{name:?} is not an IANA zone, as in `Europe/Berlin`");
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        Some(spelt) if spelt == name && !zone.is_unknown() => Ok(zone),
        Some(spelt) if !zone.is_unknown() => Err(format!("{name:?} is spelt `{spelt}`")),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests;
