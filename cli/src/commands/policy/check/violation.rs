//! What is wrong with a field of a policy, and how to write it.

use std::fmt;

use d8_crds::values::correction::{self, write};
use serde::Serialize;
use serde_json::Value;

/// A field that is refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Violation {
    /// Path of the field, such as `spec.rules[1].versions`; empty for the whole document.
    pub(super) field: String,
    /// What the field must be, or why it is refused.
    pub(super) message: String,
    /// The value of the field, unless it is an object or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// How to write it: ``write `72h` ``.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), value: None, hint: None }
    }

    /// Makes a violation of the schema. `hint`: how to write the field, if the schema tells.
    pub(super) fn of_schema(field: String, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { hint, ..Self::new(field, message) }
    }

    /// Adds the value of the field, and how to write it.
    pub(super) fn explained(mut self, document: &Value) -> Self {
        self.value = lookup(document, &self.field).filter(|value| !value.is_object() && !value.is_array()).cloned();
        let value = self.value.as_ref();
        self.hint = self.hint.or_else(|| value.and_then(|value| hint(&self.field, value)));
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, message, value, hint, .. } = self;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)?;
        let says_what = message.starts_with("must ");
        if let Some(value) = value.as_ref().filter(|_| says_what).map(shown) {
            write!(f, ", not {value}")?;
        }
        match hint.as_ref().filter(|hint| !message.contains(hint.as_str())) {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Returns a value as JSON, cut to what a line has room for.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 64;
    let text = value.to_string();
    if text.chars().nth(LONGEST).is_none() { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

/// Returns how to write the value of a field, by the kind of the field.
fn hint(field: &str, value: &Value) -> Option<String> {
    let name = field.rsplit('.').next().unwrap_or_default();
    let name = name.split_once('[').map_or(name, |(name, _)| name);
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match name {
        "minAge" | "over" | "for" | "duration" if value.is_number() => unit(value),
        "minAge" | "over" | "for" | "duration" => correction::duration_hint(&text),
        "days" => correction::days(&text).map(write),
        "start" => correction::time_of_day(&text).map(write),
        "from" => correction::local_time_hint(&text),
        "to" => correction::end_hint(&text),
        "until" => correction::rfc3339_hint(&text),
        "timeZone" => correction::time_zone(&text).map(write),
        _ => None,
    }
    .filter(|hint| *hint != write(&text))
}

/// Returns how to write a duration that is a number. The larger the number, the smaller its unit.
fn unit(value: &Value) -> Option<String> {
    const HOURS: u64 = 8760;
    let number = value.as_u64()?;
    let unit = if number <= HOURS { 'h' } else { 's' };
    Some(format!("write a unit, such as `{number}{unit}`"))
}

/// Returns the value at a path such as `spec.rules[1].plugins[0]` or `spec.hostSelector.matchLabels["a.b"]`.
fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let (mut value, mut rest) = (document, path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            value = match index.parse::<usize>() {
                Ok(index) => value.get(index)?,
                Err(_) => value.get(index.trim_matches('"'))?,
            };
            rest = after;
        } else {
            let name = rest.trim_start_matches('.');
            let end = name.find(['.', '[']).unwrap_or(name.len());
            value = value.get(&name[..end])?;
            rest = &name[end..];
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_at_a_path() {
        let document =
            json!({"spec": {"rules": [{"plugins": ["a", "b"]}], "hostSelector": {"matchLabels": {"a.b": "c"}}}});
        for (path, expected) in [
            ("spec.rules[0].plugins[1]", Some(json!("b"))),
            (r#"spec.hostSelector.matchLabels["a.b"]"#, Some(json!("c"))),
            ("spec.rules[1]", None),
            ("spec.rules[x]", None),
            ("spec.none.more", None),
        ] {
            assert_eq!(lookup(&document, path), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn a_message_has_the_value_and_the_right_form_once() {
        let document = json!({"spec": {"defaults": {"minAge": "3d"}, "windows": [{"days": ["Saturday"]}]}});
        for (field, message, expected) in [
            (
                "spec.defaults.minAge",
                "must be a duration",
                r#"spec.defaults.minAge: must be a duration, not "3d"; write `72h`"#,
            ),
            (
                "spec.defaults.minAge",
                r#""3d" is not a duration: write `72h`"#,
                r#"spec.defaults.minAge: "3d" is not a duration: write `72h`"#,
            ),
            (
                "spec.windows[0].days[0]",
                "must be one of Mon, Tue",
                r#"spec.windows[0].days[0]: must be one of Mon, Tue, not "Saturday"; write `Sat`"#,
            ),
            ("spec.windows", "required", "spec.windows: required"),
        ] {
            assert_eq!(Violation::new(field, message).explained(&document).to_string(), expected);
        }
    }
}
