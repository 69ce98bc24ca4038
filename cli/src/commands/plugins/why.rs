//! `d8 plugins why`: the verdict on each published version, with all reasons.

use std::{cmp::Reverse, sync::Arc};

use d8_agent::cluster::{Caller, RecordSelection, ViewOrigin};
use d8_crds::{
    decisions::{
        explain::{self, Listed},
        intent::Intent,
        reason::{Class, Reason, ReasonCode},
        selection::{PublishedVersion, TagList},
        verdict::Verdict,
    },
    records::release::LeftOutTags,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde::Serialize;

use super::newer_major;
use crate::{
    args,
    context::Context,
    installed,
    planning::{
        Planning,
        messages::{self, lookup_failure, parse_version},
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
    /// Whether the plugin is installed, damaged or not.
    installed: bool,
    /// The active version; absent if there is none or it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<String>,
    /// What is wrong with the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// Whether the active version may run.
    run_allowed: bool,
    /// Name of the person for whom the policies are evaluated; absent: not known, or no policy depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Names of the policies that apply to this host and this person.
    policies: Vec<String>,
    versions: Vec<VersionVerdict>,
    /// When the record that has the versions was last synced; absent if they come from the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sync_time: Option<Timestamp>,
    /// Whether versions are published and all of them are pre-releases.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    only_prereleases: bool,
    /// Published tags that are not versions.
    #[serde(skip_serializing_if = "LeftOutTags::is_empty")]
    left_out_tags: LeftOutTags,
    /// What to do next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<NextStep>,
}

/// A command, and what it does.
#[derive(Debug, Serialize)]
struct NextStep {
    #[serde(rename = "for")]
    purpose: String,
    command: String,
}

impl NextStep {
    fn new(purpose: &str, command: String) -> Self {
        Self { purpose: purpose.to_owned(), command }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionVerdict {
    version: String,
    verdict: Class,
    reasons: Vec<Listed>,
    /// Notes that do not prevent the installation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Listed>,
    /// When the hold ends without a change of policies or versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    active: bool,
    /// Why the active version is not among the published ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    unlisted: Option<String>,
    #[serde(skip)]
    parsed: Version,
}

impl VersionVerdict {
    /// Returns the row of an active version that is not listed.
    fn unlisted(planning: &Planning<'_>, component: &Component, active: &Version, why: String) -> Self {
        let verdict = planning.repair_verdict(component, active);
        Self {
            version: active.to_string(),
            verdict: verdict.class(),
            reasons: verdict.reasons().iter().cloned().map(Listed).collect(),
            notes: Vec::new(),
            until: verdict.until(),
            active: true,
            unlisted: Some(why),
            parsed: active.clone(),
        }
    }

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
        let [reasons, notes] = [reasons, notes].map(|reasons| reasons.into_iter().map(Listed).collect());
        let parsed = published.version.clone();
        Self { version: published.tag.to_string(), verdict, until, reasons, notes, active, unlisted: None, parsed }
    }

    /// Returns whether a person who names the version or its major version gets it.
    fn is_eligible_by_name(&self) -> bool {
        self.is_held_only_as(ReasonCode::MajorStays)
    }

    /// Returns whether there are no other reasons against the version.
    fn is_held_only_as(&self, code: ReasonCode) -> bool {
        self.reasons.iter().all(|Listed(reason)| reason.code() == code)
    }

    /// Returns a version whose details cannot be read.
    fn unreadable(
        planning: &Planning<'_>,
        component: &Component,
        published: &PublishedVersion,
        failure: &Failure,
    ) -> Self {
        let reason = planning.unreadable(component, &published.version, &failure.summary());
        Self {
            version: published.tag.to_string(),
            verdict: reason.class(),
            reasons: vec![Listed(reason)],
            notes: Vec::new(),
            until: None,
            active: planning.active(component) == Some(&published.version),
            unlisted: None,
            parsed: published.version.clone(),
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
    let mut planning = Planning::of_plugins(context, view, policies)?;
    let catalog = planning.published(&component, requested.as_ref()).await?;
    let (listing, record) = (catalog.listing().clone(), catalog.record().cloned());
    let mut versions = evaluate_all(&mut planning, &component, &listing, args.version.as_deref()).await?;
    if requested.is_none() {
        add_unlisted(&planning, &component, record.is_some(), &mut versions);
    }
    let only_prereleases = listing.newest_prerelease().is_some();
    let left_out_tags = if requested.is_none() { listing.left_out } else { LeftOutTags::default() };
    let installed = installed::verify(context, name)?;
    let active = planning.active(&component);
    let refusal = match active {
        Some(active) => planning.run_allowed(&component, active).err().map(|reason| *reason),
        None => installed.as_ref().and_then(|_| planning.policies().denied(&component)),
    };
    let mut report = WhyReport {
        component: name.to_string(),
        installed: installed.is_some(),
        active: active.map(ToString::to_string),
        damage: installed.and_then(|plugin| plugin.damage()),
        run_allowed: refusal.is_none(),
        user: planning.caller().user().map(|user| user.username.clone()),
        policies: planning.policies().policy_names().into_iter().map(str::to_owned).collect(),
        versions,
        last_sync_time: record.and_then(|record| Some(record.status?.last_sync_time?.0)),
        only_prereleases,
        left_out_tags,
        next: Vec::new(),
    };
    report.next = next_steps(&report, &planning, &component, requested.is_some());
    if report.next.is_empty() && !report.run_allowed {
        report.next.push(NextStep::new("remove it", format!("d8 plugins remove {component}")));
    }
    let versions = report.versions.iter().map(|version| &version.version);
    output::print_document(args.output.format, &report, versions, |report| {
        print_text(context, report, (origin, planning.caller()), refusal.as_ref());
    })
}

/// Adds the active version, unless it is listed.
fn add_unlisted(planning: &Planning<'_>, component: &Component, is_recorded: bool, versions: &mut Vec<VersionVerdict>) {
    let Some(active) = planning.active(component).filter(|_| versions.iter().all(|version| !version.active)) else {
        return;
    };
    let why = if is_recorded {
        format!(
            "the record of {component} does not list it: it was withdrawn, or channel, versions or history of the \
             record leave it out"
        )
    } else {
        "it is not published any more".to_owned()
    };
    let index = versions.partition_point(|version| version.parsed > *active);
    versions.insert(index, VersionVerdict::unlisted(planning, component, active, why));
}

/// Returns the commands that change something: the repair, the newest version that can be installed, and the newest one
/// of a newer major version.
fn next_steps(report: &WhyReport, planning: &Planning<'_>, component: &Component, named: bool) -> Vec<NextStep> {
    let active = planning.active(component);
    let mut next = Vec::new();
    if report.damage.is_some() && report.run_allowed {
        next.push(NextStep::new("repair it", format!("d8 plugins install {component}")));
    }
    let eligible = report.versions.iter().filter(|version| version.verdict == Class::Eligible && !version.active);
    let take = |version: &VersionVerdict, command| NextStep::new(&format!("take {}", version.version), command);
    if named {
        next.extend(eligible.map(|version| take(version, explain::install(component, &version.parsed))));
        return next;
    }
    let stays = |version: &&VersionVerdict| active.is_none_or(|active| active.major() == version.parsed.major());
    let is_newer = |version: &&VersionVerdict| active.is_none_or(|active| *active < version.parsed);
    // A forbidden version is left for an older one or another major version, too.
    let leaves = planning.forbidden(component).is_some();
    let within = eligible.clone().find(|version| stays(version) && (leaves || is_newer(version)));
    if let Some(version) = within.or_else(|| eligible.clone().find(|_| leaves)) {
        let command = match active {
            Some(_) => format!("d8 plugins update {component}"),
            None => format!("d8 plugins install {component}"),
        };
        next.push(take(version, command));
    }
    // Nobody gets a pre-release who does not name it.
    let by_name = |version: &&VersionVerdict| version.is_held_only_as(ReasonCode::PreRelease) && is_newer(version);
    if report.only_prereleases
        && let Some(version) = report.versions.iter().find(by_name)
    {
        next.push(take(version, explain::install(component, &version.parsed)));
        return next;
    }
    let mut crossing = report.versions.iter().filter(|version| version.is_eligible_by_name());
    if let Some(version) = crossing.find(|version| !leaves && is_newer(version) && !stays(version)) {
        next.push(take(version, newer_major::command(component, &version.parsed)));
    }
    next
}

/// Evaluates the version that a person typed, or all versions. One that cannot be read does not hide the others.
async fn evaluate_all(
    planning: &mut Planning<'_>,
    component: &Component,
    listing: &TagList,
    typed: Option<&str>,
) -> Result<Vec<VersionVerdict>, Failure> {
    if let Some(typed) = typed {
        let found = listing.find(typed).map_err(|error| lookup_failure(component, &error))?;
        return Ok(vec![evaluate(planning, component, found).await?]);
    }
    let mut versions = Vec::with_capacity(listing.published.len());
    for published in &listing.published {
        versions.push(match evaluate(planning, component, published).await {
            Err(failure) if failure.code == Code::Failed => {
                VersionVerdict::unreadable(planning, component, published, &failure)
            }
            result => result?,
        });
    }
    Ok(versions)
}

/// Evaluates a version for a person who updates, and notes the windows and blackouts that bind the agent only.
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
        notes.extend(window_reasons(&planning.verdict(component, published, Intent::Agent).await?, &verdict));
    }
    let plugin_reasons = planning.plugin_reasons(component, &published.version).await;
    Ok(VersionVerdict::new(published, active == Some(&published.version), &verdict, notes, plugin_reasons))
}

/// Returns the reasons about windows and blackouts in a verdict for the agent that do not hold people, who see them as
/// notes.
fn window_reasons(agent: &Verdict, person: &Verdict) -> Vec<Reason> {
    let is_window = |reason: &&Reason| {
        matches!(reason.code(), ReasonCode::OutsideWindow | ReasonCode::Blackout | ReasonCode::WindowsNeverMeet)
    };
    let holds = |reason: &Reason, other: &Reason| (reason.code(), reason.policy()) == (other.code(), other.policy());
    let is_new = |reason: &&Reason| !person.reasons().iter().any(|other| holds(reason, other));
    agent.reasons().iter().filter(is_window).filter(is_new).cloned().collect()
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

fn print_text(
    context: &Context,
    report: &WhyReport,
    (origin, caller): (ViewOrigin, &Caller),
    refusal: Option<&Reason>,
) {
    let WhyReport { component, policies, .. } = report;
    let whose = format!("policies for this host{}", messages::acting_as(caller));
    output::print(format!("{component}: {}", state(report)));
    if let Some(damage) = &report.damage {
        output::print(format!("damage: {damage}"));
    }
    output::print(match (policies.is_empty(), origin) {
        (false, _) => format!("{whose}: {}", policies.join(", ")),
        (true, ViewOrigin::Ungoverned) => format!("{whose}: none (the cluster has no PluginPolicies)"),
        (true, _) => format!("{whose}: none"),
    });
    if let Some(reason) = refusal {
        output::print(format!("{component} may not run: {}", explain::in_list(reason)));
    }
    if report.only_prereleases {
        output::print("Only pre-releases are published. d8 installs them if you name the version.");
    }
    output::print_table(&table(&report.versions));
    for line in left_out_lines(&report.left_out_tags) {
        output::print(line);
    }
    for NextStep { purpose, command } in &report.next {
        context.printer.note(format!("to {purpose}: `{command}`"));
    }
}

/// Returns what is installed, in words.
fn state(report: &WhyReport) -> String {
    match (&report.active, &report.damage) {
        (Some(active), None) => format!("{active} is active"),
        (Some(active), Some(_)) => format!("{active} is installed, but damaged"),
        (None, Some(_)) => "installed in an unknown version, and damaged".to_owned(),
        (None, None) if report.installed => "installed by another tool, in an unknown version".to_owned(),
        (None, None) => "not installed".to_owned(),
    }
}

fn table(versions: &[VersionVerdict]) -> Table {
    let mut table = Table::new(&["", "VERSION", "VERDICT", "REASON"]);
    for version in versions {
        let mark = if version.active { "*" } else { "" };
        let verdict = format!("{:?}", version.verdict);
        let reasons = version.reasons.iter().map(|Listed(reason)| explain::in_list(reason));
        let notes = version.notes.iter().map(|Listed(note)| format!("note: {}", explain::in_list(note)));
        let mut lines = reasons.chain(version.unlisted.clone()).chain(notes);
        table.row([mark, &version.version, &verdict, &lines.next().unwrap_or_default()]);
        for line in lines {
            table.row(["", "", "", &line]);
        }
    }
    table
}
