//! Tests of windows and blackouts.

use super::*;
use crate::generate::Random;

fn window(days: &[&str], start: (i8, i8), duration: i64, zone: &str) -> Window {
    let days = days.iter().map(|day| (*day).to_owned()).collect();
    Window { days, hour: start.0, minute: start.1, duration, zone: zone.to_owned() }
}

fn at(text: &str) -> i128 {
    crate::clock::instant(text).unwrap()
}

fn opens(windows: &[Vec<Window>], now: &str) -> String {
    let merged = merged(windows, &[], at(now));
    match merged.opens {
        Some(_) if merged.in_window => "open".to_owned(),
        None => "never".to_owned(),
        Some(second) => crate::clock::show(i128::from(second) * SECOND),
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
        ("elapsed time over a gap", vec![vec![window(&["Sun"], (1, 30), H, berlin)]], "2026-03-29T01:29:59Z", "open"),
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

fn blackout(from: &str, to: &str, zone: &str) -> Blackout {
    Blackout { from: from.parse().unwrap(), to: to.parse().unwrap(), zone: zone.to_owned() }
}

/// Name, windows, blackouts, now, and the expected state: in a window, in a blackout, and when all is open.
type Case<'a> = (&'a str, &'a [Vec<Window>], Vec<Blackout>, &'a str, (bool, bool), Option<&'a str>);

#[test]
fn blackouts_in_examples() {
    let berlin = "Europe/Berlin";
    let mornings = vec![vec![window(&[], (2, 0), 3 * 3600, "UTC")]];
    let november = blackout("2026-11-20T00:00", "2026-12-01T03:00", "UTC");
    let cases: &[Case<'_>] = &[
        ("no windows", &[], vec![november.clone()], "2026-11-22T09:00:00Z", (true, true), Some("2026-12-01T03:00:00Z")),
        ("before", &[], vec![november.clone()], "2026-11-19T23:59:59Z", (true, false), Some("2026-11-19T23:59:59Z")),
        (
            "the start is inside",
            &[],
            vec![november.clone()],
            "2026-11-20T00:00:00Z",
            (true, true),
            Some("2026-12-01T03:00:00Z"),
        ),
        (
            "the end is outside",
            &[],
            vec![november.clone()],
            "2026-12-01T03:00:00Z",
            (true, false),
            Some("2026-12-01T03:00:00Z"),
        ),
        (
            "inside both, until the window is open again",
            &mornings,
            vec![blackout("2026-11-22T00:00", "2026-11-22T12:00", "UTC")],
            "2026-11-22T02:30:00Z",
            (true, true),
            Some("2026-11-23T02:00:00Z"),
        ),
        (
            "outside both",
            &mornings,
            vec![blackout("2026-11-23T00:00", "2026-11-23T04:00", "UTC")],
            "2026-11-22T09:00:00Z",
            (false, false),
            Some("2026-11-23T04:00:00Z"),
        ),
        (
            "several that touch",
            &[],
            vec![november.clone(), blackout("2026-12-01T03:00", "2026-12-02T00:00", "UTC")],
            "2026-11-22T09:00:00Z",
            (true, true),
            Some("2026-12-02T00:00:00Z"),
        ),
        (
            "ends in a gap: the transition",
            &[],
            vec![blackout("2026-03-28T00:00", "2026-03-29T02:30", berlin)],
            "2026-03-28T12:00:00Z",
            (true, true),
            Some("2026-03-29T01:00:00Z"),
        ),
        (
            "ends in a fold: the earlier",
            &[],
            vec![blackout("2026-10-24T00:00", "2026-10-25T02:30", berlin)],
            "2026-10-24T12:00:00Z",
            (true, true),
            Some("2026-10-25T00:30:00Z"),
        ),
        (
            "from and to in one gap: nothing",
            &[],
            vec![blackout("2026-03-29T02:15", "2026-03-29T02:45", berlin)],
            "2026-03-29T01:00:00Z",
            (true, false),
            Some("2026-03-29T01:00:00Z"),
        ),
        (
            "exactly 400 days",
            &[],
            vec![blackout("2026-11-22T00:00", "2027-12-27T00:00", "UTC")],
            "2026-11-22T00:00:00Z",
            (true, true),
            Some("2027-12-27T00:00:00Z"),
        ),
        (
            "more than 400 days",
            &[],
            vec![blackout("2026-11-22T00:00", "2027-12-27T00:01", "UTC")],
            "2026-11-22T00:00:00Z",
            (true, true),
            None,
        ),
    ];
    for (name, windows, blackouts, now, (in_window, in_blackout), opens) in cases {
        let opens = opens.map(|text| i64::try_from(at(text) / SECOND).unwrap());
        let expected = Merged { in_window: *in_window, in_blackout: *in_blackout, opens };
        assert_eq!(merged(windows, blackouts, at(now)), expected, "{name}");
    }
}

/// A time zone of the search, with the latest local time up to each minute.
struct Clock {
    zone: &'static str,
    first: i64,
    latest: Vec<DateTime>,
}

const MINUTE: i64 = 60;

impl Clock {
    fn new(zone: &'static str, first: i64) -> Self {
        let of_zone = TimeZone::get(zone).unwrap();
        let mut latest: Vec<DateTime> = Vec::new();
        for minute in 0..16 * 24 * 60 {
            let local = of_zone.to_datetime(Timestamp::from_second(first + minute * MINUTE).unwrap());
            latest.push(latest.last().map_or(local, |before| local.max(*before)));
        }
        Self { zone, first, latest }
    }

    /// The first minute at which the local time was not before `local`.
    fn first_minute(&self, local: DateTime) -> i64 {
        let before = self.latest.partition_point(|latest| *latest < local);
        self.first + i64::try_from(before).unwrap() * MINUTE
    }

    /// A local time within this many days after the fourth.
    fn local(&self, d: &mut Random, days: usize) -> DateTime {
        self.latest[(4 * 24 * 60) + d.below(days * 24 * 4) * 15]
    }
}

/// The same answers as from a search of the minutes of a week.
#[test]
fn windows_and_blackouts_agree_with_a_search_minute_by_minute() {
    let zones = ["Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe", "America/Nuuk"];
    for anchor in ["2026-03-24T00:00:00Z", "2026-10-20T00:00:00Z", "2026-03-31T00:00:00Z"] {
        let first = i64::try_from(at(anchor) / SECOND).unwrap();
        let clocks = zones.map(|zone| Clock::new(zone, first));
        for seed in 0..60 {
            agrees_with_a_search(&clocks, &mut Random::new(seed));
        }
    }
}

fn agrees_with_a_search(clocks: &[Clock], d: &mut Random) {
    let mut closed = Vec::new();
    let mut blackouts = Vec::new();
    for _ in 0..d.below(4) {
        let clock = &clocks[d.below(clocks.len())];
        let from = clock.local(d, 4);
        let to = clock.local(d, 6).max(from);
        closed.push((clock.first_minute(from), clock.first_minute(to)));
        blackouts.push(Blackout { from, to, zone: clock.zone.to_owned() });
    }
    let mut open = Vec::new();
    let mut windows = Vec::new();
    for _ in 0..d.below(3) {
        let clock = &clocks[d.below(clocks.len())];
        let days = [&["Sat", "Sun"][..], &["Sun"], &[]][d.below(3)];
        let window =
            window(days, (i8::try_from(d.below(24)).unwrap(), 30), [1800, 3 * 3600, 26 * 3600][d.below(3)], clock.zone);
        open.push(openings_of(&window, clock));
        windows.push(vec![window]);
    }
    let now = clocks[0].first + (4 * 24 * 60 + i64::try_from(d.below(4 * 24 * 60)).unwrap()) * MINUTE;
    let is_in = |intervals: &[(i64, i64)], at: i64| intervals.iter().any(|(start, end)| (*start..*end).contains(&at));
    let in_window = |at: i64| open.iter().all(|of_policy| is_in(of_policy, at));
    let found = merged(&windows, &blackouts, i128::from(now) * SECOND);
    assert_eq!(found.in_blackout, is_in(&closed, now), "{blackouts:?} at {now}");
    assert_eq!(found.in_window, in_window(now), "{windows:?} at {now}");
    let first = (0..7 * 24 * 60).map(|n| now + n * MINUTE).find(|at| in_window(*at) && !is_in(&closed, *at));
    let within_a_week = found.opens.filter(|opens| opens - now < 7 * DAY);
    assert_eq!(within_a_week, first, "{windows:?} {blackouts:?} at {now}");
}

/// The openings of a window on the days of a clock.
fn openings_of(window: &Window, clock: &Clock) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    for day in 1..15 {
        let date = clock.latest[0].date().checked_add(day.days()).unwrap();
        let name = format!("{:?}", date.weekday());
        if window.days.is_empty() || window.days.iter().any(|listed| name.starts_with(listed.as_str())) {
            let start = clock.first_minute(date.at(window.hour, window.minute, 0, 0));
            out.push((start, start + window.duration));
        }
    }
    out
}
