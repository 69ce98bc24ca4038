//! Windows by brute force, written from the page: somebody watches a zone's clock minute by minute,
//! opens a window when the clock first reaches its start on a listed day, and closes it when its
//! minutes are over. Knows neither gaps nor folds.

use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, tz::TimeZoneDatabase};

use crate::decisions::window::{Merged, Windows};

const DAY: i64 = 24 * 60;
/// The longest duration and two days: whoever starts watching then has seen every window open.
const BEFORE: i64 = 9 * DAY;

/// A window in minutes.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) zone: &'static str,
    /// Monday first; all absent: every day.
    pub(super) days: [bool; 7],
    pub(super) start: i64,
    pub(super) duration: i64,
}

/// As the tables of windows write it.
impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<_> =
            names.into_iter().zip(self.days).filter(|(_, listed)| *listed).map(|(name, _)| name).collect();
        let days = if days.is_empty() { "*".to_owned() } else { days.join(",") };
        write!(f, "{days} {:02}:{:02} {}m {}", self.start / 60, self.start % 60, self.duration, self.zone)
    }
}

/// Zones' clocks over a span of minutes.
pub(super) struct Watch {
    /// Minutes since 1970.
    first: i64,
    minutes: usize,
    /// What each zone's clock shows in each minute, in minutes since 1970 by that clock.
    clocks: BTreeMap<&'static str, Vec<i64>>,
}

impl Watch {
    /// Over that many days from an instant on, which is a whole minute.
    pub(super) fn new(from: Timestamp, days: i64, zones: &[&'static str]) -> Self {
        let first = from.as_second() / 60 - BEFORE;
        let minutes = days * DAY + BEFORE;
        let clock = |name: &&'static str| {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let shown = (first..first + minutes).map(|minute| {
                let offset = zone.to_offset(Timestamp::from_second(minute * 60).unwrap()).seconds();
                assert!(offset % 60 == 0, "{name}: a minute is the finest this sees");
                minute + i64::from(offset / 60)
            });
            (*name, shown.collect())
        };
        Self { first, minutes: usize::try_from(minutes).unwrap(), clocks: zones.iter().map(clock).collect() }
    }

    /// Whether one of these is open, for every minute.
    fn open(&self, windows: &[Plain]) -> Vec<bool> {
        let mut open = vec![false; self.minutes];
        for window in windows {
            let clock = &self.clocks[window.zone];
            let start_of = |day: i64| day * DAY + window.start;
            // The first day whose start is still to come; 1970 began on a Thursday.
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

    /// Compares everything that can be asked about these policies, merged, with what was watched, for
    /// every minute; questions that look ahead are asked at every change and every `step` minutes.
    pub(super) fn check(&self, policies: &[Vec<Plain>], step: usize) {
        let read: Vec<_> = policies
            .iter()
            .map(|list| {
                let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
                super::windows(&texts.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let merged: Merged<'_> = read.iter().collect();
        let mut open = self.open(&policies[0]);
        for policy in &policies[1..] {
            for (all, one) in open.iter_mut().zip(self.open(policy)) {
                *all &= one;
            }
        }
        let begin = usize::try_from(BEFORE).unwrap();
        self.check_spans(&merged, &open, begin, policies);
        self.check_questions(&merged, &open, begin, step, policies);
        if let [one] = &read[..] {
            self.check_single(one, &open, begin, step, policies);
        }
    }

    /// Walks from opening to closing to opening: what comes out is open in exactly those minutes.
    fn check_spans(&self, merged: &Merged<'_>, open: &[bool], begin: usize, policies: &[Vec<Plain>]) {
        let mut minute = begin;
        while minute < self.minutes {
            let opens = merged.next_opening(self.instant(minute)).map_or(usize::MAX, |at| self.minute(at));
            // Nothing within 400 days: that much is known of the minutes to come.
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

    /// Each question by itself.
    fn check_questions(&self, merged: &Merged<'_>, open: &[bool], begin: usize, step: usize, policies: &[Vec<Plain>]) {
        // The first open minute from each minute on; looking beyond what was watched is left out.
        let mut next = self.minutes;
        let mut after = None;
        for (minute, &is_open) in open.iter().enumerate().skip(begin - 1).rev() {
            // At the minute behind this one something changes, or it is its turn.
            let asked = minute + 1;
            if after.is_some_and(|after| after != is_open || asked.is_multiple_of(step)) {
                self.ask(merged, open, asked, next, policies);
            }
            after = Some(is_open);
            if is_open {
                next = minute;
            }
        }
    }

    fn ask(&self, merged: &Merged<'_>, open: &[bool], minute: usize, next: usize, policies: &[Vec<Plain>]) {
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

    /// A policy alone answers as it does merged with nobody.
    fn check_single(&self, one: &Windows, open: &[bool], begin: usize, step: usize, policies: &[Vec<Plain>]) {
        for minute in (begin..self.minutes).step_by(step) {
            let now = self.instant(minute);
            assert_eq!(one.open_at(now), open[minute], "{policies:?} at {now}");
        }
    }
}
