//! `d8 policy diff`: what would change on which host if policies were applied, before they are.

use std::collections::BTreeMap;

use d8_agent::cluster::{self, RecordSelection, ViewError};
use d8_crds::{
    decisions::{
        explain,
        impact::{self, ActiveComponent, ComponentDiff, HostFacts, HostImpact, PolicyDiff},
        verdict::PolicySet,
    },
    records::host::CliHost,
    values::{name::Component, version::Version},
};
use serde::Serialize;

use super::check;
use crate::{
    args, catalog,
    context::Context,
    installed,
    running_d8::{CurrentVersion, RunningD8},
    terminal::{failure::Failure, output, table::Table},
};

/// The document's shape (`docs/policy-commands.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// How many managed hosts were looked at; absent: they may not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_hosts: Option<usize>,
    changes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// The `CliHost`; absent: this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(flatten)]
    change: ComponentDiff,
}

/// Says whether anything would move.
pub(crate) async fn run(context: &Context, args: &args::PolicyDiffArgs) -> Result<bool, Failure> {
    let mut documents = Vec::new();
    for file in &args.files {
        documents.extend(check::read(file)?);
    }
    let files = check::decode(&documents)?;
    let cluster = context.cluster().await?;
    let (view, hosts) = tokio::join!(context.view(RecordSelection::All), cluster::hosts(&cluster.client));
    let view = view?;
    let hosts = match hosts {
        Ok(hosts) => Some(hosts),
        Err(error @ ViewError::Unreadable { .. }) => {
            output::warn(format!("{error}: only this machine is compared"));
            None
        }
        Err(error) => return Err(context.view_failure(&error)),
    };
    let now = view.server_time.unwrap_or(context.now);
    let after = impact::edited(&view.policies, &files, &view.records, now);
    let (old, new) = (view.policy_set(), PolicySet::from_json(&after));
    let mut document = Document { managed_hosts: hosts.as_ref().map(Vec::len), changes: Vec::new() };
    let mut on_managed = PolicyDiff::new(&old, &new, &view.records, now);
    for host in hosts.iter().flatten() {
        let changes = on_managed.of(&machine(host)).into_iter();
        document.changes.extend(changes.map(|change| Row { host: host.metadata.name.clone(), change }));
    }
    // An update on this machine would check what the operator could not check.
    let records = catalog::check_unknown(context, &view.records).await?;
    let here = PolicyDiff::new(&old, &new, &records, now).of(&this_machine(context)?).into_iter();
    document.changes.extend(here.map(|change| Row { host: None, change }));
    let mut names: Vec<&str> = document.changes.iter().map(|row| shown(row.host.as_deref())).collect();
    names.dedup();
    output::print_document(args.output.format, &document, names, show)?;
    Ok(document.changes.iter().any(|row| row.change.moves))
}

fn shown(host: Option<&str>) -> &str {
    host.unwrap_or("this machine")
}

fn show(document: &Document) {
    let looked_at = match document.managed_hosts {
        None => "this machine".to_owned(),
        Some(1) => "1 managed host and this machine".to_owned(),
        Some(hosts) => format!("{hosts} managed hosts and this machine"),
    };
    if document.changes.is_empty() {
        output::print(format!("Nothing would change on {looked_at}."));
        return;
    }
    let mut table = Table::new(&["HOST", "COMPONENT", "ACTIVE", "OLD", "NEW", "WHY"]);
    for Row { host, change } in &document.changes {
        let active = change.active.as_ref().map(ToString::to_string).unwrap_or_default();
        let why = change.new.as_ref().and_then(|new| new.reason.as_ref()).map(explain::to_person);
        let (old, new) = (place(change.old.as_ref()), place(change.new.as_ref()));
        table.row([shown(host.as_deref()), &change.component, &active, &old, &new, &why.unwrap_or_default()]);
    }
    output::print_table(&table);
    let moves = document.changes.iter().filter(|row| row.change.moves).count();
    output::print(format!(
        "{} changes, {moves} of which move something; looked at {looked_at}.",
        document.changes.len()
    ));
}

fn place(outlook: Option<&HostImpact>) -> String {
    let Some(outlook) = outlook else { return "not wanted".to_owned() };
    let target = outlook.target.as_ref().map_or("none".to_owned(), ToString::to_string);
    let runs = if outlook.runs { "" } else { ", runs refused" };
    format!("{:?} {target}{runs}", outlook.verdict)
}

/// A managed host as its record has it. Names and versions that are none are nobody's.
fn machine(host: &CliHost) -> HostFacts {
    let status = host.status.clone().unwrap_or_default();
    let active = status.components.iter().filter_map(|component| {
        let version = Version::parse(component.active.as_ref()?).ok()?;
        let digests = component.digest.iter().filter_map(|digest| digest.parse().ok()).collect();
        Some((component.name.parse().ok()?, ActiveComponent { version: Some(version), digests }))
    });
    HostFacts {
        id: host.metadata.name.clone().unwrap_or_default(),
        labels: host.metadata.labels.clone().unwrap_or_default(),
        managed: true,
        new_root: false,
        platform: status.platform.and_then(|platform| platform.parse().ok()),
        active: active.collect(),
    }
}

/// This machine as a workstation: its plugins, and its d8.
fn this_machine(context: &Context) -> Result<HostFacts, Failure> {
    let mut active: BTreeMap<Component, ActiveComponent> = BTreeMap::new();
    for (name, found) in installed::all(context)? {
        let digests = found.entry.installed().map(|installed| installed.receipt.digests());
        let digests = digests.unwrap_or_default();
        active.insert(Component::Plugin(name), ActiveComponent { version: found.version(), digests });
    }
    // A development build, or one whose store cannot be used, is no version that a policy could speak of.
    if let Ok(own) = RunningD8::locate(context)
        && let Ok(CurrentVersion::Release(_, version)) = own.current()
    {
        let digests = own.active_digests().unwrap_or_default();
        active.insert(Component::D8, ActiveComponent { version: Some(version), digests });
    }
    let host = context.host();
    Ok(HostFacts {
        id: host.id.to_owned(),
        labels: host.labels.clone(),
        managed: false,
        new_root: host.new_root,
        platform: Some(context.platform.clone()),
        active,
    })
}
