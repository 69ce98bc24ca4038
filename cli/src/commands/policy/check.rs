//! `d8 policy check`: validates policies without a cluster, and warns about what their author may not mean.

use std::path::Path;

use d8_crds::{
    decisions::validation::{
        CheckedPolicy,
        warnings::{PolicyContext, warnings},
    },
    records::policy::PluginPolicy,
    values::{encoding, limits::POLICY_FILE_BYTES, text::without_type_names},
};
use d8_rpp::file;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::schema::{PolicySchema, Violation};
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
    name: String,
    valid: bool,
    errors: Vec<Violation>,
    warnings: Vec<String>,
}

pub(crate) fn run(args: &args::PolicyCheckArgs) -> Result<(), Failure> {
    let reports = check(&read(&args.file)?)?;
    let names = reports.iter().map(|report| &report.name);
    output::print_document(args.output.format, &reports, names, |reports| print_text(reports))?;
    require_valid(&reports)
}

fn print_text(reports: &[CheckReport]) {
    for CheckReport { name, errors, warnings, .. } in reports {
        for warning in warnings {
            output::print(format!("policy {name}: warning: {warning}"));
        }
        if errors.is_empty() {
            output::print(format!("policy {name}: valid"));
        }
    }
}

/// Checks each document.
///
/// # Errors
/// This d8 has no schema of policies.
fn check(documents: &[Value]) -> Result<Vec<CheckReport>, Failure> {
    let schema_failure = |why: String| Failure::new(Code::Failed, "failed to load the schema of policies").because(why);
    let schema = PolicySchema::load().map_err(schema_failure)?;
    let now = Timestamp::now();
    Ok(documents.iter().map(|document| check_one(&schema, document, now)).collect())
}

/// Checks documents and decodes them.
///
/// # Errors
/// As [`require_valid`].
pub(super) fn decode(documents: &[Value]) -> Result<Vec<PluginPolicy>, Failure> {
    require_valid(&check(documents)?)?;
    let decode_failure =
        |error: serde_json::Error| Failure::new(Code::Failed, "failed to decode a policy").caused_by(&error);
    documents.iter().map(|document| serde_json::from_value(document.clone()).map_err(decode_failure)).collect()
}

/// # Errors
/// A policy is invalid.
fn require_valid(reports: &[CheckReport]) -> Result<(), Failure> {
    let invalid: Vec<&CheckReport> = reports.iter().filter(|report| !report.valid).collect();
    let verb = match invalid.len() {
        0 => return Ok(()),
        1 => "is",
        _ => "are",
    };
    let failure = Failure::new(Code::Failed, format!("{} of {} policies {verb} invalid", invalid.len(), reports.len()));
    let lines = invalid
        .iter()
        .flat_map(|report| report.errors.iter().map(move |error| format!("policy {}: {error}", report.name)));
    Err(lines.fold(failure, Failure::because).advise(
        "the API server or the operator would reject them",
        "see the fields: `kubectl explain pluginpolicies.spec`",
    ))
}

/// Reads all documents of a file, or of standard input for `-`.
///
/// # Errors
/// The file cannot be read, is not YAML, or has no document.
pub(super) fn read(path: &Path) -> Result<Vec<Value>, Failure> {
    let from_stdin = path.as_os_str() == "-";
    let source = if from_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failure = || Failure::new(Code::Failed, format!("failed to read policies from {source}"));
    let read = if from_stdin {
        file::read_at_most(std::io::stdin().lock(), POLICY_FILE_BYTES)
    } else {
        file::read_any(path, POLICY_FILE_BYTES)
    };
    let bytes = read.map_err(|error| failure().caused_by(&error))?;
    let text = encoding::decode(&bytes).map_err(|error| failure().caused_by(&error))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| failure().because(error.to_string().lines().next().unwrap_or_default()))?;
    let documents: Vec<Value> = documents.into_iter().flat_map(items).filter(|document| !document.is_null()).collect();
    if documents.is_empty() {
        return Err(failure().because("it has no document"));
    }
    Ok(documents)
}

/// Returns the objects of a list, such as `kubectl get -o yaml` prints; any other document is one object.
fn items(document: Value) -> Vec<Value> {
    match document {
        Value::Array(items) => items,
        Value::Object(mut object)
            if object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) =>
        {
            match object.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        document => vec![document],
    }
}

fn check_one(schema: &PolicySchema, document: &Value, now: Timestamp) -> CheckReport {
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
    let mut errors = check_header(document);
    errors.extend(schema.check(document));
    let mut found = Vec::new();
    if errors.is_empty() {
        match serde_json::from_value::<PluginPolicy>(document.clone()) {
            Err(error) => errors.push(Violation::new("", without_type_names(&error.to_string()).into_owned())),
            Ok(policy) => match CheckedPolicy::new(&policy) {
                Err(rejected) => {
                    errors.extend(rejected.errors.iter().map(|error| Violation::new("", error.to_string())));
                }
                Ok(checked) => found = warnings(&checked, PolicyContext { now: Some(now), ..PolicyContext::default() }),
            },
        }
    }
    CheckReport { name, valid: errors.is_empty(), errors, warnings: found }
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
