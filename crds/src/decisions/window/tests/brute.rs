//! A brute-force model of windows and blackouts, written from the rule: it follows the clock of a zone minute by
//! minute, opens a window when the clock first reaches its start on a listed day, and closes it after its
//! duration. A blackout begins and ends when the clock first reaches its ends. It has no code for gaps and folds.

use std::{collections::BTreeMap, fmt};

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::super::{MergedSchedule, Schedule, Windows, parse_blackouts};
use crate::{records::policy::Blackout, values::field_error::FieldErrors};

const DAY: i64 = 24 * 60;
/// Start of the simulation before the first checked minute: the longest duration and two days, so that
/// every window that is still open then has opened in the simulation.
const LEAD: i64 = 9 * DAY;

/// A window whose times are in minutes.
#[derive(Debug, Clone)]
pub(super) struct SimpleWindow {
    pub(super) zone: &'static str,
    /// Days of the week, Monday first. All false means every day.
    pub(super) days: [bool; 7],
    pub(super) start: i64,
    pub(super) duration: i64,
}

/// Writes the window in the notation of the other tests.
impl fmt::Display for SimpleWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<_> =
            names.into_iter().zip(self.days).filter(|(_, listed)| *listed).map(|(name, _)| name).collect();
        let days = if days.is_empty() { "*".to_owned() } else { days.join(",") };
        write!(f, "{days} {:02}:{:02} {}m {}", self.start / 60, self.start % 60, self.duration, self.zone)
    }
}

/// A blackout between two local minutes, in minutes since 1970 by the local clock.
#[derive(Debug, Clone)]
pub(super) struct SimpleBlackout {
    pub(super) zone: &'static str,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl SimpleBlackout {
    /// Returns the blackout as a record has it.
    fn record(&self) -> Blackout {
        let local = |minute: i64| {
            let civil = Timestamp::from_second(minute * 60).unwrap().to_zoned(TimeZone::UTC).datetime();
            civil.strftime("%Y-%m-%dT%H:%M").to_string()
        };
        Blackout {
            from: local(self.from),
            to: local(self.to),
            time_zone: Some(self.zone.to_owned()),
            reason: "freeze".to_owned(),
        }
    }
}

/// The windows (none: always open) and blackouts of one policy.
#[derive(Debug, Clone)]
pub(super) struct SimplePolicy {
    pub(super) windows: Vec<SimpleWindow>,
    pub(super) blackouts: Vec<SimpleBlackout>,
}

impl From<Vec<SimpleWindow>> for SimplePolicy {
    fn from(windows: Vec<SimpleWindow>) -> Self {
        Self { windows, blackouts: Vec::new() }
    }
}

impl SimplePolicy {
    fn windows(&self) -> Option<Windows> {
        let texts: Vec<_> = self.windows.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| super::windows(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn schedule(&self) -> Schedule {
        let records: Vec<_> = self.blackouts.iter().map(SimpleBlackout::record).collect();
        let mut errors = FieldErrors::default();
        let blackouts = parse_blackouts(&records, "spec.blackouts", &mut errors);
        assert!(errors.is_empty(), "{:?}", errors.into_vec());
        Schedule::new(self.windows(), blackouts)
    }
}

/// The clocks of zones over a span of minutes.
pub(super) struct Simulation {
    /// First minute, in minutes since 1970.
    first: i64,
    minutes: usize,
    /// For each zone the local time of each minute, in minutes since 1970 by the local clock.
    clocks: BTreeMap<&'static str, Vec<i64>>,
}

impl Simulation {
    /// Simulates a number of days from an instant on, which must be a whole minute.
    pub(super) fn new(from: Timestamp, days: i64, zones: &[&'static str]) -> Self {
        let first = from.as_second() / 60 - LEAD;
        let minutes = days * DAY + LEAD;
        let clock = |name: &&'static str| {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let shown = (first..first + minutes).map(|minute| {
                let offset = zone.to_offset(Timestamp::from_second(minute * 60).unwrap()).seconds();
                assert!(offset % 60 == 0, "{name}: offsets must be whole minutes");
                minute + i64::from(offset / 60)
            });
            (*name, shown.collect())
        };
        Self { first, minutes: usize::try_from(minutes).unwrap(), clocks: zones.iter().map(clock).collect() }
    }

    /// Returns for every minute whether a switch may begin.
    fn open(&self, policy: &SimplePolicy) -> Vec<bool> {
        let mut open = self.windows_open(&policy.windows);
        for blackout in &policy.blackouts {
            let (mut begun, mut ended) = (false, false);
            for (shown, open) in self.clocks[blackout.zone].iter().zip(&mut open) {
                begun |= *shown >= blackout.from;
                ended |= *shown >= blackout.to;
                *open &= !begun || ended;
            }
        }
        open
    }

    /// Returns for every minute whether a window is open.
    fn windows_open(&self, windows: &[SimpleWindow]) -> Vec<bool> {
        let mut open = vec![windows.is_empty(); self.minutes];
        for window in windows {
            let clock = &self.clocks[window.zone];
            let start_of = |day: i64| day * DAY + window.start;
            // The first day whose start is in the future. 1970 began on a Thursday.
            let mut day = clock[0].div_euclid(DAY) + 1;
            let mut remaining = 0;
            let mut start = start_of(day);
            for (shown, open) in clock.iter().zip(&mut open) {
                while *shown >= start {
                    let listed = window.days[usize::try_from((day + 3).rem_euclid(7)).unwrap()];
                    if listed || window.days == [false; 7] {
                        remaining = window.duration;
                    }
                    day += 1;
                    start = start_of(day);
                }
                *open |= remaining > 0;
                remaining -= 1;
            }
        }
        open
    }

    fn instant(&self, minute: usize) -> Timestamp {
        Timestamp::from_second((self.first + i64::try_from(minute).unwrap()) * 60).unwrap()
    }

    fn minute(&self, instant: Timestamp) -> usize {
        assert_eq!((instant.as_second() % 60, instant.subsec_nanosecond()), (0, 0), "{instant}");
        usize::try_from(instant.as_second() / 60 - self.first).unwrap()
    }

    /// Compares the merged schedules of these policies with the simulation. Compares spans for every minute,
    /// and single queries at every change and every `step` minutes.
    pub(super) fn check(&self, policies: &[SimplePolicy], step: usize) {
        let parsed: Vec<_> = policies.iter().map(SimplePolicy::schedule).collect();
        let merged: MergedSchedule<'_> = parsed.iter().collect();
        let mut open = self.open(&policies[0]);
        for policy in &policies[1..] {
            for (all, one) in open.iter_mut().zip(self.open(policy)) {
                *all &= one;
            }
        }
        let begin = usize::try_from(LEAD).unwrap();
        self.check_spans(&merged, &open, begin, policies);
        self.check_queries(&merged, &open, begin, step, policies);
        if let [one] = &parsed[..] {
            self.check_single(one, &open, begin, step, policies);
        }
    }

    /// Walks from opening to closing to opening and compares the minutes in between.
    fn check_spans(&self, merged: &MergedSchedule<'_>, open: &[bool], begin: usize, policies: &[SimplePolicy]) {
        let mut minute = begin;
        while minute < self.minutes {
            let opens = merged.next_opening(self.instant(minute)).map_or(usize::MAX, |at| self.minute(at));
            // No opening within 400 days: all of them must be closed.
            let known = self.minutes.min(minute + 400 * 24 * 60);
            assert!(
                !open[minute..opens.min(known)].contains(&true),
                "{policies:?} is closed from {}",
                self.instant(minute)
            );
            if opens >= self.minutes {
                minute = known;
                continue;
            }
            let closes = merged.open_until(self.instant(opens)).map_or(usize::MAX, |at| self.minute(at));
            assert!(closes > opens, "{policies:?} opens at {}", self.instant(opens));
            let known = self.minutes.min(opens + 400 * 24 * 60);
            minute = closes.min(known);
            assert!(!open[opens..minute].contains(&false), "{policies:?} is open from {}", self.instant(opens));
            if closes < self.minutes {
                assert!(!open[closes], "{policies:?} closes at {}", self.instant(closes));
            }
        }
    }

    /// Compares queries at each minute at which something changes, and at every `step`-th minute.
    fn check_queries(
        &self,
        merged: &MergedSchedule<'_>,
        open: &[bool],
        begin: usize,
        step: usize,
        policies: &[SimplePolicy],
    ) {
        // The first open minute from each minute on. Queries beyond the simulation are left out.
        let mut next = self.minutes;
        let mut after = None;
        for (minute, &is_open) in open.iter().enumerate().skip(begin - 1).rev() {
            // The next minute is checked if something changes there, or by `step`.
            let checked = minute + 1;
            if after.is_some_and(|after| after != is_open || checked.is_multiple_of(step)) {
                self.check_minute(merged, open, checked, next, policies);
            }
            after = Some(is_open);
            if is_open {
                next = minute;
            }
        }
    }

    fn check_minute(
        &self,
        merged: &MergedSchedule<'_>,
        open: &[bool],
        minute: usize,
        next: usize,
        policies: &[SimplePolicy],
    ) {
        let now = self.instant(minute);
        assert_eq!(merged.open_at(now), open[minute], "{policies:?} at {now}");
        let just_before = Timestamp::from_nanosecond(now.as_nanosecond() - 1).unwrap();
        assert_eq!(merged.open_at(just_before), open[minute - 1], "{policies:?} at {just_before}");
        let limit = minute + 400 * 24 * 60;
        let found = merged.next_opening(now);
        if next <= limit && next < self.minutes {
            assert_eq!(found, Some(self.instant(next)), "{policies:?} at {now}");
        } else if limit < self.minutes {
            assert_eq!(found, None, "{policies:?} at {now}");
        }
    }

    /// Compares the schedule of a single policy without merging.
    fn check_single(&self, one: &Schedule, open: &[bool], begin: usize, step: usize, policies: &[SimplePolicy]) {
        for minute in (begin..self.minutes).step_by(step) {
            let now = self.instant(minute);
            assert_eq!(one.open_at(now), open[minute], "{policies:?} at {now}");
        }
    }
}
