//! Blackouts: spans of time in which no switch may begin.

use std::sync::Arc;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{occurrence::reached, parse::zone};
use crate::{
    records::policy::Blackout,
    values::{field_error::FieldErrors, limits, text::printable_to},
};

/// A blackout whose ends are instants. `from` is before `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBlackout {
    /// Beginning, inclusive.
    pub from: Timestamp,
    /// End, exclusive.
    pub to: Timestamp,
    /// Why nothing may change, printable.
    pub reason: Arc<str>,
}

impl CheckedBlackout {
    /// Returns whether the blackout lasts at an instant.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Parses the blackouts at the path `field`, each entry once. Adds everything that is wrong with them to `errors`.
pub(crate) fn parse_blackouts(blackouts: &[Blackout], field: &str, errors: &mut FieldErrors) -> Vec<CheckedBlackout> {
    errors.check_length(field, blackouts.len(), limits::BLACKOUTS);
    let mut parsed = Vec::new();
    for (i, blackout) in blackouts.iter().enumerate() {
        parsed.extend(parse(blackout, &format!("{field}[{i}]"), errors).filter(|new| !parsed.contains(new)));
    }
    parsed
}

fn parse(blackout: &Blackout, field: &str, errors: &mut FieldErrors) -> Option<CheckedBlackout> {
    let zone = errors.ok(&format!("{field}.timeZone"), zone(blackout.time_zone.as_deref()));
    let mut end = |name: &str, text: &str| {
        let local = errors.ok(&format!("{field}.{name}"), local_time(text))?;
        errors.ok(&format!("{field}.{name}"), instant(zone.as_ref()?, local))
    };
    let (from, to) = (end("from", &blackout.from), end("to", &blackout.to));
    if blackout.reason.trim().is_empty() {
        errors.add(format!("{field}.reason"), "must not be empty: people who are held see it");
    }
    let (from, to) = (from?, to?);
    if from >= to {
        errors.add(format!("{field}.to"), "must be later than `from`");
    }
    Some(CheckedBlackout { from, to, reason: printable_to(&blackout.reason, limits::BLACKOUT_REASON).into() })
}

/// Parses `2026-11-27T00:00` or `2026-11-27T00:00:00`.
fn local_time(text: &str) -> Result<DateTime, String> {
    let has_length = matches!(text.len(), 16 | 19) && text.starts_with(|first: char| first.is_ascii_digit());
    let parsed = text.parse::<DateTime>().ok().filter(|_| has_length);
    // The parser reads other forms, too, such as the second 60.
    parsed
        .filter(|local| local.to_string().starts_with(text))
        .ok_or_else(|| format!("{text:?} is not a local date and time such as `2026-11-27T00:00`"))
}

fn instant(zone: &TimeZone, local: DateTime) -> Result<Timestamp, String> {
    reached(zone, local).ok_or_else(|| format!("{local} is out of range"))
}
