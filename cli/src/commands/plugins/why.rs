//! `d8 plugins why`: the verdict on each published version, with all reasons: for the person on this machine, or with
//! `--host` for the agent of a managed host.

mod rows;
mod steps;
mod text;

use std::sync::Arc;

use d8_agent::cluster::{RecordSelection, ViewOrigin};
use d8_crds::{
    decisions::{
        explain::{self, Listed},
        verdict::NextVersion,
    },
    records::{host::ComponentState, release::LeftOutTags},
    values::{name::Component, spelling::nearest},
};
use jiff::Timestamp;
use serde::Serialize;

use self::{
    rows::{VersionVerdict, add_unlisted, evaluate_all},
    steps::{NextStep, next_steps},
};
use crate::{
    args,
    context::Context,
    installed,
    managed_host::ManagedHost,
    planning::{Planning, messages::parse_version},
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
    /// The last report of the managed host; absent for this machine and if the host has not reported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<HostReport>,
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
    /// Why policies forbid the active version, so that it must be replaced. It may still run.
    #[serde(skip_serializing_if = "Option::is_none")]
    must_replace: Option<Listed>,
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

/// What a managed host reported last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostReport {
    /// When it reported; absent if the report does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    /// State of the component there; absent if the host does not report the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<ComponentState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// When the state or the active version last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change: Option<Timestamp>,
}

impl HostReport {
    /// Returns what a host reported of a component; `None` if it has not reported yet.
    fn of(host: &ManagedHost, component: &Component) -> Option<Self> {
        if !host.has_reported() {
            return None;
        }
        let reported = host.reported(component);
        Some(Self {
            last_seen: host.last_seen(),
            state: reported.map(|reported| reported.state),
            reason: reported.and_then(|reported| reported.reason.clone()),
            message: reported.and_then(|reported| reported.message.clone()),
            last_change: reported.and_then(|reported| Some(reported.last_change.as_ref()?.0)),
        })
    }
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

pub(crate) async fn run(context: &Context, args: &args::PluginsWhyArgs) -> Result<(), Failure> {
    let component = args.name.clone();
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
    let damage = match (&args.host, &component) {
        (None, Component::Plugin(name)) => installed::verify(context, name)?.and_then(|plugin| plugin.damage()),
        _ => None,
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
        reported: planning.managed_host().and_then(|host| HostReport::of(host, &component)),
        installed: planning.is_installed(&component),
        active: planning.active(&component).map(ToString::to_string),
        damage,
        run_allowed: refusal.is_none(),
        must_replace: planning.forbidden(&component).map(Listed),
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
    if *component == Component::D8 {
        return Err(Failure::new(Code::Usage, "d8 itself is explained by its own command")
            .advise("d8 is not a plugin; `--host NAME` explains the d8 of a managed host", "`d8 cli check`"));
    }
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
        return Err(no_record(component, view.records.keys().map(String::as_str)));
    }
    let origin = view.origin;
    Ok((Planning::of_managed_host(context, view, host), origin))
}

/// Returns the failure when there is no record. The agent of a host might read the versions from the proxy, but this
/// machine may not read the same ones. `recorded`: the names of all records.
fn no_record<'a>(component: &Component, recorded: impl Iterator<Item = &'a str>) -> Failure {
    let failure = Failure::new(Code::Failed, format!("{component} has no record with versions"));
    if let Some(near) = nearest(component.name(), recorded.filter(|name| *name != component.name())) {
        return failure.advise(
            format!("no version of {component} is recorded, but {near} is"),
            format!("`d8 plugins why {near}`"),
        );
    }
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
