//! Reads values of a policy's spec, and why one cannot be used.

use std::collections::BTreeMap;

use serde_json::Value;

/// Why a policy cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A client cannot decode it: a field is unknown, has another type, or a value that the schema does not have.
    Undecodable,
    /// It can be decoded, and a value violates another rule of the schema.
    Invalid,
}

/// Reads a list. A missing list is empty.
pub(super) fn list(value: &Value) -> Result<&[Value], Defect> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(Defect::Undecodable),
    }
}

/// Reads a text. `None`: it is missing.
pub(super) fn text(value: &Value) -> Result<Option<&str>, Defect> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Defect::Undecodable),
    }
}

/// Reads a value of an enumeration.
pub(super) fn one_of(value: &Value, known: &[&str]) -> Result<Option<String>, Defect> {
    match text(value)? {
        None => Ok(None),
        Some(value) if known.contains(&value) => Ok(Some(value.to_owned())),
        // A value of a later schema.
        Some(_) => Err(Defect::Undecodable),
    }
}

/// The worst defect so far: a policy that cannot be decoded is not called invalid.
pub(super) struct Findings(pub(super) Option<Defect>);

impl Findings {
    /// Returns the value, or its default and remembers the defect.
    pub(super) fn take<T: Default>(&mut self, found: Result<T, Defect>) -> T {
        match found {
            Ok(value) => value,
            Err(defect) => {
                if self.0 != Some(Defect::Undecodable) {
                    self.0 = Some(defect);
                }
                T::default()
            }
        }
    }

    pub(super) fn require(&mut self, holds: bool) {
        self.take(if holds { Ok(()) } else { Err(Defect::Invalid) });
    }
}

pub(super) fn labels(object: &Value) -> BTreeMap<String, String> {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Evaluates a Kubernetes label selector: all of its parts must match.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> Result<bool, Defect> {
    if !selector.is_object() {
        return Err(Defect::Undecodable);
    }
    let mut all = true;
    if !selector["matchLabels"].is_null() {
        for (key, value) in selector["matchLabels"].as_object().ok_or(Defect::Undecodable)? {
            let value = value.as_str().ok_or(Defect::Undecodable)?;
            all &= labels.get(key).is_some_and(|has| has == value);
        }
    }
    for expression in list(&selector["matchExpressions"])? {
        let key = expression["key"].as_str().ok_or(Defect::Undecodable)?;
        let operator = expression["operator"].as_str().ok_or(Defect::Undecodable)?;
        let mut values = Vec::new();
        for value in list(&expression["values"])? {
            values.push(value.as_str().ok_or(Defect::Undecodable)?);
        }
        let has = labels.get(key).map(String::as_str);
        // In and NotIn need values, the other operators take none.
        let wants_values = operator == "In" || operator == "NotIn";
        if wants_values == values.is_empty() {
            return Err(Defect::Invalid);
        }
        all &= match operator {
            "In" => has.is_some_and(|has| values.contains(&has)),
            "NotIn" => !has.is_some_and(|has| values.contains(&has)),
            "Exists" => has.is_some(),
            "DoesNotExist" => has.is_none(),
            _ => return Err(Defect::Invalid),
        };
    }
    Ok(all)
}
