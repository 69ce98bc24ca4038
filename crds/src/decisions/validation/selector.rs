//! Label selectors, which select the hosts of a policy.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::values::{field_error::FieldErrors, limits, spelling::nearest};

/// A valid label selector. Without requirements it matches every host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<LabelRequirement>,
}

/// A requirement on one label, as in `labels.LabelRequirement` of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelRequirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Parses the selector at the path `field`. Adds everything that is wrong with it to `errors`.
    pub(super) fn parse(selector: &LabelSelector, field: &str, errors: &mut FieldErrors) -> Option<Self> {
        let before = errors.len();
        let mut requirements = Vec::new();
        let labels = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
        errors.check_length(&format!("{field}.matchLabels"), labels, limits::EXPRESSIONS);
        let expressions = selector.match_expressions.as_ref().map_or(0, Vec::len);
        errors.check_length(&format!("{field}.matchExpressions"), expressions, limits::EXPRESSIONS);
        for (key, value) in selector.match_labels.iter().flatten() {
            let field = format!("{field}.matchLabels[{key:?}]");
            check_key(key, &field, errors);
            check_value(value, &field, errors);
            requirements.push(LabelRequirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) });
        }
        for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
            requirements.extend(requirement(expression, &format!("{field}.matchExpressions[{i}]"), errors));
        }
        (errors.len() == before).then_some(Self { requirements })
    }

    /// Parses a selector of an object that cannot be decoded as a whole.
    pub(crate) fn from_json(selector: &serde_json::Value) -> Option<Self> {
        let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
        Self::parse(&selector, "spec.hostSelector", &mut FieldErrors::default())
    }

    /// Says which of the labels no host has, and which label is near. `known`: the values of each key.
    pub(super) fn unknown_labels(&self, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let did_you_mean =
            |near: Option<String>| near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let hint = |LabelRequirement { key, operator }: &LabelRequirement| match (operator, known.get(key)) {
            (Operator::In(_) | Operator::Exists, None) => {
                let near = nearest(key, known.keys().map(String::as_str)).map(str::to_owned);
                Some(format!("no host has label `{key}`{}", did_you_mean(near)))
            }
            (Operator::In(values), Some(known)) if !values.iter().any(|value| known.contains(value)) => {
                let value = values.first()?;
                let near = nearest(value, known.iter().map(String::as_str)).map(|near| format!("{key}={near}"));
                Some(format!("no host has `{key}={value}`{}", did_you_mean(near)))
            }
            _ => None,
        };
        self.requirements.iter().filter_map(hint).collect()
    }

    /// Returns whether the selector matches a host with these labels. As in Kubernetes, `NotIn` and
    /// `DoesNotExist` also match a missing label.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|LabelRequirement { key, operator }| {
            let value = labels.get(key);
            match operator {
                Operator::In(values) => value.is_some_and(|v| values.contains(v)),
                Operator::NotIn(values) => !value.is_some_and(|v| values.contains(v)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

fn requirement(
    expression: &LabelSelectorRequirement,
    field: &str,
    errors: &mut FieldErrors,
) -> Option<LabelRequirement> {
    check_key(&expression.key, &format!("{field}.key"), errors);
    let values = expression.values.clone().unwrap_or_default();
    errors.check_length(&format!("{field}.values"), values.len(), limits::EXPRESSION_VALUES);
    for (i, value) in values.iter().enumerate() {
        check_value(value, &format!("{field}.values[{i}]"), errors);
    }
    let operator = match expression.operator.as_str() {
        operator @ ("In" | "NotIn") if values.is_empty() => {
            errors.add(format!("{field}.values"), format!("{operator} needs at least one value"));
            return None;
        }
        operator @ ("Exists" | "DoesNotExist") if !values.is_empty() => {
            errors.add(format!("{field}.values"), format!("{operator} takes no values"));
            return None;
        }
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            let why = format!("{other:?} is not one of In, NotIn, Exists, DoesNotExist");
            errors.add(format!("{field}.operator"), why);
            return None;
        }
    };
    Some(LabelRequirement { key: expression.key.clone(), operator })
}

/// Checks the key of a label: an optional DNS subdomain and `/`, then a name of at most 63 characters
/// (Kubernetes, "Labels and selectors: syntax and character set").
fn check_key(key: &str, field: &str, errors: &mut FieldErrors) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_valid = prefix.is_none_or(|p| {
        p.len() <= limits::DNS_SUBDOMAIN
            && p.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    });
    if !prefix_is_valid || name.is_empty() || !is_label_text(name) {
        errors.add(field, format!("{:?} is not a label key", shortened(key)));
    }
}

fn check_value(value: &str, field: &str, errors: &mut FieldErrors) {
    if !is_label_text(value) {
        errors.add(field, format!("{:?} is not a label value", shortened(value)));
    }
}

fn is_label_text(text: &str) -> bool {
    text.len() <= limits::NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with(['-', '_', '.'])
        && !text.ends_with(['-', '_', '.'])
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(selector: Value) -> Result<Selector, Vec<String>> {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let mut errors = FieldErrors::default();
        let selector = Selector::parse(&selector, "spec.hostSelector", &mut errors);
        selector.ok_or_else(|| errors.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn selectors_match_labels() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let bastion: BTreeMap<_, _> = labels(&[("role", "bastion"), ("zone", "a")]);
        let bare: BTreeMap<_, _> = labels(&[]);
        for (selector, on_bastion, on_bare) in [
            (json!({}), true, true),
            (json!({"matchLabels": {"role": "bastion"}}), true, false),
            (json!({"matchLabels": {"role": "ci"}}), false, false),
            (json!({"matchLabels": {"role": "bastion", "zone": "b"}}), false, false),
            (
                json!({"matchExpressions": [{"key": "role", "operator": "In", "values": ["ci", "bastion"]}]}),
                true,
                false,
            ),
            (json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["bastion"]}]}), false, true),
            (json!({"matchExpressions": [{"key": "role", "operator": "Exists"}]}), true, false),
            (json!({"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}), false, true),
            (
                json!({"matchLabels": {"zone": "a"}, "matchExpressions": [{"key": "role", "operator": "Exists"}]}),
                true,
                false,
            ),
        ] {
            let parsed = parse(selector.clone()).unwrap();
            assert_eq!(parsed.matches(&bastion), on_bastion, "{selector} on a bastion");
            assert_eq!(parsed.matches(&bare), on_bare, "{selector} on a bare host");
        }
    }

    #[test]
    fn errors_name_their_field() {
        for (selector, error) in [
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}),
                r#"spec.hostSelector.matchExpressions[0].operator: "Near" is not one of In, NotIn, Exists, DoesNotExist"#,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "In"}]}),
                "spec.hostSelector.matchExpressions[1].values: In needs at least one value",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                "spec.hostSelector.matchExpressions[0].values: Exists takes no values",
            ),
            (
                json!({"matchExpressions": [{"key": "", "operator": "Exists"}]}),
                r#"spec.hostSelector.matchExpressions[0].key: "" is not a label key"#,
            ),
            (
                json!({"matchLabels": {"-x/y": "z"}}),
                r#"spec.hostSelector.matchLabels["-x/y"]: "-x/y" is not a label key"#,
            ),
            (json!({"matchLabels": {"a": "b c"}}), r#"spec.hostSelector.matchLabels["a"]: "b c" is not a label value"#),
        ] {
            assert_eq!(parse(selector), Err(vec![error.to_owned()]));
        }
    }
}
