//! How to write a field that the schema refuses.

use boon::{Type, Types};
use d8_crds::values::{
    correction::{self, write},
    spelling::nearest,
    version::Version,
};
use serde_json::{Value, json};

use super::Step;

/// Hint about a text that YAML reads as a number or as true or false. How it was written is not known here: `1.10` is
/// the number 1.1.
const QUOTES: &str = "put it in quotes, so that YAML reads it as it is written";

/// The kind of value that a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Object,
    Null,
}

impl Kind {
    /// Returns the kind of the first type of a schema.
    pub(super) fn of(types: Types) -> Self {
        match types.iter().find(|kind| *kind != Type::Null) {
            Some(Type::String) => Self::Text,
            Some(Type::Integer) => Self::Integer,
            Some(Type::Number) => Self::Number,
            Some(Type::Boolean) => Self::Boolean,
            Some(Type::Array) => Self::List,
            Some(Type::Object) => Self::Object,
            Some(Type::Null) | None => Self::Null,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Null => "null",
        }
    }

    /// Returns a value of this kind in place of one of another kind, as near as there is one, so that other rules take the
    /// field as set. `None`: there is none.
    pub(super) fn neutral(self, value: Option<&Value>) -> Option<Value> {
        match (self, value) {
            (Self::Integer | Self::Number, _) => Some(json!(1)),
            (Self::Object, _) => Some(json!({})),
            (Self::List, Some(Value::String(text))) => Some(json!([text])),
            (Self::Text, Some(value @ (Value::Number(_) | Value::Bool(_)))) => Some(json!(value.to_string())),
            _ => None,
        }
    }

    /// Returns how to write a value of another kind.
    pub(super) fn hint(self, field: &str, value: &Value) -> Option<String> {
        let is_days = field.rsplit('.').next() == Some("days");
        match (self, value) {
            (Self::Text, Value::Bool(_)) => Some(QUOTES.to_owned()),
            // What a number means depends on the field.
            (Self::Text, Value::Number(_)) if takes_text(field) => Some(QUOTES.to_owned()),
            (Self::Integer, Value::String(text)) => {
                let text = text.trim();
                let text = text.strip_suffix('%').filter(|_| field.ends_with("Percent")).unwrap_or(text);
                Some(write(text.trim_end().parse::<u32>().ok()?))
            }
            (Self::Boolean, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(write("true")),
                "false" | "no" | "off" => Some(write("false")),
                _ => None,
            },
            (Self::List, Value::String(text)) if is_days => {
                correction::days(text).map(|days| write(format!("[{days}]")))
            }
            (Self::List, Value::String(text)) => Some(write(format_args!("[{}]", entries(field, text)))),
            (Self::List, Value::Object(_)) => Some("begin each entry with `- `".to_owned()),
            _ => None,
        }
    }
}

/// Returns whether a number in this field is a text that needs quotes, such as a version.
fn takes_text(field: &str) -> bool {
    let name = field.rsplit('.').next().unwrap_or_default();
    ["versions", "version", "block", "expedite", "message", "reason", "plugins", "groups", "users"]
        .iter()
        .any(|text| name.starts_with(text))
        || field.contains("atchLabels.")
        || field.contains("values[")
}

/// Writes the entries of a list that is given as one text. In a range of versions, a comma joins terms.
fn entries(field: &str, text: &str) -> String {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let are_entries = match field.rsplit('.').next() {
        Some("plugins") => true,
        Some("block" | "expedite") => parts.iter().all(|part| Version::parse_full(part).is_ok()),
        _ => false,
    };
    if are_entries && parts.iter().all(|part| !part.is_empty()) {
        return parts.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    }
    quoted(text)
}

/// Writes an entry of a list: in quotes, if YAML would not read it as this text.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    if is_plain && !is_word { text.to_owned() } else { Value::from(text).to_string() }
}

/// Returns how to write a value that is none of the known ones.
pub(super) fn variant(value: &Value, known: &[&str]) -> Option<String> {
    let text = value.as_str()?;
    if known.contains(&"Mon") {
        return correction::days(text).map(write);
    }
    correction::variant(text, known).map(write)
}

/// Returns which field is meant: a near one at this place, or one with this name at another place.
pub(super) fn unknown_field(schema: &Value, place: &[Step], name: &str) -> Option<String> {
    let known = schema_at(schema, place)?.get("properties").and_then(Value::as_object);
    let names = || known.into_iter().flatten().map(|(name, _)| name.as_str());
    let same = names().find(|known| known.eq_ignore_ascii_case(name));
    if let Some(near) = same.or_else(|| nearest(name, names())) {
        return Some(did_you_mean(&[near.to_owned()]));
    }
    if names().any(|known| known == "matchLabels") {
        return Some(format!("labels belong into matchLabels: `matchLabels: {{{name}: …}}`"));
    }
    let mut places = Vec::new();
    if let Some(spec) = schema.pointer("/properties/spec") {
        find(spec, "spec", name, &mut places);
    }
    (!places.is_empty()).then(|| did_you_mean(&places))
}

/// ``did you mean `spec.cli.minAge`, `spec.defaults.minAge` or `spec.rules[].minAge`?``
fn did_you_mean(fields: &[String]) -> String {
    let quoted: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("did you mean {} or {last}?", others.join(", ")),
        _ => format!("did you mean {}?", quoted.concat()),
    }
}

/// Adds the paths of all fields with this name, however it is capitalized.
fn find(schema: &Value, at: &str, name: &str, places: &mut Vec<String>) {
    for (known, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{at}.{known}");
        if known.eq_ignore_ascii_case(name) {
            places.push(at.clone());
        }
        find(below, &at, name, places);
    }
    if let Some(items) = schema.get("items") {
        find(items, &format!("{at}[]"), name, places);
    }
}

/// Returns the schema of the values at a place.
pub(super) fn schema_at<'a>(schema: &'a Value, place: &[Step]) -> Option<&'a Value> {
    place.iter().try_fold(schema, |schema, step| match step {
        Step::Key(name) => {
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            property.or_else(|| schema.get("additionalProperties"))
        }
        Step::Index(_) => schema.get("items"),
    })
}
