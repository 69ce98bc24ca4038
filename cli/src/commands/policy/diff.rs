//! `d8 policy diff`: shows what would change on each host if policies were applied.

use std::{collections::BTreeMap, path::PathBuf};

use d8_agent::cluster::{self, RecordSelection, ViewError};
use d8_crds::{
    decisions::{
        explain,
        impact::{self, ActiveComponent, ComponentDiff, HostFacts, HostImpact, PolicyDiff},
        reason::ReasonCode,
        verdict::PolicySet,
    },
    records::{host::CliHost, release::CliRelease},
    values::{name::Component, version::Version},
};
use serde::Serialize;
use serde_json::Value;

use super::check;
use crate::{
    args, catalog,
    context::Context,
    installed,
    running_d8::{CurrentVersion, RunningD8},
    terminal::{
        failure::{Code, Failure},
        output,
        table::Table,
    },
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

/// Reads the documents of all files, on a thread that may wait for a pipe: Ctrl-C ends the command meanwhile.
async fn read_files(files: Vec<PathBuf>) -> Result<Vec<Value>, Failure> {
    let read = tokio::task::spawn_blocking(move || {
        let documents: Result<Vec<_>, _> = files.iter().map(|file| check::read(file)).collect();
        documents.map(|documents| documents.concat())
    });
    read.await.unwrap_or_else(|error| Err(Failure::new(Code::Failed, "failed to read policies").caused_by(&error)))
}

/// Runs the command. Returns whether a verdict, a version, or whether a plugin may run would change.
pub(crate) async fn run(context: &Context, args: &args::PolicyDiffArgs) -> Result<bool, Failure> {
    let files = check::decode(&read_files(args.files.clone()).await?)?;
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
    unread_contracts(&report, &view.records).for_each(|note| context.printer.note(note));
    Ok(report.changes.iter().any(|change| change.change.moves))
}

/// Returns a note for each version that is held on this machine because the operator could not read its contract.
/// An update reads the contract itself, so the hold may end there.
fn unread_contracts(report: &DiffReport, records: &BTreeMap<String, CliRelease>) -> impl Iterator<Item = String> {
    let here = report.changes.iter().filter(|change| change.host.is_none());
    here.filter_map(|HostChange { change, .. }| {
        let new = change.new.as_ref()?;
        let reason = new.reason.as_ref().filter(|reason| reason.code() == ReasonCode::RequirementsUnknown)?;
        let (component, version) = (&reason.subject.component, new.target.as_ref()?);
        let recorded = records.get(component.name())?.recorded(version)?;
        let command = match component {
            Component::D8 => "d8 cli update".to_owned(),
            Component::Plugin(name) => format!("d8 plugins update {name}"),
        };
        catalog::has_unread_contract(recorded).then(|| {
            format!("the operator could not read the contract of {component} {version}; `{command}` reads it itself")
        })
    })
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
        let (version, digests) = (plugin.version(), plugin.digests());
        active.insert(Component::Plugin(name), ActiveComponent { version, digests });
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
    use d8_crds::decisions::{
        reason::{Cause, Class, Reason, Subject},
        requirements::Unchecked,
    };
    use serde_json::{Value, json};

    use super::*;

    /// The plugin is held for requirements that are unknown.
    fn held(host: Option<&str>) -> HostChange {
        let (component, version): (Component, Version) = ("tool".parse().unwrap(), "v1.1.0".parse().unwrap());
        let subject = Subject { component, version: Some(version.clone()), active: None, evaluated_at: None };
        let cause = Cause::Unchecked(Box::new(Unchecked::Recorded { reason: None }));
        let reason = Some(Reason { subject: subject.into(), cause });
        let new = HostImpact { verdict: Class::Held, target: Some(version), runs: true, reason };
        let change =
            ComponentDiff { component: "tool".to_owned(), active: None, old: None, new: Some(new), moves: true };
        HostChange { host: host.map(str::to_owned), change }
    }

    fn records(requirements: &Value) -> BTreeMap<String, CliRelease> {
        let recorded = json!({"version": "v1.1.0", "digest": "", "fit": "Unknown", "requirements": requirements});
        let record = json!({"metadata": {"name": "tool"}, "spec": {}, "status": {"versions": [recorded]}});
        BTreeMap::from([("tool".to_owned(), serde_json::from_value(record).unwrap())])
    }

    #[test]
    fn notes_of_contracts_that_an_update_reads_itself() {
        let note = "the operator could not read the contract of tool v1.1.0; `d8 plugins update tool` reads it itself";
        let unread = json!({});
        let read = json!({"kubernetes": {"constraint": ">=1.30"}});
        for (host, requirements, notes) in
            [(None, &unread, vec![note]), (Some("bastion-1"), &unread, vec![]), (None, &read, vec![])]
        {
            let report = DiffReport { managed_hosts: None, changes: vec![held(host)] };
            let found: Vec<_> = unread_contracts(&report, &records(requirements)).collect();
            assert_eq!(found, notes, "{host:?} {requirements}");
        }
    }

    #[test]
    fn summaries() {
        assert_eq!(summary(1, 1), "1 change; 1 affects the active version or whether it may run");
        assert_eq!(summary(3, 2), "3 changes; 2 affect the active version or whether it may run");
        assert_eq!(summary(2, 0), "2 changes; 0 affect the active version or whether it may run");
    }
}
