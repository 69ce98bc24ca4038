//! `d8 plugins why`: the verdict on each published version, with all reasons.

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
    records::release::LeftOutTags,
    values::{name::Component, version::Version},
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

/// The JSON document (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WhyReport {
    component: String,
    /// The active version; absent if there is none or it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<String>,
    /// Whether the active version may run.
    run_allowed: bool,
    /// Names of the policies that select this host.
    policies: Vec<String>,
    versions: Vec<VersionVerdict>,
    /// Published tags that are not versions.
    #[serde(skip_serializing_if = "LeftOutTags::is_empty")]
    left_out_tags: LeftOutTags,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionVerdict {
    version: String,
    verdict: Class,
    reasons: Vec<Reason>,
    /// Notes that do not prevent the installation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Reason>,
    /// When the hold ends without a change of policies or versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    active: bool,
}

impl VersionVerdict {
    /// Combines the verdict with the reasons of other plugins.
    fn new(
        published: &PublishedVersion,
        active: bool,
        verdict: &Verdict,
        notes: Vec<Reason>,
        plugin_reasons: Vec<Reason>,
    ) -> Self {
        let mut reasons = verdict.reasons().to_vec();
        let added: Vec<Reason> = plugin_reasons.into_iter().filter(|reason| !reasons.contains(reason)).collect();
        let until = if added.is_empty() { verdict.until() } else { None };
        reasons.extend(added);
        reasons.sort_by_key(|reason| Reverse(reason.class()));
        let verdict = reasons.first().map_or(Class::Eligible, Reason::class);
        Self { version: published.tag.to_string(), verdict, until, reasons, notes, active }
    }

    /// Returns a version whose details cannot be read.
    fn unreadable(
        component: &Component,
        published: &PublishedVersion,
        active: Option<&Version>,
        failure: &Failure,
    ) -> Self {
        let subject = Subject {
            component: component.clone(),
            version: Some(published.version.clone()),
            active: active.cloned(),
            evaluated_at: None,
        };
        let cause = Cause::Unchecked(Unchecked::contract(&failure.summary()));
        let reason = Reason { subject: subject.into(), cause };
        Self {
            version: published.tag.to_string(),
            verdict: reason.class(),
            reasons: vec![reason],
            notes: Vec::new(),
            until: None,
            active: active == Some(&published.version),
        }
    }
}

pub(crate) async fn run(context: &Context, args: &args::PluginsWhyArgs) -> Result<(), Failure> {
    let name = &args.name;
    let component = Component::Plugin(name.clone());
    let requested = args.version.as_deref().map(|typed| parse_version(&component, typed)).transpose()?;
    let view = context.view(RecordSelection::Named(std::slice::from_ref(&component))).await?;
    let origin = view.origin;
    let policies = Arc::new(view.policy_set());
    let mut planning = Planning::of_plugins(context, view, policies.clone())?;
    let listing = planning.published(&component, requested.as_ref()).await?.listing();
    let left_out_tags = if requested.is_none() { listing.left_out.clone() } else { LeftOutTags::default() };
    let versions = if let Some(typed) = &args.version {
        let found = listing.find(typed).map_err(|error| lookup_failure(&component, &error))?.clone();
        vec![evaluate(&mut planning, &component, &found).await?]
    } else {
        let published = listing.published.clone();
        evaluate_all(&mut planning, &component, &published).await?
    };
    let active = planning.active(&component).cloned();
    let run_allowed = active.as_ref().map(|active| planning.run_allowed(&component, active));
    let policies = policies.for_host(context.host());
    let report = WhyReport {
        component: name.to_string(),
        active: active.as_ref().map(ToString::to_string),
        run_allowed: run_allowed.as_ref().is_none_or(Result::is_ok),
        policies: policies.policy_names().into_iter().map(str::to_owned).collect(),
        versions,
        left_out_tags,
    };
    let refusal = run_allowed.and_then(Result::err);
    let versions = report.versions.iter().map(|version| &version.version);
    output::print_document(args.output.format, &report, versions, |report| {
        print_text(context, report, origin, refusal.as_deref());
    })
}

/// Evaluates versions. One that cannot be read does not hide the others.
async fn evaluate_all(
    planning: &mut Planning<'_>,
    component: &Component,
    published: &[PublishedVersion],
) -> Result<Vec<VersionVerdict>, Failure> {
    let mut versions = Vec::with_capacity(published.len());
    for published in published {
        versions.push(match evaluate(planning, component, published).await {
            Err(failure) if failure.code == Code::Failed => {
                VersionVerdict::unreadable(component, published, planning.active(component), &failure)
            }
            result => result?,
        });
    }
    Ok(versions)
}

/// Evaluates a version for a person who updates, and notes the windows that bind the agent.
async fn evaluate(
    planning: &mut Planning<'_>,
    component: &Component,
    published: &PublishedVersion,
) -> Result<VersionVerdict, Failure> {
    let active = planning.active(component).cloned();
    let active = active.as_ref();
    let verdict = planning.verdict(component, published, Intent::Update).await?;
    let mut notes = verdict.notes().to_vec();
    if active.is_none_or(|active| *active < published.version) {
        notes.extend(window_reasons(&planning.verdict(component, published, Intent::Agent).await?));
    }
    let plugin_reasons = planning.plugin_reasons(component, &published.version).await;
    Ok(VersionVerdict::new(published, active == Some(&published.version), &verdict, notes, plugin_reasons))
}

/// Returns the reasons about windows in a verdict for the agent. Windows bind the agent only, so a person sees them as
/// notes.
fn window_reasons(verdict: &Verdict) -> Vec<Reason> {
    let is_window =
        |reason: &&Reason| matches!(reason.code(), ReasonCode::OutsideWindow | ReasonCode::WindowsNeverMeet);
    verdict.reasons().iter().filter(is_window).cloned().collect()
}

/// Returns the lines about tags that are not versions: a line for each reason, with its tags.
fn left_out_lines(left_out: &LeftOutTags) -> Vec<String> {
    if left_out.is_empty() {
        return Vec::new();
    }
    let tags = if left_out.count == 1 { "tag is" } else { "tags are" };
    let mut lines = vec![format!("{} published {tags} left out:", left_out.count)];
    lines.extend(left_out.tags.iter().map(|tag| format!("  {}", tag.reason)));
    let shown = u32::try_from(left_out.tags.len()).unwrap_or(u32::MAX);
    if let Some(more) = left_out.count.checked_sub(shown).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn print_text(context: &Context, report: &WhyReport, origin: ViewOrigin, refusal: Option<&Reason>) {
    let WhyReport { component, active, policies, versions, .. } = report;
    output::print(match active {
        Some(active) => format!("{component}: {active} is active"),
        None => format!("{component}: not installed"),
    });
    output::print(match (policies.is_empty(), origin) {
        (false, _) => format!("policies for this host: {}", policies.join(", ")),
        (true, ViewOrigin::Ungoverned) => "policies for this host: none (the cluster has no PluginPolicies)".to_owned(),
        (true, _) => "policies for this host: none".to_owned(),
    });
    if let Some(reason) = refusal {
        output::print(format!("{component} may not run: {}", explain::to_person(reason)));
    }
    let mut table = Table::new(&["", "VERSION", "VERDICT", "REASON"]);
    for version in versions {
        let mark = if version.active { "*" } else { "" };
        let verdict = format!("{:?}", version.verdict);
        let reasons = version.reasons.iter().map(explain::to_person);
        let mut lines = reasons.chain(version.notes.iter().map(|note| format!("note: {}", explain::to_person(note))));
        table.row([mark, &version.version, &verdict, &lines.next().unwrap_or_default()]);
        for line in lines {
            table.row(["", "", "", &line]);
        }
    }
    output::print_table(&table);
    for line in left_out_lines(&report.left_out_tags) {
        output::print(line);
    }
    let newer = versions.iter().take_while(|version| !version.active);
    if let Some(VersionVerdict { version, .. }) = newer.into_iter().find(|newer| newer.verdict == Class::Eligible) {
        let command = match active {
            Some(_) => format!("d8 plugins update {component}"),
            None => format!("d8 plugins install {component}"),
        };
        context.printer.note(format!("{component} {version} can be installed: {command}"));
    }
}
