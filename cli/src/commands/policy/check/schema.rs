//! Validates a policy as the API server does, without one: by the schema with strict fields, then by the CEL rules.

mod hints;
mod limits;
mod neutral;

use boon::{Compiler, ErrorKind, InstanceToken, Schemas, ValidationError};
use d8_crds::records::policy::PluginPolicy;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::violation::Violation;

/// The compiled schema of `PluginPolicy`.
pub(super) struct PolicySchema {
    schema: Value,
    schemas: Schemas,
    index: boon::SchemaIndex,
}

/// The result of a validation.
pub(super) struct CheckedDocument {
    /// All violations, by field.
    pub(super) violations: Vec<Violation>,
    /// The document with other values in place of those that the schema refuses. `None`: the schema refuses what is
    /// left, too.
    pub(super) rest: Option<Value>,
    /// The fields that the schema refuses.
    pub(super) refused: Vec<String>,
}

/// Most times that values are replaced: what replaces a value may lack fields of its own.
const ROUNDS: usize = 8;

/// A step from a value to one below it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A violation of the schema, the place of its value, and a value that the schema accepts there. `None`: the field can
/// be left out.
struct Refused {
    violation: Violation,
    place: Vec<Step>,
    neutral: Option<Value>,
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

    /// Returns all violations. The API server evaluates the CEL rules only if the schema is satisfied; here they are
    /// evaluated for what is left without the values that the schema refuses.
    pub(super) fn check(&self, document: &Value) -> CheckedDocument {
        let refused = self.refused(document);
        let fields: Vec<String> = refused.iter().map(|refused| refused.violation.field.clone()).collect();
        let left_out = refused.iter().filter(|refused| refused.neutral.is_none());
        let left_out: Vec<String> = left_out.map(|refused| refused.violation.field.clone()).collect();
        let mut violations: Vec<_> = refused.iter().map(|refused| refused.violation.clone()).collect();
        let rest = self.without(document, refused);
        if let Some(rest) = &rest
            && let Err(errors) = kube_cel::Validator::new().validate(&self.schema, rest, None)
        {
            let errors = errors.into_iter().filter(|error| {
                // A rule may miss what was left out below its field.
                let is_left_out_below =
                    left_out.iter().any(|f| f.strip_prefix(&*error.field_path).is_some_and(is_below));
                !is_left_out_below && !is_of_refused(&fields, &error.field_path)
            });
            violations.extend(errors.map(|error| Violation::new(error.field_path, error.message)));
        }
        violations.sort_by(|a, b| (&a.field, &a.message).cmp(&(&b.field, &b.message)));
        violations.dedup_by(|b, a| (&a.field, &a.message) == (&b.field, &b.message));
        CheckedDocument { violations, rest, refused: fields }
    }

    /// Replaces the refused values, and then those that are refused in what replaced them.
    fn without(&self, document: &Value, mut refused: Vec<Refused>) -> Option<Value> {
        let mut rest = document.clone();
        // The rules need a name, but the schema does not have it.
        if document.pointer("/metadata/name").is_none_or(|name| !name.is_string()) && document.is_object() {
            let metadata = rest.get("metadata").filter(|metadata| metadata.is_object()).cloned();
            rest["metadata"] = metadata.unwrap_or_else(|| json!({}));
            rest["metadata"]["name"] = json!("without-a-name");
        }
        for _ in 0..ROUNDS {
            if refused.is_empty() {
                return Some(rest);
            }
            for Refused { place, neutral, .. } in &refused {
                replace(&mut rest, place, neutral.as_ref());
            }
            refused = self.refused(&rest);
        }
        None
    }

    fn refused(&self, document: &Value) -> Vec<Refused> {
        let mut refused = Vec::new();
        if let Err(error) = self.schemas.validate(document, self.index) {
            self.collect(document, &error, &mut refused);
        }
        refused
    }

    fn collect(&self, document: &Value, error: &ValidationError<'_, '_>, refused: &mut Vec<Refused>) {
        if !error.causes.is_empty() {
            error.causes.iter().for_each(|cause| self.collect(document, cause, refused));
            return;
        }
        let place: Vec<Step> = error.instance_location.tokens.iter().map(step).collect();
        let field = path(&place);
        let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
        let value = value_at(document, &place);
        let mut add = |field: String, message: &str, hint: Option<String>, place: Vec<Step>, neutral: Option<Value>| {
            refused.push(Refused { violation: Violation::of_schema(field, message, hint), place, neutral });
        };
        match &error.kind {
            ErrorKind::AdditionalProperties { got } => {
                for name in got {
                    let hint = hints::unknown_field(&self.schema, &place, name);
                    let place = [&place[..], &[Step::Key(name.to_string())]].concat();
                    add(below(name), "unknown field", hint, place, None);
                }
            }
            ErrorKind::Required { want } => {
                for name in want {
                    let place = [&place[..], &[Step::Key((*name).to_owned())]].concat();
                    let neutral = neutral::of_field(&self.schema, &place);
                    add(below(name), "required", None, place, neutral);
                }
            }
            ErrorKind::Enum { want } => {
                let known: Vec<&str> = want.iter().filter_map(Value::as_str).collect();
                let hint = value.and_then(|value| hints::variant(value, &known));
                let neutral = want.first().filter(|_| is_entry(&place)).cloned();
                add(field, &format!("must be one of {}", known.join(", ")), hint, place, neutral);
            }
            ErrorKind::Type { want, .. } => {
                let kind = hints::Kind::of(*want);
                let hint = value.and_then(|value| kind.hint(&field, value));
                let of_entry = || is_entry(&place).then(|| neutral::of_field(&self.schema, &place)).flatten();
                let neutral = kind.neutral(value).or_else(of_entry);
                add(field, &format!("must be {}", kind.name()), hint, place, neutral);
            }
            kind => {
                let neutral = neutral::of_limit(kind, value);
                add(field, &limits::message(kind), None, place, neutral);
            }
        }
    }
}

/// Returns whether a field is refused, or is a part of a refused one: what replaced it is no error.
pub(super) fn is_of_refused(refused: &[String], field: &str) -> bool {
    refused.iter().any(|refused| field.strip_prefix(&**refused).is_some_and(|rest| rest.is_empty() || is_below(rest)))
}

/// Returns whether a place is an entry of a list.
fn is_entry(place: &[Step]) -> bool {
    matches!(place.last(), Some(Step::Index(_)))
}

/// Returns whether the rest of a path goes on below a field.
fn is_below(rest: &str) -> bool {
    rest.starts_with(['.', '['])
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

fn step(token: &InstanceToken<'_>) -> Step {
    match token {
        InstanceToken::Prop(name) => Step::Key(name.to_string()),
        InstanceToken::Item(index) => Step::Index(*index),
    }
}

/// `spec.rules[1].plugins`.
fn path(place: &[Step]) -> String {
    let mut path = String::new();
    for step in place {
        match step {
            Step::Key(name) if path.is_empty() => path.push_str(name),
            Step::Key(name) => path = format!("{path}.{name}"),
            Step::Index(index) => path = format!("{path}[{index}]"),
        }
    }
    path
}

fn value_at<'a>(document: &'a Value, place: &[Step]) -> Option<&'a Value> {
    place.iter().try_fold(document, |value, step| match step {
        Step::Key(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

/// Replaces the value at a place. Without a new value, removes the field; of an entry of a list the whole list, so that
/// the other entries keep their numbers in messages.
fn replace(document: &mut Value, place: &[Step], new: Option<&Value>) {
    let mut place = place;
    while new.is_none() && matches!(place.last(), Some(Step::Index(_))) {
        place = &place[..place.len() - 1];
    }
    let Some((last, parents)) = place.split_last() else { return };
    let parent = parents.iter().try_fold(document, |value, step| match step {
        Step::Key(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(index),
    });
    match (parent, last, new) {
        (Some(Value::Object(fields)), Step::Key(name), None) => drop(fields.remove(name)),
        (Some(Value::Object(fields)), Step::Key(name), Some(new)) => drop(fields.insert(name.clone(), new.clone())),
        (Some(Value::Array(entries)), Step::Index(index), Some(new)) => {
            if let Some(entry) = entries.get_mut(*index) {
                *entry = new.clone();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
