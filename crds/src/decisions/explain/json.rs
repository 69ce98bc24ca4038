//! Reasons as JSON (`docs/policies.md`, "Reasons as JSON"): what every reason has, the values of its cause, and
//! `message`, the sentence for people.

use serde::{Serialize, Serializer};

use crate::{
    decisions::reason::{Cause, Origin, Reason, ReasonCode},
    values::name::Component,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    code: ReasonCode,
    component: &'a Component,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<jiff::Timestamp>,
    #[serde(flatten)]
    cause: &'a Cause,
    message: String,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Document::new(self, super::in_record(self)).serialize(serializer)
    }
}

/// A reason in a list of all versions of the component, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed(pub Reason);

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Document::new(&self.0, super::for_record(&self.0, true)).serialize(serializer)
    }
}

impl<'a> Document<'a> {
    fn new(reason: &'a Reason, message: String) -> Self {
        Self {
            code: reason.code(),
            component: &reason.subject.component,
            version: reason.subject.version.as_ref().map(ToString::to_string),
            policy: reason.policy(),
            rule: reason.rule(),
            until: reason.until(),
            cause: &reason.cause,
            message,
        }
    }
}
