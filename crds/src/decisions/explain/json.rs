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
        let document = Document {
            code: self.code(),
            component: &self.subject.component,
            version: self.subject.version.as_ref().map(ToString::to_string),
            policy: self.policy(),
            rule: self.rule(),
            until: self.until(),
            cause: &self.cause,
            message: super::in_record(self),
        };
        document.serialize(serializer)
    }
}
