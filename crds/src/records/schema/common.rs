//! What several kinds share: conditions, label selectors, and rules for texts.

use serde_json::json;

use crate::values::limits;

use super::shape::{Field, Shape};
use crate::values::duration::Bounds;

/// The object's name is a DNS label. Rules on the root have no path, so the message names it.
pub(super) fn named_by_label(shape: &mut Shape) {
    shape.root().rule(
        "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
        "metadata.name: must be a DNS label: lower-case letters, digits and -, at most 63",
    );
}

/// `status.conditions`, one of each type.
pub(super) fn conditions(shape: &mut Shape) {
    shape.at("status.conditions").replace(json!({
        "type": "array",
        "maxItems": limits::CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string", "maxLength": limits::REASON, "description": "What it is about."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation it was made from.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": 40,
                    "description": "When its status last changed.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": limits::REASON,
                    "description": "Why, in one word.",
                },
                "message": {
                    "type": "string", "maxLength": limits::SENTENCE, "description": "The same for people.",
                },
            },
        },
    }));
}

const LABEL_KEY: &str = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\\\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?\
                         [A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$";
const LABEL_VALUE: &str = "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$";

/// A label selector whose operators fit their values.
pub(super) fn selector(shape: &mut Shape, path: &str) {
    shape.at(path).replace(json!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that the host has, each with this value.",
                "maxProperties": limits::EXPRESSIONS,
                "additionalProperties": {"type": "string", "maxLength": limits::NAME},
                "x-kubernetes-validations": [
                    {
                        "rule": format!("self.all(key, key.size() <= 317 && key.matches('{LABEL_KEY}'))"),
                        "message": "every key must be a label key, as in role or example.com/role",
                    },
                    {
                        "rule": format!("self.all(key, self[key].matches('{LABEL_VALUE}'))"),
                        "message": "every value must be a label value: at most 63 letters, digits, -, _ and .",
                    },
                ],
            },
            "matchExpressions": {
                "type": "array",
                "description": "What else holds for the host's labels.",
                "maxItems": limits::EXPRESSIONS,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string", "maxLength": 317, "description": "The label.",
                            "x-kubernetes-validations": [{
                                "rule": format!("self.matches('{LABEL_KEY}')"),
                                "message": "must be a label key, as in role or example.com/role",
                            }],
                        },
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {
                            "type": "array",
                            "maxItems": limits::EXPRESSION_VALUES,
                            "x-kubernetes-list-type": "atomic",
                            "items": {
                                "type": "string", "maxLength": limits::NAME,
                                "x-kubernetes-validations": [{
                                    "rule": format!("self.matches('{LABEL_VALUE}')"),
                                    "message": "must be a label value: at most 63 letters, digits, -, _ and .",
                                }],
                            },
                        },
                    },
                    "x-kubernetes-validations": [
                        {
                            "rule": "!(self.operator in ['In', 'NotIn']) || \
                                     (has(self.values) && self.values.size() > 0)",
                            "message": "In and NotIn need at least one value",
                            "fieldPath": ".values",
                        },
                        {
                            "rule": "self.operator in ['In', 'NotIn'] || !has(self.values) || self.values.size() == 0",
                            "message": "Exists and DoesNotExist take no values",
                            "fieldPath": ".values",
                        },
                    ],
                },
            },
        },
    }));
}

impl Field<'_> {
    /// A duration of hours, minutes and seconds within bounds.
    pub(super) fn duration(self, bounds: Bounds) -> Self {
        let [min, max] = [bounds.min, bounds.max].map(crate::values::duration::show);
        self.text(limits::DURATION).rule(
            &format!(
                "self.size() > 0 && self.matches('^([0-9]{{1,6}}h)?([0-9]{{1,6}}m)?([0-9]{{1,8}}s)?$') && \
                 duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
            ),
            &format!("must be hours, minutes and seconds, as in 1h30m, from {min} to {max}"),
        )
    }

    /// A version written out.
    pub(super) fn full_version(self) -> Self {
        const NUMBER: &str = r"(0|[1-9]\d*)";
        const PRE: &str = r"(0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*)";
        const BUILD: &str = r"[\dA-Za-z-]+";
        // The grammar of semver.org, with an optional v. Short, for the rule's cost.
        self.text(limits::RULE_VERSION).rule(
            &format!("self.matches(r'^v?{NUMBER}([.]{NUMBER}){{2}}(-{PRE}([.]{PRE})*)?([+]{BUILD}([.]{BUILD})*)?$')"),
            "must be a full version, as in v1.2.3",
        )
    }

    /// A digest.
    pub(super) fn digest(self) -> Self {
        self.text(limits::DIGEST).rule("self.matches('^sha256:[0-9a-f]{64}$')", "must be sha256: and 64 hex digits")
    }

    /// `<os>-<arch>`.
    pub(super) fn platform(self) -> Self {
        self.text(limits::PLATFORM)
            .rule("self.matches('^[a-z0-9]{1,16}-[a-z0-9]{1,16}$')", "must be a platform, as in linux-amd64")
    }

    /// A constraint. Its grammar is beyond CEL: the operator reports what is wrong with it.
    pub(super) fn constraint(self) -> Self {
        self.text(limits::CONSTRAINT).one_line()
    }

    /// Text for people, without line ends and other control characters.
    pub(super) fn one_line(self) -> Self {
        self.rule("!self.matches('[[:cntrl:]]')", "must be one line without control characters")
    }
}
