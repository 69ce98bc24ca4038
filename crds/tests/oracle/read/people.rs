//! Reads who a policy is for, and who acts (rule 21).

use serde_json::Value;

use super::values::{Defect, list};

/// Who acts.
#[derive(Debug)]
pub(crate) enum Person {
    /// The agent, or its own repair.
    Nobody,
    /// A person, and the API server has not said who.
    Unknown,
    Known {
        user: String,
        groups: Vec<String>,
    },
}

/// How much of a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// Deny and `block`: the policy is for some people, and who acts is not known.
    Refusals,
}

/// Reads who acts: `person` of a case.
pub(crate) fn person(case: &Value) -> Result<Person, String> {
    match case.get("person") {
        None => Ok(Person::Nobody),
        Some(Value::Null) => Ok(Person::Unknown),
        Some(person) => {
            let user = person["user"].as_str().ok_or("person.user is not a text")?.to_owned();
            let groups = person["groups"].as_array().into_iter().flatten();
            let groups = groups.filter_map(|group| group.as_str().map(str::to_owned)).collect();
            Ok(Person::Known { user, groups })
        }
    }
}

/// How much of a policy counts for this person. `None`: the policy is for others.
pub(super) fn part(spec: &Value, person: &Person) -> Option<Part> {
    let Ok(subjects) = subjects(&spec["subjects"]) else {
        // Rule 14: what cannot be decoded holds everything.
        return Some(Part::All);
    };
    let Some(subjects) = subjects else { return Some(Part::All) };
    match person {
        Person::Nobody => None,
        Person::Unknown => Some(Part::Refusals),
        Person::Known { user, groups: own } => {
            let named = subjects.users.contains(user) || subjects.groups.iter().any(|group| own.contains(group));
            named.then_some(Part::All)
        }
    }
}

/// The people for whom a policy is.
#[derive(Debug)]
pub(super) struct Subjects {
    users: Vec<String>,
    groups: Vec<String>,
}

/// Reads for whom a policy is. `None`: for everybody.
pub(super) fn subjects(value: &Value) -> Result<Option<Subjects>, Defect> {
    if value.is_null() {
        return Ok(None);
    }
    if !value.is_object() {
        return Err(Defect::Undecodable);
    }
    let texts = |value: &Value| -> Result<Vec<String>, Defect> {
        let items = list(value)?.iter();
        items.map(|item| item.as_str().map(str::to_owned).ok_or(Defect::Undecodable)).collect()
    };
    Ok(Some(Subjects { users: texts(&value["users"])?, groups: texts(&value["groups"])? }))
}
