//! Windows and blackouts: the times at which switches may begin (`docs/policies.md`, rule 10), for one policy and
//! for several policies together. The rules of time zones come from the database in the binary and not from
//! the host, so that every host reads a window the same way.
//!
//! On each of its local days a window opens at the first instant at which the zone's clock has reached
//! `start` of that day. If the clock skips `start`, the window opens at the skip, even if the skip ends on
//! the next day (Nuuk skips from 23:00 to midnight) or a whole day is skipped. If the clock shows `start`
//! twice, the window opens the first time. It stays open for `duration` of elapsed time. Overlapping
//! occurrences of one window or of several windows unite. A window with the longest duration is not always
//! open: `24h` every day and `168h` every week are closed for the extra hour when the clocks go back.
//!
//! A blackout begins and ends at the first instants at which the zone's clock has reached `from` and `to`. During a
//! blackout no switch may begin, whatever the windows.

mod blackout;
mod occurrence;
mod parse;
mod schedule;

use jiff::Timestamp;

pub(crate) use self::blackout::parse_blackouts;
use self::occurrence::{CheckedWindow, OccurrenceCursor};
pub use self::{
    blackout::CheckedBlackout,
    schedule::{MergedSchedule, Schedule},
};
use crate::{
    records::policy::Window,
    values::{
        field_error::{FieldError, FieldErrors},
        instant,
    },
};

/// How far ahead a search looks. A window that does not open within this time counts as never open.
pub const HORIZON: std::time::Duration = std::time::Duration::from_hours(400 * 24);

/// The windows of one policy, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(Vec<CheckedWindow>);

impl Windows {
    /// Parses the list of windows at the path `field` of its record, for example `spec.windows`.
    ///
    /// # Errors
    /// All errors in the order of the record, each with its field.
    pub fn parse(windows: &[Window], field: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = FieldErrors::default();
        if windows.is_empty() {
            errors.add(field, "an empty list never opens; remove the field if switches may begin at any time");
        }
        let parsed: Vec<_> = windows
            .iter()
            .enumerate()
            .filter_map(|(i, window)| parse::window(window, &format!("{field}[{i}]"), &mut errors))
            .collect();
        if errors.is_empty() { Ok(Self(parsed)) } else { Err(errors.into_vec()) }
    }

    /// Returns the windows as a record has them: days in the order of the week and absent if all are
    /// listed, no zone for UTC.
    pub fn to_records(&self) -> Vec<Window> {
        self.0.iter().map(parse::to_record).collect()
    }

    /// Returns whether at least one window is open.
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.next_opening(now) == Some(now)
    }

    /// Returns the first instant from `now` on at which a window is open: `now` itself if one is open.
    /// Returns `None` if no window opens before [`Timestamp::MAX`].
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        UnionCursor::new(self).next_opening(now)
    }

    /// Returns the first instant from `now` on at which no window is open: `now` itself if none is open.
    /// Returns `None` if that instant is more than [`HORIZON`] ahead.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = instant::after_or_last(now, HORIZON);
        let mut cursor = UnionCursor::new(self);
        let mut closed = now;
        while let Some(closes) = cursor.closing(closed) {
            closed = closes;
            if closed > limit || closed == Timestamp::MAX {
                return None;
            }
        }
        Some(closed)
    }
}

/// Searches the union of a policy's windows. The instants of successive calls must not decrease.
struct UnionCursor<'a>(Vec<OccurrenceCursor<'a>>);

impl<'a> UnionCursor<'a> {
    fn new(windows: &'a Windows) -> Self {
        Self(windows.0.iter().map(OccurrenceCursor::new).collect())
    }

    fn next_opening(&mut self, at: Timestamp) -> Option<Timestamp> {
        let mut first: Option<Timestamp> = None;
        for cursor in &mut self.0 {
            let Some(occurrence) = cursor.seek(at) else { continue };
            if occurrence.opens <= at {
                return Some(at);
            }
            first = Some(first.map_or(occurrence.opens, |first| first.min(occurrence.opens)));
        }
        first
    }

    /// Returns the latest end of the occurrences that contain `at`, or `None` if no window is open.
    fn closing(&mut self, at: Timestamp) -> Option<Timestamp> {
        let open = self.0.iter_mut().filter_map(|cursor| cursor.seek(at)).filter(|occurrence| occurrence.opens <= at);
        open.map(|occurrence| occurrence.closes).max()
    }
}

#[cfg(test)]
mod tests;
