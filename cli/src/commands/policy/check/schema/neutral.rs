//! Values in place of those that the schema refuses, so that all other fields can be checked. What they say is reported
//! nowhere.

use boon::ErrorKind;
use serde_json::{Value, json};

use super::{Step, hints::schema_at};

/// Returns a value that the schema and the rules accept in a field, or in an entry of a list.
pub(super) fn of_field(schema: &Value, place: &[Step]) -> Option<Value> {
    let name = place.iter().rev().find_map(|step| match step {
        Step::Key(name) => Some(name.as_str()),
        Step::Index(_) => None,
    })?;
    let schema = schema_at(schema, place)?;
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return Some(first.clone());
    }
    Some(match schema.get("type").and_then(Value::as_str)? {
        "string" => json!(text(name)),
        "integer" | "number" => json!(1),
        "boolean" => json!(false),
        "array" if name == "plugins" => json!([text(name)]),
        "array" => json!([]),
        _ => json!({}),
    })
}

fn text(name: &str) -> &'static str {
    match name {
        "minAge" | "over" | "for" | "duration" => "1h",
        "start" => "00:00",
        "from" => "2000-01-01T00:00",
        "to" => "2100-01-01T00:00",
        "until" => "2100-01-01T00:00:00Z",
        "version" | "block" | "expedite" => "v0.0.0",
        "versions" => "*",
        "digest" => "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "timeZone" => "UTC",
        _ => "a",
    }
}

/// Returns a value within a bound that the value of a field exceeds. `None`: the field is left out.
pub(super) fn of_limit(kind: &ErrorKind<'_, '_>, value: Option<&Value>) -> Option<Value> {
    match (kind, value) {
        (ErrorKind::Minimum { want, .. } | ErrorKind::Maximum { want, .. }, _) => {
            want.as_u64().or_else(|| want.as_f64().and_then(|want| format!("{want:.0}").parse().ok())).map(Value::from)
        }
        (ErrorKind::MaxItems { want, .. }, Some(Value::Array(entries))) => {
            Some(Value::Array(entries.iter().take(*want).cloned().collect()))
        }
        _ => None,
    }
}
