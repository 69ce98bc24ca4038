//! One window: when it opens on a day, and which opening an instant lies in or before.

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use crate::values::instant;

/// A window as it is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OneWindow {
    /// Monday first.
    pub(super) days: [bool; 7],
    pub(super) start: Time,
    /// A minute to a week.
    pub(super) duration: Duration,
    pub(super) zone: TimeZone,
}

/// One time that a window is open: from `opens` on, until just before `closes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) opens: Timestamp,
    pub(super) closes: Timestamp,
}

/// Where a day stands in [`OneWindow::days`].
pub(super) fn index(day: Weekday) -> usize {
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

impl OneWindow {
    /// The first opening that closes after `at`.
    fn opening_after(&self, at: Timestamp) -> Option<Opening> {
        // What opened before this has closed. On any day before this local one, `start` had passed by
        // then, so that no earlier day counts.
        let opened_after = instant::before_or_first(at, self.duration);
        let mut date = self.zone.to_datetime(opened_after).date();
        loop {
            if self.days[index(date.weekday())]
                && let Some(opens) = self.start_on(date)
            {
                let closes = instant::after_or_last(opens, self.duration);
                if closes > at {
                    return Some(Opening { opens, closes });
                }
            }
            date = date.tomorrow().ok()?;
        }
    }

    /// The first instant at which the local clock has reached `start` of that day; None: outside of time.
    fn start_on(&self, date: Date) -> Option<Timestamp> {
        let local = date.to_datetime(self.start);
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(local).ok()
            }
            AmbiguousOffset::Gap { before, after } => self.skip_over(local, before, after),
        }
    }

    /// The instant at which the local clock skips `local`, to the second, which is as finely as zones
    /// are described.
    fn skip_over(&self, local: DateTime, before: Offset, after: Offset) -> Option<Timestamp> {
        // Read by the offset to come, `local` lies before the skip; by the one that was, not before it.
        let mut not_yet = after.to_timestamp(local).ok()?.as_second();
        let mut reached = before.to_timestamp(local).ok()?.as_second();
        while reached - not_yet > 1 {
            let middle = not_yet + (reached - not_yet) / 2;
            if self.zone.to_datetime(Timestamp::from_second(middle).ok()?) >= local {
                reached = middle;
            } else {
                not_yet = middle;
            }
        }
        Timestamp::from_second(reached).ok()
    }
}

/// Finds a window's openings for instants that only rise, each opening once.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    window: &'a OneWindow,
    found: Option<Opening>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(window: &'a OneWindow) -> Self {
        Self { window, found: None }
    }

    /// The opening that `at` lies in, or the next one. None: time ends before.
    pub(super) fn seek(&mut self, at: Timestamp) -> Option<Opening> {
        if self.found.is_none_or(|found| found.closes <= at) {
            self.found = self.window.opening_after(at);
        }
        self.found
    }
}
