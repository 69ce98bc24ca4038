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

/// One entry of a policy's `blackouts`.
#[derive(Debug, Clone)]
pub(crate) struct Blackout {
    pub(crate) from: DateTime,
    pub(crate) to: DateTime,
    pub(crate) zone: String,
}

/// The state of the windows and blackouts of several policies at an instant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Whether every policy has an open window, or no windows.
    pub(crate) in_window: bool,
    pub(crate) in_blackout: bool,
    /// The first second from now on at which all windows are open and no blackout is. `None`: not within 400 days.
    pub(crate) opens: Option<i64>,
}

const DAY: i64 = 86_400;

/// Merges the windows and blackouts of policies: a policy is open if one of its windows is, all policies must be open,
/// and no blackout may be.
pub(crate) fn merged(policies: &[Vec<Window>], blackouts: &[Blackout], now: i128) -> Merged {
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
    let closed = united(blackouts.iter().map(interval).collect());
    let all_open = both(&open, &outside(&closed));
    // The end of an interval is not part of it.
    let has_now = |intervals: &[(i64, i64)]| intervals.iter().any(|(start, end)| (*start..*end).contains(&now));
    let first = all_open.iter().find(|(_, end)| *end > now).map(|(start, _)| now.max(*start));
    Merged {
        in_window: has_now(&open),
        in_blackout: has_now(&closed),
        opens: first.filter(|start| start - now <= 400 * DAY),
    }
}

/// The instants of a blackout. Each end is read as the start of a window.
fn interval(blackout: &Blackout) -> (i64, i64) {
    let zone = TimeZone::get(&blackout.zone).expect("a zone that was looked up before");
    (first_instant(&zone, blackout.from), first_instant(&zone, blackout.to))
}

/// The time outside of disjoint, sorted intervals.
fn outside(intervals: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let starts = std::iter::once(i64::MIN).chain(intervals.iter().map(|(_, end)| *end));
    let ends = intervals.iter().map(|(start, _)| *start).chain(std::iter::once(i64::MAX));
    starts.zip(ends).collect()
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
mod tests;
