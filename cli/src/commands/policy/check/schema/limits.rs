//! Violations of bounds, in words for people.

use boon::ErrorKind;
use serde_json::Number;

/// Returns what a bound of the schema demands.
pub(super) fn message(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::Minimum { want, .. } => format!("must be at least {}", whole(want)),
        ErrorKind::Maximum { want, .. } => format!("must be at most {}", whole(want)),
        ErrorKind::MinLength { want: 1, .. } => "must not be empty".to_owned(),
        ErrorKind::MinLength { want, .. } => format!("is shorter than {want} characters"),
        ErrorKind::MaxLength { got, want } => format!("has {got} characters, at most {want} are allowed"),
        ErrorKind::MinItems { want: 1, .. } | ErrorKind::MinProperties { want: 1, .. } => {
            "must have at least one entry".to_owned()
        }
        ErrorKind::MinItems { got, want } | ErrorKind::MinProperties { got, want } => {
            format!("has {got} entries, at least {want} are required")
        }
        ErrorKind::MaxItems { got, want } | ErrorKind::MaxProperties { got, want } => {
            format!("has {got} entries, at most {want} are allowed")
        }
        ErrorKind::UniqueItems { got: [first, second] } => format!("entries {first} and {second} are the same"),
        ErrorKind::Pattern { want, .. } => format!("must match `{want}`"),
        kind => kind.to_string(),
    }
}

/// Writes a number without the `.0` that the schema has.
fn whole(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
