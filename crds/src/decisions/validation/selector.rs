//! Which hosts a policy speaks for: a label selector, read once, asked often.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{decisions::validation::Findings, values::limits};

/// A label selector that was found valid. Without any requirement it matches every host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads a selector found at `field`; whatever is wrong with it goes to `findings`.
    pub(super) fn read(selector: &LabelSelector, field: &str, findings: &mut Findings) -> Option<Self> {
        let before = findings.count();
        let mut requirements = Vec::new();
        let labels = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
        findings.limit(&format!("{field}.matchLabels"), labels, limits::EXPRESSIONS);
        let expressions = selector.match_expressions.as_ref().map_or(0, Vec::len);
        findings.limit(&format!("{field}.matchExpressions"), expressions, limits::EXPRESSIONS);
        for (key, value) in selector.match_labels.iter().flatten() {
            let field = format!("{field}.matchLabels[{key:?}]");
            check_key(key, &field, findings);
            check_value(value, &field, findings);
            requirements.push(Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) });
        }
        for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let field = format!("{field}.matchExpressions[{i}]");
            check_key(&expression.key, &format!("{field}.key"), findings);
            let values = expression.values.clone().unwrap_or_default();
            findings.limit(&format!("{field}.values"), values.len(), limits::EXPRESSION_VALUES);
            for (j, value) in values.iter().enumerate() {
                check_value(value, &format!("{field}.values[{j}]"), findings);
            }
            let test = match expression.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => {
                    findings
                        .add(format!("{field}.values"), format!("{} needs at least one value", expression.operator));
                    continue;
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    findings.add(format!("{field}.values"), format!("{} takes no values", expression.operator));
                    continue;
                }
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                other => {
                    findings.add(
                        format!("{field}.operator"),
                        format!("{other:?} is none of In, NotIn, Exists, DoesNotExist"),
                    );
                    continue;
                }
            };
            requirements.push(Requirement { key: expression.key.clone(), test });
        }
        (findings.count() == before).then_some(Self { requirements })
    }

    /// Reads a selector of an object that could not be read as a whole.
    pub(crate) fn from_json(selector: &serde_json::Value) -> Option<Self> {
        let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
        Self::read(&selector, "spec.hostSelector", &mut Findings::default())
    }

    /// Whether a host with these labels is meant. `NotIn` and `DoesNotExist` match a missing label too
    /// (as Kubernetes reads selectors).
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|Requirement { key, test }| {
            let value = labels.get(key);
            match test {
                Test::In(values) => value.is_some_and(|v| values.contains(v)),
                Test::NotIn(values) => !value.is_some_and(|v| values.contains(v)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// A label's key: an optional DNS subdomain and `/`, then a name of at most 63 characters
/// (Kubernetes, "Labels and selectors: syntax and character set").
fn check_key(key: &str, field: &str, findings: &mut Findings) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_good = prefix.is_none_or(|p| {
        p.len() <= 253
            && p.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    });
    if !prefix_is_good || name.is_empty() || !is_label_text(name) {
        findings.add(field, format!("{:?} is not a label key", cut(key)));
    }
}

fn check_value(value: &str, field: &str, findings: &mut Findings) {
    if !is_label_text(value) {
        findings.add(field, format!("{:?} is not a label value", cut(value)));
    }
}

fn is_label_text(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with(['-', '_', '.'])
        && !text.ends_with(['-', '_', '.'])
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(selector: Value) -> Result<Selector, Vec<String>> {
        let selector: LabelSelector = serde_json::from_value(selector).expect("shape");
        let mut findings = Findings::default();
        let read = Selector::read(&selector, "spec.hostSelector", &mut findings);
        read.ok_or_else(|| findings.into_errors().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_matches() {
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
            let read = read(selector.clone()).unwrap();
            assert_eq!(read.matches(&bastion), on_bastion, "{selector} on a bastion");
            assert_eq!(read.matches(&bare), on_bare, "{selector} on a bare host");
        }
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (selector, error) in [
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}),
                r#"spec.hostSelector.matchExpressions[0].operator: "Near" is none of In, NotIn, Exists, DoesNotExist"#,
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
            assert_eq!(read(selector), Err(vec![error.to_owned()]));
        }
    }
}
