//! Validates a policy as the API server does, without one: by the schema with strict fields, then by the CEL rules.

use std::{collections::BTreeSet, fmt};

use boon::{Compiler, ErrorKind, InstanceToken, Schemas, ValidationError};
use d8_crds::records::policy::PluginPolicy;
use kube::CustomResourceExt as _;
use serde::Serialize;
use serde_json::{Value, json};

/// A violation of the schema or of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Violation {
    /// Path of the field, such as `spec.rules[1].versions`; empty for the whole document.
    pub(super) field: String,
    /// What the field must be, or why it is refused.
    pub(super) message: String,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

/// The compiled schema of `PluginPolicy`.
pub(super) struct PolicySchema {
    schema: Value,
    schemas: Schemas,
    index: boon::SchemaIndex,
}

impl PolicySchema {
    /// Loads the schema of this build.
    ///
    /// # Errors
    /// The schema is missing or does not compile. Tests rule that out.
    pub(super) fn load() -> Result<Self, String> {
        let name = PluginPolicy::crd_name();
        let crd = d8_crds::records::schema::crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name));
        let schema = crd
            .and_then(|crd| crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema)
            .ok_or("this build has no schema of PluginPolicy")?;
        let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
        let mut strict = schema.clone();
        refuse_unknown_fields(&mut strict, true);
        let mut compiler = Compiler::new();
        let mut schemas = Schemas::new();
        compiler.add_resource("policy.json", strict).map_err(|error| error.to_string())?;
        let index = compiler.compile("policy.json", &mut schemas).map_err(|error| error.to_string())?;
        Ok(Self { schema, schemas, index })
    }

    /// Returns all violations, by field. Evaluates the CEL rules only if the schema is satisfied, as the API server
    /// does.
    pub(super) fn check(&self, document: &Value) -> Vec<Violation> {
        let mut violations = BTreeSet::new();
        if let Err(error) = self.schemas.validate(document, self.index) {
            collect(&error, &mut violations);
        }
        if violations.is_empty()
            && let Err(errors) = kube_cel::Validator::new().validate(&self.schema, document, None)
        {
            violations
                .extend(errors.iter().map(|error| Violation::new(error.field_path.clone(), error.message.clone())));
        }
        violations.into_iter().collect()
    }
}

/// Makes the schema refuse unknown fields, as strict field validation does. Allows the fields of every object at the
/// root.
fn refuse_unknown_fields(schema: &mut Value, root: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.get("nullable") == Some(&Value::Bool(true))
        && let Some(kind) = schema.get("type").cloned()
    {
        schema.insert("type".into(), json!([kind, "null"]));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| refuse_unknown_fields(property, false));
        if root {
            for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
                properties.insert(name.into(), json!({"type": kind}));
            }
        }
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            refuse_unknown_fields(inner, false);
        }
    }
    // Extensions of Kubernetes are not JSON Schema.
    schema.retain(|key, _| !key.starts_with("x-kubernetes-"));
}

fn collect(error: &ValidationError<'_, '_>, violations: &mut BTreeSet<Violation>) {
    if !error.causes.is_empty() {
        error.causes.iter().for_each(|cause| collect(cause, violations));
        return;
    }
    let field = path(&error.instance_location.tokens);
    let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match &error.kind {
        ErrorKind::AdditionalProperties { got } => {
            violations.extend(got.iter().map(|name| Violation::new(below(name), "unknown field")));
        }
        ErrorKind::Required { want } => {
            violations.extend(want.iter().map(|name| Violation::new(below(name), "required")));
        }
        ErrorKind::Enum { want } => {
            let values: Vec<String> =
                want.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
            violations.insert(Violation::new(field, format!("must be one of {}", values.join(", "))));
        }
        kind => {
            violations.insert(Violation::new(field, kind.to_string()));
        }
    }
}

fn path(tokens: &[InstanceToken<'_>]) -> String {
    let mut path = String::new();
    for token in tokens {
        match token {
            InstanceToken::Prop(name) if path.is_empty() => path.push_str(name),
            InstanceToken::Prop(name) => {
                path.push('.');
                path.push_str(name);
            }
            InstanceToken::Item(index) => {
                use fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = write!(path, "[{index}]");
            }
        }
    }
    path
}
