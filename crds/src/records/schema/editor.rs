//! Edits a structural schema by field paths such as `spec.rules[].plugins[]`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Map, Value, json};

use crate::values::limits;

/// A schema that is being edited, as JSON.
pub(super) struct SchemaEditor(Value);

/// One field of the schema.
pub(super) struct SchemaField<'a> {
    path: String,
    schema: &'a mut Map<String, Value>,
}

impl SchemaEditor {
    pub(super) fn new(schema: &JSONSchemaProps) -> Self {
        let mut value = serde_json::to_value(schema).unwrap_or_else(|error| panic!("a schema is JSON: {error}"));
        make_structural(&mut value);
        Self(value)
    }

    pub(super) fn finish(self) -> JSONSchemaProps {
        serde_json::from_value(self.0).unwrap_or_else(|error| panic!("an edited schema is a schema: {error}"))
    }

    /// Returns the object itself as a field.
    pub(super) fn root(&mut self) -> SchemaField<'_> {
        SchemaField::new(String::new(), &mut self.0)
    }

    /// Returns the field at a path. `[]` is the items of a list and `{}` the values of a map.
    pub(super) fn at(&mut self, path: &str) -> SchemaField<'_> {
        let mut schema = &mut self.0;
        for segment in path.replace("[]", ".[]").replace("{}", ".{}").split('.') {
            schema = match segment {
                "[]" => &mut schema["items"],
                "{}" => &mut schema["additionalProperties"],
                name => &mut schema["properties"][name],
            };
        }
        SchemaField::new(path.to_owned(), schema)
    }
}

impl<'a> SchemaField<'a> {
    fn new(path: String, schema: &'a mut Value) -> Self {
        match schema {
            Value::Object(schema) => Self { path, schema },
            other => panic!("the schema has no field `{path}`: it has {other} there"),
        }
    }

    fn set(self, key: &str, value: impl Into<Value>) -> Self {
        self.schema.insert(key.to_owned(), value.into());
        self
    }

    /// Limits the length of a string, in characters.
    pub(super) fn text(self, max: usize) -> Self {
        assert_eq!(self.schema["type"], "string", "{} must be a string", self.path);
        self.set("maxLength", max)
    }

    /// Limits the entries of a list. Server-side apply replaces the list as a whole.
    pub(super) fn list(self, max: usize) -> Self {
        assert_eq!(self.schema["type"], "array", "{} must be a list", self.path);
        self.set("maxItems", max).set("x-kubernetes-list-type", "atomic")
    }

    /// Requires at least one entry.
    pub(super) fn not_empty(self) -> Self {
        self.set("minItems", 1)
    }

    /// Limits an integer. Both bounds are inclusive.
    pub(super) fn number(self, min: u32, max: u32) -> Self {
        assert_eq!(self.schema["type"], "integer", "{} must be an integer", self.path);
        self.set("minimum", min).set("maximum", max)
    }

    /// Adds a CEL rule, and the message for values that break it.
    pub(super) fn rule(self, cel: &str, message: &str) -> Self {
        self.push(json!({"rule": cel, "message": message}))
    }

    /// Adds a CEL rule whose message is about a field of this object.
    pub(super) fn rule_on(self, field: &str, cel: &str, message: &str) -> Self {
        self.push(json!({"rule": cel, "message": message, "fieldPath": format!(".{field}")}))
    }

    fn push(self, rule: Value) -> Self {
        let rules = self.schema.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(rule);
        }
        self
    }

    /// Replaces the schema of the field. The description stays.
    pub(super) fn replace(self, schema: Value) {
        let description = self.schema.remove("description");
        if let Value::Object(schema) = schema {
            *self.schema = schema;
        }
        if let Some(description) = description {
            self.schema.insert("description".to_owned(), description);
        }
    }
}

/// Pattern of times: of the years 1000 to 2999. The API server accepts times that clients cannot read, and one object with
/// such a time would fail the list of all objects.
pub(super) const YEAR: &str = "^[12][0-9]{3}-";

/// Adapts a derived schema to the API server: removes `nullable` and titles, replaces formats that it does
/// not know, and removes defaults that equal an absent value.
fn make_structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.remove("nullable");
    fields.remove("title");
    if fields.get("default").is_some_and(|default| *default == "" || *default == 0 || *default == false) {
        fields.remove("default");
    }
    match fields.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32") => fields.insert("format".to_owned(), json!("int32")),
        Some("uint64") => fields.insert("format".to_owned(), json!("int64")),
        Some("date-time") => {
            fields.insert("pattern".to_owned(), json!(YEAR));
            fields.insert("maxLength".to_owned(), json!(limits::TIMESTAMP))
        }
        _ => None,
    };
    for child in ["items", "additionalProperties"] {
        fields.get_mut(child).into_iter().for_each(make_structural);
    }
    // The names of properties are not keywords of the schema.
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
}
