//! Rules that several kinds share: conditions, label selectors and formats of strings.

use serde_json::json;

use super::editor::{SchemaEditor, SchemaField, YEAR};
use crate::values::{
    duration::{self, Bounds},
    limits,
};

/// Requires the object's name to be a DNS label. A rule on the root has no path, so its message names the
/// field.
pub(super) fn named_by_label(editor: &mut SchemaEditor) {
    editor.root().rule(
        "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
        "metadata.name: must be a DNS label: at most 63 lower-case letters, digits and -",
    );
}

/// Completes `status.conditions`, a list with one condition of each type.
pub(super) fn conditions(editor: &mut SchemaEditor) {
    editor.at("status.conditions").replace(json!({
        "type": "array",
        "maxItems": limits::CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string", "maxLength": limits::REASON, "description": "Type of the condition."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "Generation of the object for which the condition was set.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": limits::TIMESTAMP, "pattern": YEAR,
                    "description": "Time at which `status` last changed.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": limits::REASON,
                    "description": "Reason of the status, one word in CamelCase.",
                },
                "message": {
                    "type": "string", "maxLength": limits::STATUS_MESSAGE, "description": "Details for people.",
                },
            },
        },
    }));
}

const LABEL_KEY: &str = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\\\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?\
                         [A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$";
const LABEL_VALUE: &str = "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$";

/// Completes a label selector.
pub(super) fn selector(editor: &mut SchemaEditor, path: &str) {
    editor.at(path).replace(json!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that a host must have, with their values.",
                "maxProperties": limits::EXPRESSIONS,
                "additionalProperties": {"type": "string", "maxLength": limits::NAME},
                "x-kubernetes-validations": [
                    {
                        "rule": format!("self.all(key, key.size() <= {} && key.matches('{LABEL_KEY}'))", limits::LABEL_KEY),
                        "message": "every key must be a label key such as role or example.com/role",
                    },
                    {
                        "rule": format!("self.all(key, self[key].matches('{LABEL_VALUE}'))"),
                        "message": "every value must be a label value: at most 63 letters, digits, -, _ and .",
                    },
                ],
            },
            "matchExpressions": {
                "type": "array",
                "description": "Further requirements on the labels of a host. All of them must be met.",
                "maxItems": limits::EXPRESSIONS,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string", "maxLength": limits::LABEL_KEY, "description": "Key of the label.",
                            "x-kubernetes-validations": [{
                                "rule": format!("self.matches('{LABEL_KEY}')"),
                                "message": "must be a label key such as role or example.com/role",
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

impl SchemaField<'_> {
    /// Requires a duration within bounds.
    pub(super) fn duration(self, bounds: Bounds) -> Self {
        let [min, max] = [bounds.min, bounds.max].map(duration::format);
        self.text(limits::DURATION).rule(
            &format!(
                "self.size() > 0 && self.matches('^([0-9]{{1,6}}h)?([0-9]{{1,6}}m)?([0-9]{{1,8}}s)?$') && \
                 duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
            ),
            &format!("must be hours, minutes and seconds such as 1h30m, from {min} to {max}"),
        )
    }

    /// Requires a version with major, minor and patch.
    pub(super) fn full_version(self) -> Self {
        const NUMBER: &str = r"(0|[1-9]\d*)";
        const PRE: &str = r"(0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*)";
        const BUILD: &str = r"[\dA-Za-z-]+";
        // The grammar of semver.org with an optional v. The length is limited because of the cost of the rule.
        self.text(limits::RULE_VERSION).rule(
            &format!("self.matches(r'^v?{NUMBER}([.]{NUMBER}){{2}}(-{PRE}([.]{PRE})*)?([+]{BUILD}([.]{BUILD})*)?$')"),
            "must be a full version such as v1.2.3",
        )
    }

    /// Requires a SHA-256 digest.
    pub(super) fn digest(self) -> Self {
        self.text(limits::DIGEST)
            .rule("self.matches('^sha256:[0-9a-f]{64}$')", "must be sha256: and 64 lower-case hex digits")
    }

    /// Requires a platform, `<os>-<arch>`.
    pub(super) fn platform(self) -> Self {
        self.text(limits::PLATFORM)
            .rule("self.matches('^[a-z0-9]{1,16}-[a-z0-9]{1,16}$')", "must be a platform such as linux-amd64")
    }

    /// Requires a version constraint. CEL cannot check its grammar: the operator reports errors in it.
    pub(super) fn constraint(self) -> Self {
        self.text(limits::CONSTRAINT).one_line()
    }

    /// Requires a single line without control characters.
    pub(super) fn one_line(self) -> Self {
        self.rule("!self.matches('[[:cntrl:]]')", "must be one line without control characters")
    }
}
