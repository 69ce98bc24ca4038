//! The occurrences of one window: the spans of time in which it is open.

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use crate::values::instant;

/// A window in parsed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedWindow {
    /// Whether the window opens on each day of the week, Monday first.
    pub(super) days: [bool; 7],
    pub(super) start: Time,
    /// Elapsed time, within [`crate::values::duration::Bounds::WINDOW`].
    pub(super) duration: Duration,
    pub(super) zone: TimeZone,
}

/// One span of time in which a window is open. `opens` is inclusive and `closes` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub(super) opens: Timestamp,
    pub(super) closes: Timestamp,
}

/// Returns the index of a day in [`CheckedWindow::days`].
pub(super) fn day_index(day: Weekday) -> usize {
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

impl CheckedWindow {
    /// Returns the first occurrence that closes after `at`.
    fn occurrence_after(&self, at: Timestamp) -> Option<Occurrence> {
        // An occurrence that opened before this instant is closed at `at`. The starts of all earlier local
        // days are before it, so the search begins on its day.
        let opened_after = instant::before_or_first(at, self.duration);
        let mut date = self.zone.to_datetime(opened_after).date();
        loop {
            if self.days[day_index(date.weekday())]
                && let Some(opens) = self.start_on(date)
            {
                let closes = instant::after_or_last(opens, self.duration);
                if closes > at {
                    return Some(Occurrence { opens, closes });
                }
            }
            date = date.tomorrow().ok()?;
        }
    }

    /// Returns when the window opens on a day.
    fn start_on(&self, date: Date) -> Option<Timestamp> {
        reached(&self.zone, date.to_datetime(self.start))
    }
}

/// Returns the first instant at which the clock of a zone has reached `local`, or `None` if the instant is out of
/// range.
pub(super) fn reached(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(local).ok()
        }
        AmbiguousOffset::Gap { before, after } => skip_over(zone, local, before, after),
    }
}

/// Returns the instant at which the clock of a zone skips `local`. Zones have transitions at whole seconds.
fn skip_over(zone: &TimeZone, local: DateTime, before: Offset, after: Offset) -> Option<Timestamp> {
    // With the offset after the transition, `local` is before the skip; with the offset before the
    // transition it is not. The skip is between these two instants.
    let mut low = after.to_timestamp(local).ok()?.as_second();
    let mut high = before.to_timestamp(local).ok()?.as_second();
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if zone.to_datetime(Timestamp::from_second(middle).ok()?) >= local {
            high = middle;
        } else {
            low = middle;
        }
    }
    Timestamp::from_second(high).ok()
}

/// Searches the occurrences of a window and computes each of them once. The instants of successive calls
/// must not decrease.
#[derive(Debug)]
pub(super) struct OccurrenceCursor<'a> {
    window: &'a CheckedWindow,
    found: Option<Occurrence>,
}

impl<'a> OccurrenceCursor<'a> {
    pub(super) fn new(window: &'a CheckedWindow) -> Self {
        Self { window, found: None }
    }

    /// Returns the occurrence that contains `at`, or else the next one. Returns `None` if none closes
    /// before [`Timestamp::MAX`].
    pub(super) fn seek(&mut self, at: Timestamp) -> Option<Occurrence> {
        if self.found.is_none_or(|found| found.closes <= at) {
            self.found = self.window.occurrence_after(at);
        }
        self.found
    }
}
