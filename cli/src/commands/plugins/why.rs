//! `d8 plugins why`: every published version with its verdict here, and every reason.

use std::{cmp::Reverse, sync::Arc};

use d8_agent::cluster::{RecordSelection, ViewOrigin};
use d8_crds::{
    decisions::{
        explain,
        intent::Intent,
        reason::{Cause, Class, Reason, ReasonCode, Subject},
        requirements::Unchecked,
        selection::PublishedVersion,
        verdict::Verdict,
    },
    values::name::Component,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    args,
    context::Context,
    planning::{
        Planning,
        messages::{lookup_failure, parse_version},
    },
    terminal::{
        failure::{Code, Failure},
        output,
        table::Table,
    },
};

/// The document's shape (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    component: String,
    /// The active version; absent: none, or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<String>,
    /// May the active version run.
    run_allowed: bool,
    /// The policies that speak for this host, by name.
    policies: Vec<String>,
    versions: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    version: String,
    verdict: Class,
    reasons: Vec<Reason>,
    /// What does not stop it and should be known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Reason>,
    /// When a hold ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    active: bool,
}

impl Row {
    /// The verdict, and what other plugins have to do with it.
    fn new(
        published: &PublishedVersion,
        active: bool,
        judgement: &Verdict,
        notes: Vec<Reason>,
        others: Vec<Reason>,
    ) -> Self {
        let mut reasons = judgement.reasons().to_vec();
        let more: Vec<Reason> = others.into_iter().filter(|other| !reasons.contains(other)).collect();
        let until = if more.is_empty() { judgement.until() } else { None };
        reasons.extend(more);
        reasons.sort_by_key(|reason| Reverse(reason.class()));
        let verdict = reasons.first().map_or(Class::Eligible, Reason::class);
        Self { version: published.tag.to_string(), verdict, until, reasons, notes, active }
    }

    /// A version of which is not known what it demands.
    fn broken(published: &PublishedVersion, subject: Subject, active: bool, failure: &Failure) -> Self {
        let cause = Cause::Unchecked(Unchecked::contract(&failure.summary()));
        let reason = Reason { subject: subject.into(), cause };
        Self {
            version: published.tag.to_string(),
            verdict: reason.class(),
            reasons: vec![reason],
            notes: Vec::new(),
            until: None,
            active,
        }
    }
}

pub(crate) async fn run(context: &Context, args: &args::PluginsWhyArgs) -> Result<(), Failure> {
    let name = &args.name;
    let component = Component::Plugin(name.clone());
    let asked = args.version.as_deref().map(|typed| parse_version(&component, typed)).transpose()?;
    let view = context.view(RecordSelection::Named(std::slice::from_ref(&component))).await?;
    let origin = view.origin;
    let policies = Arc::new(view.policy_set());
    let mut planning = Planning::of_plugins(context, view, policies.clone())?;
    let catalog = planning.published(&component, asked.as_ref()).await?;
    let chosen = match &args.version {
        Some(typed) => {
            let found = catalog.listing().find(typed);
            vec![found.map_err(|error| lookup_failure(&component, &error))?.clone()]
        }
        None => catalog.listing().published.clone(),
    };
    let active = planning.active(&component).cloned();
    let mut rows = Vec::new();
    for published in &chosen {
        let is_active = active.as_ref() == Some(&published.version);
        let row = match planning.verdict(&component, published, Intent::Update).await {
            Ok(judgement) => {
                let mut notes = judgement.notes().to_vec();
                if active.as_ref().is_none_or(|active| *active < published.version) {
                    notes.extend(windows(&planning.verdict(&component, published, Intent::Agent).await?));
                }
                let others = planning.plugin_reasons(&component, &published.version).await;
                Row::new(published, is_active, &judgement, notes, others)
            }
            // One version that is published broken hides nothing of the others.
            Err(failure) if failure.code == Code::Failed && args.version.is_none() => {
                let subject = Subject {
                    component: component.clone(),
                    version: Some(published.version.clone()),
                    active: active.clone(),
                    evaluated_at: None,
                };
                Row::broken(published, subject, is_active, &failure)
            }
            Err(failure) => return Err(failure),
        };
        rows.push(row);
    }
    let run = active.as_ref().map(|active| policies.run_allowed(&context.host(), &component, active));
    let document = Document {
        component: name.to_string(),
        active: active.as_ref().map(ToString::to_string),
        run_allowed: run.as_ref().is_none_or(Result::is_ok),
        policies: policies.matching(&context.host()).into_iter().map(str::to_owned).collect(),
        versions: rows,
    };
    let refusal = run.and_then(Result::err);
    let names = document.versions.iter().map(|row| &row.version);
    output::print_document(args.output.format, &document, names, |document| {
        show(context, document, origin, refusal.as_deref());
    })
}

/// Windows bind the agent alone; a person sees what it waits for.
fn windows(by_agent: &Verdict) -> Vec<Reason> {
    let of_windows =
        |reason: &&Reason| matches!(reason.code(), ReasonCode::OutsideWindow | ReasonCode::WindowsNeverMeet);
    by_agent.reasons().iter().filter(of_windows).cloned().collect()
}

fn show(context: &Context, document: &Document, origin: ViewOrigin, run: Option<&Reason>) {
    let Document { component, active, policies, versions, .. } = document;
    output::print(match active {
        Some(active) => format!("{component}: {active} is active"),
        None => format!("{component}: not installed"),
    });
    output::print(match (policies.is_empty(), origin) {
        (false, _) => format!("policies for this host: {}", policies.join(", ")),
        (true, ViewOrigin::Ungoverned) => "policies for this host: none; this cluster has no PluginPolicies".to_owned(),
        (true, _) => "policies for this host: none".to_owned(),
    });
    if let Some(reason) = run {
        output::print(format!("runs are refused: {}", explain::to_person(reason)));
    }
    let mut table = Table::new(&["", "VERSION", "VERDICT", "REASON"]);
    for row in versions {
        let mark = if row.active { "*" } else { "" };
        let verdict = format!("{:?}", row.verdict);
        let reasons = row.reasons.iter().map(explain::to_person);
        let mut lines = reasons.chain(row.notes.iter().map(|note| format!("note: {}", explain::to_person(note))));
        table.row([mark, &row.version, &verdict, &lines.next().unwrap_or_default()]);
        for line in lines {
            table.row(["", "", "", &line]);
        }
    }
    output::print_table(&table);
    let better = versions.iter().take_while(|row| !row.active).find(|row| row.verdict == Class::Eligible);
    if let Some(row) = better {
        let command = if active.is_some() { "update" } else { "install" };
        context.printer.note(format!("{} may be installed: d8 plugins {command} {component}", row.version));
    }
}
