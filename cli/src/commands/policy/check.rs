//! `d8 policy check`: is a policy valid, and does it say what its author means; without a cluster.

use std::io::Read as _;

use d8_crds::{
    decisions::validation::{
        CheckedPolicy,
        warnings::{PolicyContext, warnings},
    },
    records::policy::PluginPolicy,
};
use serde::Serialize;
use serde_json::Value;

use super::schema::{Problem, Rules};
use crate::{
    args,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// The document's shape (`docs/policies.md`).
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    valid: bool,
    errors: Vec<Problem>,
    warnings: Vec<String>,
}

pub(crate) fn run(args: &args::PolicyCheckArgs) -> Result<(), Failure> {
    let reports = examine(&read(&args.file)?)?;
    let names = reports.iter().map(|report| &report.name);
    output::print_document(args.output.format, &reports, names, |reports| print_text(reports))?;
    refuse(&reports)
}

fn print_text(reports: &[Report]) {
    for Report { name, errors, warnings, .. } in reports {
        for warning in warnings {
            output::print(format!("policy {name}: warning: {warning}"));
        }
        if errors.is_empty() {
            output::print(format!("policy {name}: valid"));
        }
    }
}

/// What is to be said of each document.
///
/// # Errors
/// This d8 cannot check policies.
fn examine(documents: &[Value]) -> Result<Vec<Report>, Failure> {
    let unable = |why: String| Failure::new(Code::Failed, "policies cannot be checked").because(why);
    let rules = Rules::of_policies().map_err(unable)?;
    Ok(documents.iter().map(|document| report(&rules, document)).collect())
}

/// The policies of these documents.
///
/// # Errors
/// As [`refuse`].
pub(super) fn policies(documents: &[Value]) -> Result<Vec<PluginPolicy>, Failure> {
    refuse(&examine(documents)?)?;
    let undecodable =
        |error: serde_json::Error| Failure::new(Code::Failed, "a policy cannot be read").caused_by(&error);
    documents.iter().map(|document| serde_json::from_value(document.clone()).map_err(undecodable)).collect()
}

/// # Errors
/// What is wrong, if anything is.
fn refuse(reports: &[Report]) -> Result<(), Failure> {
    let wrong: Vec<&Report> = reports.iter().filter(|report| !report.valid).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Code::Failed, format!("{} of {} policies are not valid", wrong.len(), reports.len()));
    let lines = wrong
        .iter()
        .flat_map(|report| report.errors.iter().map(move |error| format!("policy {}: {error}", report.name)));
    Err(lines
        .fold(failure, Failure::because)
        .advise("the API server would refuse or the operator not accept it", "kubectl explain ppol.spec"))
}

/// All documents of a file, or of standard input.
///
/// # Errors
/// It cannot be read, is no YAML, or has no document.
pub(super) fn read(file: &std::path::Path) -> Result<Vec<Value>, Failure> {
    let what = || format!("policy file {} cannot be read", file.display());
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(Code::Failed, what()).caused_by(&error))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        Failure::new(Code::Failed, what()).because(error.to_string().lines().next().unwrap_or_default())
    })?;
    let documents: Vec<Value> = documents.into_iter().flat_map(items).filter(|document| !document.is_null()).collect();
    if documents.is_empty() {
        return Err(Failure::new(Code::Failed, what()).because("there is no document in it"));
    }
    Ok(documents)
}

/// The objects of a list, as `kubectl get -o yaml` writes one; anything else is one object.
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

fn report(rules: &Rules, document: &Value) -> Report {
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
    let mut errors = header(document);
    errors.extend(rules.check(document));
    let mut told = Vec::new();
    if errors.is_empty() {
        match serde_json::from_value::<PluginPolicy>(document.clone()) {
            Err(error) => errors.push(Problem::new("", error.to_string())),
            Ok(policy) => match CheckedPolicy::new(&policy) {
                Err(rejected) => errors.extend(rejected.errors.iter().map(|error| Problem::new("", error.to_string()))),
                Ok(checked) => told = warnings(&checked, PolicyContext::default()),
            },
        }
    }
    Report { name, valid: errors.is_empty(), errors, warnings: told }
}

/// What every object has, as far as it matters here.
fn header(document: &Value) -> Vec<Problem> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let mut problems = Vec::new();
    if text("/apiVersion") != Some("cli.deckhouse.io/v1alpha1") {
        problems.push(Problem::new("apiVersion", "it is cli.deckhouse.io/v1alpha1"));
    }
    if text("/kind") != Some("PluginPolicy") {
        problems.push(Problem::new("kind", "it is PluginPolicy"));
    }
    if text("/metadata/name").is_none_or(str::is_empty) {
        problems.push(Problem::new("metadata.name", "it is required"));
    }
    problems
}
