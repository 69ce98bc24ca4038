//! `d8 plugins why`: the verdict on each published version, with all reasons: for the person on this machine, or with
//! `--host` for the agent of a managed host.

mod text;

use std::{cmp::Reverse, sync::Arc};

use d8_agent::cluster::{RecordSelection, ViewOrigin};
use d8_crds::{
    decisions::{
        explain::{self, Listed},
        intent::Intent,
        reason::{Class, Reason, ReasonCode},
        selection::{PublishedVersion, TagList},
        verdict::{NextVersion, Verdict},
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
    managed_host::ManagedHost,
    planning::{
        Planning,
        messages::{lookup_failure, parse_version},
    },
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// The JSON document (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WhyReport {
    /// Name of the cluster.
    cluster: String,
    component: String,
    /// The managed host; absent for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
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
    /// Why policies forbid the active version, so that it must be left. It may still run.
    #[serde(skip_serializing_if = "Option::is_none")]
    must_leave: Option<Listed>,
    /// The policy that requires the plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    required_by: Option<RequiredBy>,
    /// What the agent of the managed host takes; absent for this machine.
    #[serde(flatten)]
    agent: Option<AgentPlan>,
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

/// What the agent of a managed host takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentPlan {
    /// The version that it would install now, or when its hold ends; null if there is none.
    target: Option<String>,
    /// What it installs first if nothing changes but the time; null if there is nothing.
    next_version: Option<NextVersion>,
}

/// The field of a policy that requires the plugin.
#[derive(Debug, Serialize)]
struct RequiredBy {
    policy: String,
    field: String,
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
    /// What else to know about the hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
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
        let verdict = planning.staying(component, active);
        Self {
            version: active.to_string(),
            verdict: verdict.class(),
            reasons: verdict.reasons().iter().cloned().map(Listed).collect(),
            notes: Vec::new(),
            remarks: Vec::new(),
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
        let (version, remarks) = (published.tag.to_string(), Vec::new());
        Self { version, verdict, until, reasons, notes, remarks, active, unlisted: None, parsed }
    }

    /// Adds a remark for each policy that expedites the version while others hold it.
    fn with_expedited(mut self, planning: &Planning<'_>, component: &Component) -> Self {
        let lifted = |code| {
            use ReasonCode::{AwaitingEvidence, NotInWave, OutsideWindow, Soaking};
            matches!(code, Soaking | NotInWave | AwaitingEvidence | OutsideWindow)
        };
        let held = self.reasons.iter().chain(&self.notes);
        let holding: Vec<_> = held.filter(|Listed(r)| lifted(r.code())).filter_map(|Listed(r)| r.policy()).collect();
        let by = planning.policies().expedited_by(component, &self.parsed).into_iter();
        let by = by.filter(|by| holding.iter().any(|policy| *policy != by.policy()));
        self.remarks = by.map(|by| explain::expedited_elsewhere(&by)).collect();
        self
    }

    /// Returns whether a person who names the version or its major version gets it.
    fn is_eligible_by_name(&self) -> bool {
        self.is_held_only_as(ReasonCode::MajorStays)
    }

    /// Returns whether there are no other reasons against the version.
    fn is_held_only_as(&self, code: ReasonCode) -> bool {
        self.reasons.iter().all(|Listed(reason)| reason.code() == code)
    }

    /// Returns whether only waves hold the version. They do not hold a person who names it.
    fn waits_for_its_wave(&self) -> bool {
        let is_wave = |code| matches!(code, ReasonCode::NotInWave | ReasonCode::AwaitingEvidence);
        self.verdict == Class::Held && self.reasons.iter().all(|Listed(reason)| is_wave(reason.code()))
    }

    /// Returns whether a person who names exactly this version gets it.
    fn is_eligible_by_exact_name(&self) -> bool {
        use ReasonCode::{AwaitingEvidence, MajorStays, NotInWave, PreRelease};
        let is_lifted = |code| matches!(code, NotInWave | AwaitingEvidence | MajorStays | PreRelease);
        self.reasons.iter().all(|Listed(reason)| is_lifted(reason.code()))
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
            remarks: Vec::new(),
            until: None,
            active: planning.active(component) == Some(&published.version),
            unlisted: None,
            parsed: published.version.clone(),
        }
    }
}

pub(crate) async fn run(context: &Context, args: &args::PluginsWhyArgs) -> Result<(), Failure> {
    let component = Component::Plugin(args.name.clone());
    let requested = args.version.as_deref().map(|typed| parse_version(&component, typed)).transpose()?;
    let (mut planning, origin) = match &args.host {
        Some(host) => on_managed_host(context, host, &component).await?,
        None => on_this_machine(context, &component).await?,
    };
    let catalog = planning.published(&component, requested.as_ref()).await?;
    let (listing, record) = (catalog.listing().clone(), catalog.record().cloned());
    let mut versions = evaluate_all(&mut planning, &component, &listing, args.version.as_deref()).await?;
    if requested.is_none() {
        add_unlisted(&planning, &component, record.is_some(), &mut versions);
    }
    let damage = match &args.host {
        Some(_) => None,
        None => installed::verify(context, &args.name)?.and_then(|plugin| plugin.damage()),
    };
    let refusal = match planning.active(&component) {
        Some(active) => planning.run_allowed(&component, active).err().map(|reason| *reason),
        None if planning.is_installed(&component) => planning.policies().denied(&component),
        None => None,
    };
    let mut report = WhyReport {
        cluster: context.cluster_name(),
        component: component.to_string(),
        host: args.host.clone(),
        installed: planning.is_installed(&component),
        active: planning.active(&component).map(ToString::to_string),
        damage,
        run_allowed: refusal.is_none(),
        must_leave: planning.forbidden(&component).map(Listed),
        required_by: required_by(&planning, &component),
        agent: None,
        user: planning.caller().user().map(|user| user.username.clone()).filter(|_| args.host.is_none()),
        policies: planning.policies().policy_names().into_iter().map(str::to_owned).collect(),
        versions,
        last_sync_time: record.and_then(|record| Some(record.status?.last_sync_time?.0)),
        only_prereleases: listing.newest_prerelease().is_some(),
        left_out_tags: if requested.is_none() { listing.left_out } else { LeftOutTags::default() },
        next: Vec::new(),
    };
    if args.host.is_some() {
        let takes = report.installed || report.required_by.is_some();
        report.agent = Some(plan_of_agent(&mut planning, &component, takes).await);
    } else {
        report.next = next_steps(&report, &planning, &component, requested.is_some());
    }
    let versions = report.versions.iter().map(|version| &version.version);
    output::print_document(args.output.format, &report, versions, |report| {
        text::print(context, report, (origin, planning.caller()), refusal.as_ref());
    })
}

async fn on_this_machine<'a>(
    context: &'a Context,
    component: &Component,
) -> Result<(Planning<'a>, ViewOrigin), Failure> {
    let view = context.view(RecordSelection::Named(std::slice::from_ref(component))).await?;
    let (origin, policies) = (view.origin, Arc::new(view.policy_set()));
    Ok((Planning::of_plugins(context, view, policies)?, origin))
}

/// Reads what the agent of a managed host reads: all records, because versions may need other plugins.
async fn on_managed_host<'a>(
    context: &'a Context,
    host: &str,
    component: &Component,
) -> Result<(Planning<'a>, ViewOrigin), Failure> {
    let (view, host) = tokio::join!(context.view(RecordSelection::All), ManagedHost::fetch(context, host));
    let (view, host) = (view?, host?);
    let record = view.records.get(component.name()).and_then(|record| record.status.as_ref());
    if record.is_none_or(|status| status.last_sync_time.is_none()) {
        return Err(no_record(component));
    }
    let origin = view.origin;
    Ok((Planning::of_managed_host(context, view, host), origin))
}

/// Returns the failure when there is no record. The agent of a host might read the versions from the proxy, but this
/// machine may not read the same ones.
fn no_record(component: &Component) -> Failure {
    let failure = Failure::new(Code::Failed, format!("{component} has no record with versions"));
    match component {
        Component::Plugin(name) if !name.is_dns_label() => {
            failure.advise("its name is no DNS label, so it cannot have one", format!("`d8 plugins why {name}` here"))
        }
        _ => failure.advise(
            "the verdict for another host is made from the record, which an admin creates",
            format!("`{}`", explain::create_record(component)),
        ),
    }
}

fn required_by(planning: &Planning<'_>, component: &Component) -> Option<RequiredBy> {
    let required = planning.policies().required();
    let by = required.into_iter().find(|required| required.plugin.as_str() == component.name())?.by;
    Some(RequiredBy { policy: by.policy().to_owned(), field: by.path() })
}

/// Returns what the agent of a managed host takes: nothing, unless the plugin is installed or required.
async fn plan_of_agent(planning: &mut Planning<'_>, component: &Component, takes: bool) -> AgentPlan {
    if !takes {
        return AgentPlan { target: None, next_version: None };
    }
    let target = planning.target(component).await.map(|version| version.to_string());
    AgentPlan { target, next_version: planning.next(component) }
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
        let by_name = report.versions.iter().filter(|version| version.is_eligible_by_exact_name() && !version.active);
        next.extend(by_name.map(|version| take(version, explain::install(component, &version.parsed))));
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
    // Nobody waits for a wave who names the version.
    let mut waiting = report.versions.iter().filter(|version| version.waits_for_its_wave());
    if next.is_empty()
        && let Some(version) = waiting.find(|version| stays(version) && (leaves || is_newer(version)))
    {
        let purpose = format!("take {} before its wave reaches this machine", version.version);
        next.push(NextStep::new(&purpose, explain::install(component, &version.parsed)));
    }
    let mut crossing = report.versions.iter().filter(|version| version.is_eligible_by_name());
    if let Some(version) = crossing.find(|version| !leaves && is_newer(version) && !stays(version)) {
        next.push(take(version, newer_major::command(component, &version.parsed)));
    }
    if next.is_empty() && !report.run_allowed {
        next.push(NextStep::new("remove it", format!("d8 plugins remove {component}")));
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

/// Evaluates a version for an update there, and for a person notes the windows and blackouts that bind the agent only.
async fn evaluate(
    planning: &mut Planning<'_>,
    component: &Component,
    published: &PublishedVersion,
) -> Result<VersionVerdict, Failure> {
    let active = planning.active(component).cloned();
    let active = active.as_ref();
    let intent = planning.intent();
    let verdict = if active == Some(&published.version) {
        planning.staying_published(component, published).await?
    } else {
        planning.verdict(component, published, intent).await?
    };
    let mut notes = verdict.notes().to_vec();
    if intent != Intent::Agent && active.is_none_or(|active| *active < published.version) {
        notes.extend(window_reasons(&planning.verdict(component, published, Intent::Agent).await?, &verdict));
    }
    let plugin_reasons = planning.plugin_reasons(component, &published.version).await;
    let row = VersionVerdict::new(published, active == Some(&published.version), &verdict, notes, plugin_reasons);
    Ok(row.with_expedited(planning, component))
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
