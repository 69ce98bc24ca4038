//! `d8 policy diff`: shows what would change on each host if policies were applied.

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

/// The JSON document (`docs/policy-commands.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DiffReport {
    /// Number of managed hosts that were compared; absent if the user may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_hosts: Option<usize>,
    changes: Vec<HostChange>,
}

#[derive(Debug, Serialize)]
struct HostChange {
    /// Name of the `CliHost`; absent for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(flatten)]
    change: ComponentDiff,
}

/// Runs the command. Returns whether a verdict, a version, or whether a plugin may run would change.
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
            output::warn(format!("{error}; only this machine is compared"));
            None
        }
        Err(error) => return Err(context.view_failure(&error)),
    };
    let now = view.server_time.unwrap_or(context.now);
    let after = impact::edited(&view.policies, &files, &view.records, now);
    let (old, new) = (view.policy_set(), PolicySet::from_json(&after));
    let mut report = DiffReport { managed_hosts: hosts.as_ref().map(Vec::len), changes: Vec::new() };
    let mut on_managed = PolicyDiff::new(&old, &new, &view.records, now);
    for host in hosts.iter().flatten() {
        let changes = on_managed.of(&managed_host(host)).into_iter();
        report.changes.extend(changes.map(|change| HostChange { host: host.metadata.name.clone(), change }));
    }
    // An update on this machine would check what the operator could not check.
    let records = catalog::check_unknown(context, &view.records).await?;
    let here = PolicyDiff::new(&old, &new, &records, now).of(&this_machine(context)?).into_iter();
    report.changes.extend(here.map(|change| HostChange { host: None, change }));
    let mut names: Vec<&str> = report.changes.iter().map(|change| display_host(change.host.as_deref())).collect();
    names.dedup();
    output::print_document(args.output.format, &report, names, print_text)?;
    Ok(report.changes.iter().any(|change| change.change.moves))
}

fn display_host(host: Option<&str>) -> &str {
    host.unwrap_or("this machine")
}

fn print_text(report: &DiffReport) {
    let compared = match report.managed_hosts {
        None => "this machine".to_owned(),
        Some(1) => "1 managed host and this machine".to_owned(),
        Some(hosts) => format!("{hosts} managed hosts and this machine"),
    };
    if report.changes.is_empty() {
        output::print(format!("Nothing would change on {compared}."));
        return;
    }
    let mut table = Table::new(&["HOST", "COMPONENT", "ACTIVE", "OLD", "NEW", "WHY"]);
    for HostChange { host, change } in &report.changes {
        let active = change.active.as_ref().map(ToString::to_string).unwrap_or_default();
        let why = change.new.as_ref().and_then(|new| new.reason.as_ref()).map(explain::to_person);
        let (old, new) = (display_impact(change.old.as_ref()), display_impact(change.new.as_ref()));
        table.row([display_host(host.as_deref()), &change.component, &active, &old, &new, &why.unwrap_or_default()]);
    }
    output::print_table(&table);
    let affecting = report.changes.iter().filter(|change| change.change.moves).count();
    output::print(format!("{}. Compared {compared}.", summary(report.changes.len(), affecting)));
}

/// `2 changes; 1 affects the active version or whether it may run`.
fn summary(changes: usize, affecting: usize) -> String {
    let (plural, verb) = (if changes == 1 { "" } else { "s" }, if affecting == 1 { "affects" } else { "affect" });
    format!("{changes} change{plural}; {affecting} {verb} the active version or whether it may run")
}

fn display_impact(impact: Option<&HostImpact>) -> String {
    let Some(impact) = impact else { return "not required".to_owned() };
    let target = impact.target.as_ref().map_or("none".to_owned(), ToString::to_string);
    let runs = if impact.runs { "" } else { ", may not run" };
    format!("{:?} {target}{runs}", impact.verdict)
}

/// Returns the facts in the record of a managed host. Ignores components with an invalid name or version.
fn managed_host(host: &CliHost) -> HostFacts {
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

/// Returns the facts of this machine: its plugins and its d8.
fn this_machine(context: &Context) -> Result<HostFacts, Failure> {
    let mut active: BTreeMap<Component, ActiveComponent> = BTreeMap::new();
    for (name, plugin) in installed::all(context)? {
        let digests = plugin.entry.installed().map(|installed| installed.receipt.digests());
        let digests = digests.unwrap_or_default();
        active.insert(Component::Plugin(name), ActiveComponent { version: plugin.version(), digests });
    }
    // No policy applies to a development build or to a d8 whose store cannot be read.
    if let Ok(d8) = RunningD8::locate(context)
        && let Ok(CurrentVersion::Release(_, version)) = d8.current()
    {
        let digests = d8.active_digests().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn summaries() {
        assert_eq!(summary(1, 1), "1 change; 1 affects the active version or whether it may run");
        assert_eq!(summary(3, 2), "3 changes; 2 affect the active version or whether it may run");
        assert_eq!(summary(2, 0), "2 changes; 0 affect the active version or whether it may run");
    }
}
