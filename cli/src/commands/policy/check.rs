//! `d8 policy check`: validates policies without a cluster, and warns about what their author may not mean.

mod schema;
mod sources;
mod violation;

use std::{collections::BTreeSet, path::PathBuf};

use d8_crds::{
    decisions::validation::{
        CheckedPolicy,
        warnings::{PolicyContext, warnings},
    },
    records::policy::PluginPolicy,
    values::text::without_type_names,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use self::{
    schema::PolicySchema,
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
        let policy = if name.is_empty() { String::new() } else { format!(", policy {name}") };
        format!("{file}{document}{item}{policy}")
    }
}

pub(crate) fn run(args: &args::PolicyCheckArgs) -> Result<(), Failure> {
    let reports = check(&Sources::read(&args.files))?;
    let names = reports.iter().filter(|report| !report.name.is_empty()).map(|report| &report.name);
    output::print_document(args.output.format, &reports, names, |reports| print_text(reports))?;
    require_valid(&reports)
}

fn print_text(reports: &[CheckReport]) {
    for report in reports {
        let place = report.place();
        for warning in &report.warnings {
            output::print(format!("{place}: warning: {warning}"));
        }
        if report.valid {
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
        valid: false,
        errors: vec![Violation::new("", &unreadable.why)],
        warnings: Vec::new(),
    });
    let documents = sources.documents.iter().map(|document| check_one(&schema, document, now));
    Ok(unreadable.chain(documents).collect())
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
    let documents = sources.documents.into_iter();
    documents.map(|document| serde_json::from_value(document.content).map_err(decode_failure)).collect()
}

/// # Errors
/// A file cannot be read, or a policy is invalid.
fn require_valid(reports: &[CheckReport]) -> Result<(), Failure> {
    let refused: Vec<&CheckReport> = reports.iter().filter(|report| !report.valid).collect();
    let invalid = refused.iter().filter(|report| report.document.is_some()).count();
    let policies = reports.iter().filter(|report| report.document.is_some()).count();
    let unreadable = refused.len() - invalid;
    let verb = if invalid == 1 { "is" } else { "are" };
    let files = if unreadable == 1 { "1 file".to_owned() } else { format!("{unreadable} files") };
    let headline = match (invalid, unreadable) {
        (0, 0) => return Ok(()),
        (0, _) => format!("failed to read policies from {files}"),
        (_, 0) => format!("{invalid} of {policies} policies {verb} invalid"),
        _ => format!("{invalid} of {policies} policies {verb} invalid, and {files} cannot be read"),
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
    let content = &document.content;
    let mut errors = check_header(content);
    let checked = schema.check(content);
    errors.extend(checked.violations);
    let mut found = Vec::new();
    // What is wrong besides the values that the schema refuses.
    if let Some(rest) = checked.rest {
        match serde_json::from_value::<PluginPolicy>(rest) {
            Err(error) if errors.is_empty() => {
                errors.push(Violation::new("", without_type_names(&error.to_string())));
            }
            Err(_) => {}
            Ok(policy) => match CheckedPolicy::new(&policy) {
                Err(rejected) => merge(&mut errors, rejected.errors.iter().map(|e| Violation::new(&*e.field, &*e.why))),
                Ok(checked) => found = warnings(&checked, PolicyContext { now: Some(now), ..PolicyContext::default() }),
            },
        }
    }
    let mut errors: Vec<_> = errors.into_iter().map(|error| error.explained(content)).collect();
    errors.sort_by(|a, b| a.field.cmp(&b.field));
    CheckReport::of_document(document, errors, found)
}

/// Adds what the checked form refuses, in place of what the rules of the schema say about the same fields: the former
/// names the value.
fn merge(errors: &mut Vec<Violation>, refused: impl Iterator<Item = Violation>) {
    let refused = refused.filter(|new| !errors.iter().any(|error| error.is_of_schema && error.field == new.field));
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
        violations.push(Violation::new("metadata.name", "required"));
    }
    violations
}
