//! Sentences about policies that contradict each other.

use crate::decisions::verdict::{Attributed, PolicyConflict};

/// Most fields in a sentence; more are counted.
const MAX_FIELDS: usize = 8;

/// Returns a sentence that names the component and the fields that together permit no version of it.
pub fn policy_conflict(conflict: &PolicyConflict) -> String {
    let PolicyConflict { component, required_by, refused_by } = conflict;
    let refused_by = list(refused_by, |field| format!("{} (`{}`)", field.from, field.value));
    if required_by.is_empty() {
        return format!("no version of {component} meets {refused_by}");
    }
    let verb = if required_by.len() == 1 { "requires" } else { "require" };
    let required_by = list(required_by, |field| field.from.to_string());
    format!("{required_by} {verb} {component}, but no published version passes {refused_by}")
}

/// Joins fields as `policy a, rules[0].access; policy b, rules[0].access`.
fn list(fields: &[Attributed<String>], show: impl Fn(&Attributed<String>) -> String) -> String {
    let shown = fields.iter().take(MAX_FIELDS).map(show).collect::<Vec<_>>().join(" and ");
    match fields.len().saturating_sub(MAX_FIELDS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
