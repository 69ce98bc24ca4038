//! Blackouts: spans of time in which no switch may begin.

use std::sync::Arc;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Serialize, Serializer};

use super::{occurrence::reached, parse::zone};
use crate::{
    records::policy::Blackout,
    values::{correction, field_error::FieldErrors, instant::local, limits, text::printable_to},
};

/// A blackout whose ends are instants. `from` is before `to`.
///
/// Serialized, it is part of the reason that it gives (`docs/policies.md`, "Reasons as JSON").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CheckedBlackout {
    /// Why nothing may change, printable.
    #[serde(rename = "blackoutReason", serialize_with = "text")]
    pub reason: Arc<str>,
    /// Beginning, inclusive.
    pub from: Timestamp,
    /// End, exclusive.
    pub to: Timestamp,
}

impl CheckedBlackout {
    /// Returns whether the blackout lasts at an instant.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
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

/// Returns `None` for an invalid blackout, and for one whose ends are both skipped by one change of the clock: it is
/// empty.
fn parse(blackout: &Blackout, field: &str, errors: &mut FieldErrors) -> Option<CheckedBlackout> {
    let zone = errors.ok(&format!("{field}.timeZone"), zone(blackout.time_zone.as_deref()));
    let from = errors.ok(&format!("{field}.from"), local_time(&blackout.from, correction::local_time_hint));
    let to = errors.ok(&format!("{field}.to"), local_time(&blackout.to, correction::end_hint));
    if blackout.reason.trim().is_empty() {
        errors.add(format!("{field}.reason"), "must not be empty: people who are held see it");
    }
    let (zone, from, to) = (zone?, from?, to?);
    if from >= to {
        errors.add(format!("{field}.to"), "must be later than `from`");
    }
    let from = errors.ok(&format!("{field}.from"), instant(&zone, from))?;
    let to = errors.ok(&format!("{field}.to"), instant(&zone, to))?;
    let reason = printable_to(&blackout.reason, limits::BLACKOUT_REASON).into();
    (from < to).then_some(CheckedBlackout { reason, from, to })
}

fn local_time(text: &str, hint: impl Fn(&str) -> Option<String>) -> Result<DateTime, String> {
    local(text).ok_or_else(|| {
        let hint = hint(text).map(|hint| format!(": {hint}")).unwrap_or_default();
        format!("{text:?} is not a local date and time such as `2026-11-27T00:00`{hint}")
    })
}

fn instant(zone: &TimeZone, local: DateTime) -> Result<Timestamp, String> {
    reached(zone, local).ok_or_else(|| format!("{local} is out of range"))
}
