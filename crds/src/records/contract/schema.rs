//! The contract as a JSON Schema, for authors and their editors, and the keys of a file that the schema does not have.
//! Readers ignore such keys, so that contracts can get more of them.

use std::fmt;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Contract;
use crate::values::{limits, spelling::nearest, text::printable_to};

/// Unknown keys of one contract that are reported.
const MAX_UNKNOWN: usize = 16;

/// A key of a contract that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Path of the key, such as `requirements.kubernets`, printable.
    pub field: String,
    /// The known key that was meant, if one is near.
    pub near: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key `{}` is not part of a contract", self.field)?;
        match &self.near {
            Some(near) => write!(f, "; did you mean `{near}`?"),
            None => f.write_str(", so nothing reads it"),
        }
    }
}

/// Returns the JSON Schema of a contract (draft 2020-12). It permits only known keys.
pub fn json_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Contract>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "Contract of a d8 plugin".into());
        let description = "What a plugin says of itself: the variables and flags that it reads, and its requirements.";
        root.insert("description".to_owned(), description.into());
        // Readers take a name that is missing from the image, and a version from the tag.
        root.remove("required");
    }
    forbid_other_keys(&mut schema);
    schema
}

fn forbid_other_keys(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(forbid_other_keys);
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forbid_other_keys),
        _ => {}
    }
}

/// Returns the keys of a document that the schema does not have.
pub(super) fn unknown_keys(document: &Value) -> Vec<UnknownKey> {
    let root = json_schema();
    let mut found = Vec::new();
    Walk { root: &root, found: &mut found }.visit(document, &root, "");
    found
}

/// Searches a document, with the schema of each of its parts.
struct Walk<'a> {
    root: &'a Value,
    found: &'a mut Vec<UnknownKey>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &Value, schema: &'a Value, path: &str) {
        let schema = self.resolve(schema);
        match value {
            Value::Object(fields) => {
                if let Some(known) = schema.get("properties").and_then(Value::as_object) {
                    self.visit_fields(fields, known, path);
                }
            }
            Value::Array(values) => {
                let Some(items) = schema.get("items") else { return };
                for (index, value) in values.iter().enumerate() {
                    self.visit(value, items, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn visit_fields(&mut self, fields: &Map<String, Value>, known: &'a Map<String, Value>, path: &str) {
        for (key, value) in fields {
            let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.get(key) {
                Some(schema) => self.visit(value, schema, &field),
                None if self.found.len() < MAX_UNKNOWN => self.found.push(UnknownKey {
                    field: printable_to(&field, limits::FIELD_PATH).into_owned(),
                    near: nearest(key, known.keys().map(String::as_str)).map(str::to_owned),
                }),
                None => {}
            }
        }
    }

    /// Follows a reference, and of a schema that permits null the other one.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let choices = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let mut references = choices.chain([schema]).filter_map(|schema| schema.get("$ref")?.as_str());
        let pointer = references.find_map(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_nothing_reads() {
        let group = json!({"name": "g", "modules": [{"name": "m"}]});
        for (document, expected) in [
            (json!({}), &[][..]),
            (
                json!({
                    "name": "a", "version": "v1.0.0", "description": "d", "env": [{"name": "A"}], "flags": [],
                    "requirements": {
                        "kubernetes": {"constraint": ">=1"}, "deckhouse": {"constraint": ">=1"},
                        "modules": {"mandatory": [], "conditional": [], "anyOf": [group], "noneOf": [group]},
                        "plugins": {"mandatory": [{"name": "b", "constraint": "^1"}], "conditional": []},
                    },
                }),
                &[],
            ),
            (json!({"requirement": {}}), &[("requirement", Some("requirements"))]),
            (json!({"requirements": {"kubernets": {}}}), &[("requirements.kubernets", Some("kubernetes"))]),
            (
                json!({"requirements": {"kubernetes": {"constaint": ">=1"}}}),
                &[("requirements.kubernetes.constaint", Some("constraint"))],
            ),
            (json!({"requirements": {"modules": {"any_of": []}}}), &[("requirements.modules.any_of", Some("anyOf"))]),
            (
                json!({"requirements": {"modules": {"anyOf": [{"modules": [{"nam": "m"}]}]}}}),
                &[("requirements.modules.anyOf[0].modules[0].nam", Some("name"))],
            ),
            (json!({"env": [{"name": "A"}, {"Name": "B"}]}), &[("env[1].Name", Some("name"))]),
            (json!({"maintainers": ["me"]}), &[("maintainers", None)]),
        ] {
            let found = unknown_keys(&document);
            let found: Vec<_> = found.iter().map(|key| (key.field.as_str(), key.near.as_deref())).collect();
            assert_eq!(found, expected, "{document}");
        }
        let many: Map<String, Value> = (0..1000).map(|number| (format!("{number}"), Value::Null)).collect();
        assert_eq!(unknown_keys(&Value::Object(many)).len(), MAX_UNKNOWN);
    }
}
