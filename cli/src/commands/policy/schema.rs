//! What the API server would say to a policy, said without one: the schema of the kind with strict
//! fields, then the kind's own CEL rules.

use std::{collections::BTreeSet, fmt};

use boon::{Compiler, ErrorKind, InstanceToken, Schemas, ValidationError};
use d8_crds::records::policy::PluginPolicy;
use kube::CustomResourceExt as _;
use serde::Serialize;
use serde_json::{Value, json};

/// Something that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Problem {
    /// Where: `spec.rules[1].versions`; empty: the document itself.
    pub(super) field: String,
    /// What.
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

/// The rules of the kind, ready to check documents.
pub(super) struct Rules {
    schema: Value,
    schemas: Schemas,
    index: boon::SchemaIndex,
}

impl Rules {
    /// Those of `PluginPolicy` as this d8 knows it.
    ///
    /// # Errors
    /// The schema of this build is damaged; a test holds it against that.
    pub(super) fn of_policies() -> Result<Self, String> {
        let name = PluginPolicy::crd_name();
        let crd = d8_crds::records::schema::crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name));
        let schema = crd
            .and_then(|crd| crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema)
            .ok_or("this d8 has no schema of PluginPolicy")?;
        let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
        let mut strict = schema.clone();
        close(&mut strict, true);
        let mut compiler = Compiler::new();
        let mut schemas = Schemas::new();
        compiler.add_resource("policy.json", strict).map_err(|error| error.to_string())?;
        let index = compiler.compile("policy.json", &mut schemas).map_err(|error| error.to_string())?;
        Ok(Self { schema, schemas, index })
    }

    /// Everything that is wrong, by field; nothing is, if it is empty. CEL rules are asked only of a
    /// document of the right shape, as the API server does.
    pub(super) fn check(&self, document: &Value) -> Vec<Problem> {
        let mut problems = BTreeSet::new();
        if let Err(error) = self.schemas.validate(document, self.index) {
            collect(&error, &mut problems);
        }
        if problems.is_empty()
            && let Err(errors) = kube_cel::Validator::new().validate(&self.schema, document, None)
        {
            problems.extend(errors.iter().map(|error| Problem::new(error.field_path.clone(), error.message.clone())));
        }
        problems.into_iter().collect()
    }
}

/// Refuses fields that the schema does not name, as strict field validation does, and leaves what
/// every object has to Kubernetes.
fn close(schema: &mut Value, root: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.get("nullable") == Some(&Value::Bool(true))
        && let Some(kind) = schema.get("type").cloned()
    {
        schema.insert("type".into(), json!([kind, "null"]));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| close(property, false));
        if root {
            for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
                properties.insert(name.into(), json!({"type": kind}));
            }
        }
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            close(inner, false);
        }
    }
    // Kubernetes' own words, which are no JSON Schema.
    schema.retain(|key, _| !key.starts_with("x-kubernetes-"));
}

fn collect(error: &ValidationError<'_, '_>, problems: &mut BTreeSet<Problem>) {
    if !error.causes.is_empty() {
        error.causes.iter().for_each(|cause| collect(cause, problems));
        return;
    }
    let place = path(&error.instance_location.tokens);
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match &error.kind {
        ErrorKind::AdditionalProperties { got } => {
            problems.extend(got.iter().map(|name| Problem::new(below(name), "there is no such field")));
        }
        ErrorKind::Required { want } => {
            problems.extend(want.iter().map(|name| Problem::new(below(name), "it is required")));
        }
        ErrorKind::Enum { want } => {
            let words: Vec<String> =
                want.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
            problems.insert(Problem::new(place, format!("it is one of {}", words.join(", "))));
        }
        kind => {
            problems.insert(Problem::new(place, kind.to_string()));
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
