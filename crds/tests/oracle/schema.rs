//! The fields of a policy's spec. Rule 14: a spec with a field that is not among them cannot be decoded.

use serde_json::Value;

/// Fields by place. `*` stands for each item of a list. Places that are not here are values or maps.
const FIELDS: [(&str, &[&str]); 17] = [
    (
        "",
        &[
            "hostSelector",
            "defaults",
            "rules",
            "cli",
            "paused",
            "windows",
            "windowsFor",
            "blackouts",
            "subjects",
            "emergency",
            "rollout",
            "integrity",
            "missingDependencies",
        ],
    ),
    ("/hostSelector", &["matchLabels", "matchExpressions"]),
    ("/hostSelector/matchExpressions/*", &["key", "operator", "values"]),
    ("/defaults", &["access", "channel", "updates", "majorUpdates", "minAge"]),
    (
        "/rules/*",
        &[
            "plugins",
            "access",
            "message",
            "versions",
            "channel",
            "block",
            "pins",
            "updates",
            "majorUpdates",
            "minAge",
            "expedite",
        ],
    ),
    ("/rules/*/pins/*", &["version", "digest"]),
    // The fields of a rule except access, for no plugins.
    ("/cli", &["message", "versions", "channel", "block", "pins", "updates", "majorUpdates", "minAge", "expedite"]),
    ("/cli/pins/*", &["version", "digest"]),
    ("/windows/*", &["days", "start", "duration", "timeZone"]),
    ("/blackouts/*", &["from", "to", "timeZone", "reason"]),
    ("/subjects", &["users", "groups"]),
    ("/emergency", &["until"]),
    ("/rollout", &["over", "maxFailed", "canarySelector", "canaryPercent", "requireSucceeded"]),
    ("/rollout/requireSucceeded", &["hosts", "for"]),
    ("/rollout/canarySelector", &["matchLabels", "matchExpressions"]),
    ("/rollout/canarySelector/matchExpressions/*", &["key", "operator", "values"]),
    ("/integrity", &["movedTags", "signature"]),
];

/// Returns whether a spec has an unknown field.
pub(crate) fn has_unknown_field(spec: &Value) -> bool {
    search(spec, "")
}

fn search(value: &Value, place: &str) -> bool {
    match value {
        Value::Object(fields) => {
            let known = FIELDS.iter().find(|(of, _)| *of == place).map(|(_, known)| *known);
            fields.iter().any(|(field, value)| {
                known.is_some_and(|known| !known.contains(&field.as_str()))
                    || search(value, &format!("{place}/{field}"))
            })
        }
        Value::Array(items) => items.iter().any(|item| search(item, &format!("{place}/*"))),
        _ => false,
    }
}
