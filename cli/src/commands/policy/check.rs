//! `d8 policy check`: validates policies without a cluster, and warns about what their author may not mean.

mod schema;
mod sources;
mod violation;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use d8_crds::{
    decisions::validation::{
        CheckedPolicy,
        warnings::{PolicyContext, warnings},
    },
    records::policy::PluginPolicy,
    values::text::without_type_names,
};
use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    schema::{PolicySchema, is_of_refused},
    sources::{Document, Sources},
    violation::Violation,
};
use crate::{
    args,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// An entry of the JSON document (`docs/policy-commands.md`).
#[derive(Debug, Serialize)]
struct CheckReport {
    /// The file as it was named; `standard input` for `-`.
    file: String,
    /// Number of the document in the file, from 1; absent: the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<usize>,
    /// Number of the policy in a list, from 1; absent: the document is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<usize>,
    name: String,
    /// The kind of an object that is no policy and was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    valid: bool,
    errors: Vec<Violation>,
    warnings: Vec<String>,
}

impl CheckReport {
    fn of_document(document: &Document, errors: Vec<Violation>, warnings: Vec<String>) -> Self {
        let name = document.content.pointer("/metadata/name").and_then(Value::as_str);
        Self {
            file: document.file.clone(),
            document: Some(document.number),
            item: document.item,
            name: name.unwrap_or("without a name").to_owned(),
            skipped: document.other_kind().map(str::to_owned),
            valid: errors.is_empty(),
            errors,
            warnings,
        }
    }

    /// `policies.yaml, document 2, policy bastions`.
    fn place(&self) -> String {
        let Self { file, document, item, name, .. } = self;
        let document = document.map(|number| format!(", document {number}")).unwrap_or_default();
        let item = item.map(|number| format!(", item {number}")).unwrap_or_default();
        let kind = self.skipped.as_deref().unwrap_or("policy");
        let policy = if name.is_empty() { String::new() } else { format!(", {kind} {name}") };
        format!("{file}{document}{item}{policy}")
    }

    /// Returns whether the report is about a policy, and not about a file or an object of another kind.
    fn is_of_policy(&self) -> bool {
        self.document.is_some() && self.skipped.is_none()
    }
}

pub(crate) fn run(args: &args::PolicyCheckArgs) -> Result<(), Failure> {
    let reports = check(&Sources::read(&args.files))?;
    let names = reports.iter().filter(|report| report.is_of_policy()).map(|report| &report.name);
    output::print_document(args.output.format, &reports, names, |reports| print_text(reports))?;
    require_valid(&reports)
}

fn print_text(reports: &[CheckReport]) {
    for report in reports {
        let place = report.place();
        for warning in &report.warnings {
            output::print(format!("{place}: warning: {warning}"));
        }
        if report.skipped.is_some() {
            output::print(format!("{place}: skipped, it is no PluginPolicy"));
        } else if report.valid {
            output::print(format!("{place}: valid"));
        }
    }
}

/// Checks each document.
///
/// # Errors
/// This d8 has no schema of policies.
fn check(sources: &Sources) -> Result<Vec<CheckReport>, Failure> {
    let schema_failure = |why: String| Failure::new(Code::Failed, "failed to load the schema of policies").because(why);
    let schema = PolicySchema::load().map_err(schema_failure)?;
    let now = Timestamp::now();
    let unreadable = sources.unreadable.iter().map(|unreadable| CheckReport {
        file: unreadable.file.clone(),
        document: None,
        item: None,
        name: String::new(),
        skipped: None,
        valid: false,
        errors: vec![Violation::new("", &unreadable.why)],
        warnings: Vec::new(),
    });
    let documents = sources.documents.iter().map(|document| check_one(&schema, document, now));
    let mut reports: Vec<_> = unreadable.chain(documents).collect();
    repeated_names(&mut reports);
    Ok(reports)
}

/// Warns about policies with the name of an earlier one.
fn repeated_names(reports: &mut [CheckReport]) {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for report in reports.iter_mut().filter(|report| report.is_of_policy()) {
        let place = report.place();
        match first.get(&report.name) {
            Some(first) => {
                let warning = format!("the policy is also in {first}; of both, the one that is applied last counts");
                report.warnings.push(warning);
            }
            None => drop(first.insert(report.name.clone(), place)),
        }
    }
}

/// Reads the documents of all files, checks them and decodes them.
///
/// # Errors
/// As [`require_valid`].
pub(super) fn decode(files: &[PathBuf]) -> Result<Vec<PluginPolicy>, Failure> {
    let sources = Sources::read(files);
    require_valid(&check(&sources)?)?;
    let decode_failure =
        |error: serde_json::Error| Failure::new(Code::Failed, "failed to decode a policy").caused_by(&error);
    let policies = sources.documents.into_iter().filter(|document| document.other_kind().is_none());
    policies.map(|document| serde_json::from_value(document.content).map_err(decode_failure)).collect()
}

/// # Errors
/// A file cannot be read, a policy is invalid, or there is none.
fn require_valid(reports: &[CheckReport]) -> Result<(), Failure> {
    let refused: Vec<&CheckReport> = reports.iter().filter(|report| !report.valid).collect();
    let invalid = refused.iter().filter(|report| report.document.is_some()).count();
    let policies = reports.iter().filter(|report| report.is_of_policy()).count();
    let unreadable = refused.len() - invalid;
    let files = if unreadable == 1 { "1 file".to_owned() } else { format!("{unreadable} files") };
    let are_invalid = match (invalid, policies) {
        (1, 1) => "the policy is invalid".to_owned(),
        (1, _) => format!("1 of {policies} policies is invalid"),
        _ => format!("{invalid} of {policies} policies are invalid"),
    };
    let headline = match (invalid, unreadable) {
        (0, 0) if policies == 0 => {
            return Err(Failure::new(Code::Failed, "the files have no policy")
                .advise("they have only objects of other kinds", "name a file with a PluginPolicy"));
        }
        (0, 0) => return Ok(()),
        (0, _) => format!("failed to read policies from {files}"),
        (_, 0) => are_invalid,
        _ => format!("{are_invalid}, and {files} cannot be read"),
    };
    let lines = refused.iter().flat_map(|report| {
        let place = report.place();
        report.errors.iter().map(move |error| format!("{place}: {error}"))
    });
    let failure = lines.fold(Failure::new(Code::Failed, headline), Failure::because);
    if invalid == 0 {
        return Err(failure);
    }
    Err(failure.advise(
        "the API server or the operator would reject them",
        "see the fields: `kubectl explain pluginpolicies.spec`",
    ))
}

fn check_one(schema: &PolicySchema, document: &Document, now: Timestamp) -> CheckReport {
    if document.other_kind().is_some() {
        return CheckReport::of_document(document, Vec::new(), Vec::new());
    }
    let content = &document.content;
    let mut errors = check_header(content);
    let checked = schema.check(content);
    errors.extend(checked.violations);
    let mut found = Vec::new();
    // What is wrong besides the values that the schema refuses.
    if let Some(rest) = checked.rest {
        match decode_rest(rest, &mut errors).map(|policy| CheckedPolicy::new(&policy)) {
            Some(Err(rejected)) => {
                let refused = rejected.errors.iter().filter(|error| !is_of_refused(&checked.refused, &error.field));
                merge(&mut errors, refused.map(|error| Violation::new(&*error.field, &*error.why)));
            }
            // A policy that is read without the refused values may be warned about for their absence.
            Some(Ok(checked)) if errors.is_empty() => {
                found = warnings(&checked, PolicyContext { now: Some(now), ..PolicyContext::default() });
            }
            None | Some(Ok(_)) => {}
        }
    }
    let mut errors: Vec<_> = errors.into_iter().map(|error| error.explained(content)).collect();
    errors.sort_by(|a, b| a.field.cmp(&b.field));
    CheckReport::of_document(document, errors, found)
}

/// Decodes what is left of a policy without the values that the schema refuses. Metadata of the wrong form is an error,
/// and does not hide errors of the spec.
fn decode_rest(mut rest: Value, errors: &mut Vec<Violation>) -> Option<PluginPolicy> {
    let metadata = rest.get("metadata").cloned().unwrap_or_default();
    if let Err(error) = serde_json::from_value::<ObjectMeta>(metadata) {
        errors.push(Violation::new("metadata", without_type_names(&error.to_string())));
        rest.as_object_mut()?.insert("metadata".to_owned(), json!({"name": "without-a-name"}));
    }
    serde_json::from_value(rest)
        .map_err(|error| {
            if errors.is_empty() {
                errors.push(Violation::new("", without_type_names(&error.to_string())));
            }
        })
        .ok()
}

/// Adds what the checked form refuses, in place of what the rules of the schema say about the same fields: the former
/// names the value.
fn merge(errors: &mut Vec<Violation>, refused: impl Iterator<Item = Violation>) {
    let refused: Vec<_> = refused.collect();
    let fields: BTreeSet<&str> = refused.iter().map(|violation| violation.field.as_str()).collect();
    errors.retain(|error| !fields.contains(error.field.as_str()));
    errors.extend(refused);
}

/// Checks the fields that every object has.
fn check_header(document: &Value) -> Vec<Violation> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let mut violations = Vec::new();
    if text("/apiVersion") != Some("cli.deckhouse.io/v1alpha1") {
        violations.push(Violation::new("apiVersion", "must be cli.deckhouse.io/v1alpha1"));
    }
    if text("/kind") != Some("PluginPolicy") {
        violations.push(Violation::new("kind", "must be PluginPolicy"));
    }
    if text("/metadata/name").is_none_or(str::is_empty) {
        let is_set = document.pointer("/metadata/name").is_some_and(|name| !name.is_null());
        let message = if is_set { "must be a string that is not empty" } else { "required" };
        violations.push(Violation::new("metadata.name", message));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_value(content: Value) -> CheckReport {
        let document = Document { file: "policy.yaml".to_owned(), number: 1, item: None, content };
        check_one(&PolicySchema::load().unwrap(), &document, Timestamp::UNIX_EPOCH)
    }

    /// Neither a value of another kind nor a missing field hides errors of values.
    #[test]
    fn errors_of_values_beside_values_of_another_kind() {
        let report = check_value(json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": 5},
            "spec": {
                "rules": [{"plugins": ["tool"], "versions": "one", "block": [1.1, "one"]}, {"versions": "two"}],
                "rollout": {"maxFailed": 0},
                "blackouts": [{"from": "2026-11-27", "to": "2026-11-28"}],
            },
        }));
        let fields: Vec<&str> = report.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "metadata.name",
                "spec.blackouts[0].from",
                "spec.blackouts[0].reason",
                "spec.blackouts[0].to",
                "spec.hostSelector",
                "spec.rollout.maxFailed",
                "spec.rollout.over",
                "spec.rules[0].block[0]",
                "spec.rules[0].block[1]",
                "spec.rules[0].versions",
                "spec.rules[1].plugins",
                "spec.rules[1].versions",
            ],
            "{:#?}",
            report.errors
        );
    }

    #[test]
    fn the_second_policy_of_a_name_is_warned_about() {
        let policy = |name: &str| {
            check_value(json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
                "metadata": {"name": name}, "spec": {"hostSelector": {}}}))
        };
        let record =
            json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "a"}});
        let mut reports = vec![check_value(record), policy("a"), policy("b"), policy("a")];
        repeated_names(&mut reports);
        let warnings: Vec<_> = reports.iter().map(|report| report.warnings.len()).collect();
        assert_eq!(warnings, [0, 0, 0, 1]);
        let expected =
            "the policy is also in policy.yaml, document 1, policy a; of both, the one that is applied last counts";
        assert_eq!(reports[3].warnings, [expected]);
    }
}
