//! Editing a structural schema by the paths people know: `spec.rules[].plugins[]`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Map, Value, json};

use crate::records::schema::to_value;

/// A schema being completed.
pub(super) struct Shape(Value);

/// One field of it.
pub(super) struct Field<'a> {
    path: String,
    schema: &'a mut Map<String, Value>,
}

impl Shape {
    pub(super) fn of(schema: &JSONSchemaProps) -> Self {
        let mut value = to_value(schema);
        tidy(&mut value);
        Self(value)
    }

    pub(super) fn finish(self) -> JSONSchemaProps {
        serde_json::from_value(self.0).unwrap_or_else(|error| panic!("a completed schema is a schema: {error}"))
    }

    /// The object itself.
    pub(super) fn root(&mut self) -> Field<'_> {
        Field::new(String::new(), &mut self.0)
    }

    /// The field at a path; `[]` is a list's items, `{}` a map's values.
    pub(super) fn at(&mut self, path: &str) -> Field<'_> {
        let mut found = &mut self.0;
        for step in path.replace("[]", ".[]").replace("{}", ".{}").split('.') {
            found = match step {
                "[]" => &mut found["items"],
                "{}" => &mut found["additionalProperties"],
                name => &mut found["properties"][name],
            };
        }
        Field::new(path.to_owned(), found)
    }
}

impl<'a> Field<'a> {
    fn new(path: String, schema: &'a mut Value) -> Self {
        match schema {
            Value::Object(schema) => Self { path, schema },
            other => panic!("the schema has no field `{path}`, but {other}"),
        }
    }

    fn set(self, key: &str, value: impl Into<Value>) -> Self {
        self.schema.insert(key.to_owned(), value.into());
        self
    }

    /// A text of at most so many characters.
    pub(super) fn text(self, max: u64) -> Self {
        assert_eq!(self.schema["type"], "string", "{} is a text", self.path);
        self.set("maxLength", max)
    }

    /// A list of at most so many entries, replaced as a whole by server-side apply.
    pub(super) fn list(self, max: u64) -> Self {
        assert_eq!(self.schema["type"], "array", "{} is a list", self.path);
        self.set("maxItems", max).set("x-kubernetes-list-type", "atomic")
    }

    /// At least one entry.
    pub(super) fn not_empty(self) -> Self {
        self.set("minItems", 1)
    }

    /// A number within, ends included.
    pub(super) fn number(self, min: u64, max: u64) -> Self {
        assert_eq!(self.schema["type"], "integer", "{} is a number", self.path);
        self.set("minimum", min).set("maximum", max)
    }

    /// What must hold, in CEL, and what is said if it does not.
    pub(super) fn rule(self, cel: &str, message: &str) -> Self {
        self.push(json!({"rule": cel, "message": message}))
    }

    /// The same, said of a field of this object.
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

    /// Another schema in its place; the description stays.
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

/// What the derived shape says that a structural schema should not: an absent value is absent, never
/// null; numbers have formats that the API server knows; what is empty needs no default.
fn tidy(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.remove("nullable");
    fields.remove("title");
    if fields.get("default").is_some_and(|default| *default == "" || *default == 0 || *default == false) {
        fields.remove("default");
    }
    match fields.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32") => fields.insert("format".to_owned(), json!("int32")),
        Some("uint64") => fields.insert("format".to_owned(), json!("int64")),
        Some("date-time") => fields.insert("maxLength".to_owned(), json!(40)),
        _ => None,
    };
    for child in ["items", "additionalProperties"] {
        fields.get_mut(child).into_iter().for_each(tidy);
    }
    // Names of properties, unlike keywords, are anybody's.
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
}
