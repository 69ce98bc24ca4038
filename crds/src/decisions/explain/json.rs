//! Reasons as JSON: `code`, `policy`, `rule`, `until`, the component and version, the values of the cause, and
//! `message`, the sentence for people.

use serde::{Serialize, Serializer};

use crate::decisions::reason::{Cause, Origin, Reason, ReasonCode};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    code: ReasonCode,
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
            policy: self.policy(),
            rule: self.rule(),
            until: self.until(),
            cause: &self.cause,
            message: super::in_record(self),
        };
        document.serialize(serializer)
    }
}
