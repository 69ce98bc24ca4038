//! A policy as it was read: valid, or broken and acting as paused.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use super::candidate::Host;
use crate::{
    decisions::{
        reason::PolicyProblem,
        validation::{CheckedPolicy, CheckedSubjects, InvalidPolicy, Reach, selector::Selector},
    },
    records::policy::PluginPolicy,
    values::{correction, field_error::FieldError, text::printable},
};

/// A policy, valid or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoadedPolicy {
    Valid {
        checked: Box<CheckedPolicy>,
        /// What counts of it for a person who is not known, if it has subjects.
        restrictions: Option<Box<CheckedPolicy>>,
    },
    /// Acts as paused for the hosts it selects; one that cannot be decoded holds everything there but an
    /// update of d8 by a person.
    Broken(BrokenPolicy),
}

/// A policy that is invalid or cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokenPolicy {
    pub(super) name: Arc<str>,
    pub(super) problem: Arc<PolicyProblem>,
    /// `None`: the selector is broken, too; every host.
    selector: Option<Selector>,
    pub(super) subjects: CheckedSubjects,
}

/// What of a policy applies to one host and to the person who acts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applying<'a> {
    /// A valid policy, or only its Deny and `block` if the person is not known.
    Valid(&'a CheckedPolicy),
    Broken(&'a BrokenPolicy),
}

impl LoadedPolicy {
    /// Checks a policy. It is broken if a field is wrong, or if the operator does not accept it.
    pub(super) fn read(policy: &PluginPolicy) -> Self {
        let (name, errors, selector, subjects) = match CheckedPolicy::new(policy) {
            Ok(checked) => match not_accepted(policy) {
                None => return Self::valid(checked),
                Some(error) => (checked.name, vec![error], Some(checked.selector), checked.subjects),
            },
            Err(InvalidPolicy { errors, selector, subjects }) => {
                (printable(&kube::ResourceExt::name_any(policy)).into(), errors, selector, subjects)
            }
        };
        Self::Broken(BrokenPolicy { name, problem: Arc::new(PolicyProblem::Invalid { errors }), selector, subjects })
    }

    pub(super) fn valid(checked: CheckedPolicy) -> Self {
        let has_subjects = checked.subjects != CheckedSubjects::Everyone;
        let restrictions = has_subjects.then(|| Box::new(checked.restrictions()));
        Self::Valid { checked: Box::new(checked), restrictions }
    }

    /// Reads a JSON object, which may be of a schema that is unknown here.
    pub(super) fn read_json(object: &Value) -> Self {
        match decode(object) {
            Ok(policy) => Self::read(&policy),
            Err(why) => {
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
                Self::Broken(BrokenPolicy {
                    name: printable(name).into(),
                    problem: Arc::new(PolicyProblem::Unreadable { why: printable(&why).into_owned() }),
                    selector: object.pointer("/spec/hostSelector").and_then(Selector::from_json),
                    subjects: CheckedSubjects::from_json(object.get("spec")),
                })
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Valid { checked, .. } => &checked.name,
            Self::Broken(broken) => &broken.name,
        }
    }

    /// Returns what of the policy applies to a host and to the person who acts there.
    pub(super) fn on(&self, host: &Host<'_>) -> Option<Applying<'_>> {
        match self {
            Self::Valid { checked, restrictions } if checked.selector.matches(host.labels) => {
                match checked.subjects.reach(host.person) {
                    Reach::Whole => Some(Applying::Valid(checked)),
                    Reach::Restrictions => restrictions.as_deref().map(Applying::Valid),
                    Reach::Nothing => None,
                }
            }
            Self::Broken(policy) if policy.selector.as_ref().is_none_or(|selector| selector.matches(host.labels)) => {
                let reach = policy.subjects.reach(host.person);
                let applies = match *policy.problem {
                    PolicyProblem::Invalid { .. } => reach == Reach::Whole,
                    // It may deny or block.
                    PolicyProblem::Unreadable { .. } => reach != Reach::Nothing,
                };
                applies.then_some(Applying::Broken(policy))
            }
            _ => None,
        }
    }
}

/// Decodes a policy. A field of the spec that this program does not know may restrict anything, so it cannot be
/// ignored; unknown fields of metadata and status can.
fn decode(object: &Value) -> Result<PluginPolicy, String> {
    let mut unknown = None;
    let policy = serde_ignored::deserialize(normalized(object), |path| {
        let path = field_path(&path);
        if path.starts_with("spec.") {
            unknown.get_or_insert(path);
        }
    });
    match (policy, unknown) {
        (Ok(policy), None) => Ok(policy),
        (Ok(_), Some(field)) => Err(format!("unknown field `{field}`")),
        (Err(error), _) => Err(with_right_form(error.to_string())),
    }
}

/// Adds the right form to the message about a value that is none of the known ones: it names the value, then the known
/// ones, each in backquotes.
fn with_right_form(message: String) -> String {
    let Some((_, rest)) = message.split_once("unknown variant `") else { return message };
    let mut quoted = rest.split('`').step_by(2);
    let value = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let is_day = known.contains(&"Mon");
    let corrected =
        if is_day { correction::days(value) } else { correction::variant(value, &known).map(str::to_owned) };
    match corrected {
        Some(corrected) => format!("{message}; write `{corrected}`"),
        None => message,
    }
}

/// Returns a path as messages write it: `spec.rules[0].plugins`.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

/// Removes differences that do not change what a policy sets: a field that is null is unset, and a
/// condition counts without `lastTransitionTime`.
fn normalized(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(spec) = object.get_mut("spec") {
        remove_nulls(spec);
    }
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let time = condition.entry("lastTransitionTime").or_insert(Value::Null);
        if time.is_null() {
            *time = Value::String("1970-01-01T00:00:00Z".to_owned());
        }
    }
    object
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Returns why the operator does not accept the policy as it is now. The operator may know a rule that
/// this program does not, so such a policy is invalid here, too.
fn not_accepted(policy: &PluginPolicy) -> Option<FieldError> {
    let refused = |condition: &&Condition| {
        let current = condition.observed_generation.is_none_or(|seen| Some(seen) == policy.metadata.generation);
        condition.type_ == "Accepted" && condition.status == "False" && current
    };
    let condition = policy.status.as_ref()?.conditions.iter().find(refused)?;
    let why = printable(&condition.message).into_owned();
    Some(FieldError { field: "what the operator does not accept".to_owned(), why })
}
