//! Rule 10: windows, computed from the list of all openings of 400 days.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use jiff::{
    Timestamp, ToSpan,
    civil::{DateTime, Weekday},
    tz::TimeZone,
};

use crate::clock::SECOND;

/// One entry of a policy's `windows`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Days such as `Mon`. Empty: every day.
    pub(crate) days: Vec<String>,
    pub(crate) hour: i8,
    pub(crate) minute: i8,
    /// Duration in seconds.
    pub(crate) duration: i64,
    pub(crate) zone: String,
}

/// The state of the windows of several policies at an instant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    Open,
    /// Closed, and all are open together from this second on.
    Opens(i64),
    /// Closed for 400 days.
    Never,
}

const DAY: i64 = 86_400;

/// Merges the windows of policies: a policy is open if one of its windows is, and all policies must be open.
pub(crate) fn merged(policies: &[Vec<Window>], now: i128) -> Merged {
    let now = i64::try_from(now.div_euclid(SECOND)).expect("seconds");
    let block = now.div_euclid(400 * DAY);
    // Without policies, the time is open. Each policy removes the time at which it is closed.
    let mut open = vec![(i64::MIN, i64::MAX)];
    for windows in policies {
        let mut of_policy = Vec::new();
        for window in windows {
            of_policy.extend(openings(window, block));
        }
        open = both(&open, &united(of_policy));
    }
    for (start, end) in open {
        // The end of an interval is not part of it.
        if end <= now {
            continue;
        }
        if start <= now {
            return Merged::Open;
        }
        if start - now <= 400 * DAY {
            return Merged::Opens(start);
        }
        return Merged::Never;
    }
    Merged::Never
}

/// Unites intervals that overlap or touch.
fn united(mut all: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    all.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::new();
    for (start, end) in all {
        match out.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

/// Intersects two lists of disjoint, sorted intervals.
fn both(left: &[(i64, i64)], right: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    let mut from = 0;
    for &(a, b) in left {
        // An interval that ends before this one also ends before the later ones.
        while from < right.len() && right[from].1 <= a {
            from += 1;
        }
        for &(c, d) in &right[from..] {
            if c >= b {
                break;
            }
            let (start, end) = (a.max(c), b.min(d));
            if start < end {
                out.push((start, end));
            }
        }
    }
    out
}

/// The openings of a window that are relevant for an instant within a block of 400 days.
fn openings(window: &Window, block: i64) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    for (day, start) in starts(window, block).iter() {
        if window.days.is_empty() || window.days.iter().any(|listed| listed == day) {
            out.push((*start, *start + window.duration));
        }
    }
    out
}

/// Days of the week and instants.
type Starts = Rc<Vec<(&'static str, i64)>>;
type Cache = HashMap<(String, i8, i8, i64), Starts>;

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// The instant of `start` on each local day that is relevant. Cached, because few windows are used many times.
fn starts(window: &Window, block: i64) -> Starts {
    let key = (window.zone.clone(), window.hour, window.minute, block);
    if let Some(known) = CACHE.with_borrow(|cache| cache.get(&key).cloned()) {
        return known;
    }
    let zone = TimeZone::get(&window.zone).expect("a zone that was looked up before");
    let mut made = Vec::new();
    for day in block * 400 - 40..block * 400 + 810 {
        let date = jiff::civil::date(1970, 1, 1).checked_add(day.days()).expect("a date");
        let name = match date.weekday() {
            Weekday::Monday => "Mon",
            Weekday::Tuesday => "Tue",
            Weekday::Wednesday => "Wed",
            Weekday::Thursday => "Thu",
            Weekday::Friday => "Fri",
            Weekday::Saturday => "Sat",
            Weekday::Sunday => "Sun",
        };
        made.push((name, first_instant(&zone, date.at(window.hour, window.minute, 0, 0))));
    }
    let made = Rc::new(made);
    CACHE.with_borrow_mut(|cache| cache.insert(key, Rc::clone(&made)));
    made
}

/// The first instant at which the local time is not before `local`: in a gap the transition, in a fold the earlier
/// one. Goes minute by minute if the offset changes within a day, else uses the offset.
fn first_instant(zone: &TimeZone, local: DateTime) -> i64 {
    let as_if_utc = local.to_zoned(TimeZone::UTC).expect("in range").timestamp().as_second();
    let offset = |at: i64| i64::from(zone.to_offset(Timestamp::from_second(at).expect("in range")).seconds());
    let guess = as_if_utc - offset(as_if_utc);
    let around = [guess - DAY, guess, guess + DAY].map(offset);
    if around[0] == around[1] && around[1] == around[2] {
        return guess;
    }
    let mut at = as_if_utc - DAY;
    loop {
        if zone.to_datetime(Timestamp::from_second(at).expect("in range")) >= local {
            return at;
        }
        at += 60;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], start: (i8, i8), duration: i64, zone: &str) -> Window {
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        Window { days, hour: start.0, minute: start.1, duration, zone: zone.to_owned() }
    }

    fn at(text: &str) -> i128 {
        crate::clock::instant(text).unwrap()
    }

    fn opens(windows: &[Vec<Window>], now: &str) -> String {
        match merged(windows, at(now)) {
            Merged::Open => "open".to_owned(),
            Merged::Never => "never".to_owned(),
            Merged::Opens(second) => crate::clock::show(i128::from(second) * SECOND),
        }
    }

    #[test]
    fn rule_10_in_examples() {
        const H: i64 = 3600;
        let berlin = "Europe/Berlin";
        let nuuk = "America/Nuuk";
        let weekend = window(&["Sat", "Sun"], (2, 0), 3 * H, berlin);
        let cases: &[(&str, Vec<Vec<Window>>, &str, &str)] = &[
            ("inside", vec![vec![weekend.clone()]], "2026-11-28T01:00:00Z", "open"),
            ("the end is outside", vec![vec![weekend.clone()]], "2026-11-28T04:00:00Z", "2026-11-29T01:00:00Z"),
            ("next week", vec![vec![weekend.clone()]], "2026-11-22T09:00:00Z", "2026-11-28T01:00:00Z"),
            (
                "gap: the transition",
                vec![vec![window(&["Sun"], (2, 30), H, berlin)]],
                "2026-03-29T00:00:00Z",
                "2026-03-29T01:00:00Z",
            ),
            (
                "gap over midnight: the transition",
                vec![vec![window(&["Sat"], (23, 30), H, nuuk)]],
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:00:00Z",
            ),
            (
                "fold: the earlier",
                vec![vec![window(&["Sun"], (2, 30), H, berlin)]],
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "fold: only once",
                vec![vec![window(&["Sun"], (2, 30), H, berlin)]],
                "2026-10-25T01:30:00Z",
                "2026-11-01T01:30:00Z",
            ),
            (
                "elapsed time over a gap",
                vec![vec![window(&["Sun"], (1, 30), H, berlin)]],
                "2026-03-29T01:29:59Z",
                "open",
            ),
            ("over midnight", vec![vec![window(&["Sat"], (23, 0), 3 * H, "UTC")]], "2026-11-29T01:00:00Z", "open"),
            (
                "any of one policy, all of several",
                vec![vec![weekend.clone(), window(&[], (12, 0), H, "UTC")], vec![window(&[], (12, 30), 2 * H, "UTC")]],
                "2026-11-22T11:00:00Z",
                "2026-11-22T12:30:00Z",
            ),
            (
                "only in summer",
                vec![vec![window(&[], (2, 0), H, berlin)], vec![window(&[], (0, 0), H, "UTC")]],
                "2026-11-22T09:00:00Z",
                "2027-03-29T00:00:00Z",
            ),
            (
                "never",
                vec![vec![window(&["Sat"], (2, 0), H, berlin)], vec![window(&["Tue"], (2, 0), H, berlin)]],
                "2026-11-22T09:00:00Z",
                "never",
            ),
        ];
        for (name, windows, now, expected) in cases {
            assert_eq!(opens(windows, now), *expected, "{name}");
        }
    }

    /// The shortcut for days without a transition gives the same instant as going minute by minute.
    #[test]
    fn the_shortcut_gives_the_same_instant() {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe", "America/Nuuk", "America/New_York"] {
            let zone = TimeZone::get(zone).unwrap();
            for day in 0..400 {
                let local = jiff::civil::date(2026, 1, 1).checked_add(day.days()).unwrap().at(
                    i8::try_from(day % 24).unwrap(),
                    15,
                    0,
                    0,
                );
                let fast = first_instant(&zone, local);
                let mut at = local.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() - DAY;
                while zone.to_datetime(Timestamp::from_second(at).unwrap()) < local {
                    at += 60;
                }
                assert_eq!(fast, at, "{local}");
            }
        }
    }
}
