//! `d8 policy diff`: shows what would change on each host if policies were applied.

mod groups;
mod hints;
mod machines;
mod names;
mod report;
mod text;

use std::{collections::BTreeMap, path::PathBuf};

use self::{
    machines::{managed_host, this_machine},
    names::HostNames,
    report::{DiffReport, EditedWave, HostChange},
};
use super::check;
use crate::{
    args::{self, DiffFormat},
    catalog,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output::{self, OutputFormat},
    },
};
use d8_agent::cluster::{self, RecordSelection, ViewError};
use d8_crds::{
    decisions::{
        explain,
        impact::{ClusterState, HostFacts, PolicyDiff, PolicyEdit, WaveChange},
        reason::ReasonCode,
        verdict::PolicySet,
    },
    records::{policy::PluginPolicy, release::CliRelease},
    values::name::Component,
};

/// Reads the policies of all files, on a thread that may wait for a pipe: Ctrl-C ends the command meanwhile.
async fn read_files(files: Vec<PathBuf>) -> Result<Vec<PluginPolicy>, Failure> {
    let read = tokio::task::spawn_blocking(move || check::decode(&files));
    read.await.unwrap_or_else(|error| Err(Failure::new(Code::Failed, "failed to read policies").caused_by(&error)))
}

/// Runs the command. Returns whether a pause, a verdict, a version, or whether a plugin may run would change.
pub(crate) async fn run(context: &Context, args: &args::PolicyDiffArgs) -> Result<bool, Failure> {
    let files = read_files(args.files.clone()).await?;
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
    let managed: Vec<HostFacts> = hosts.iter().flatten().map(managed_host).collect();
    let facts = ClusterState { records: &view.records, hosts: &managed, now };
    hints::warnings(&files, facts, hosts.is_some()).into_iter().for_each(output::warn);
    let edit = PolicyEdit::new(&view.policies, &files, facts, args.prune);
    let (old, new) = (view.policy_set(), PolicySet::from_json(&edit.policies));
    let caller = context.caller_for(&edit.policies, &view).await?;
    let here = this_machine(context, &caller)?;
    let mut on_managed = PolicyDiff::new(&old, &new, &view.records, now);
    let mut report = DiffReport {
        managed_hosts: hosts.as_ref().map(Vec::len),
        waves: waves(&edit.waves, &managed, &here, &on_managed),
        deleted: edit.deleted,
        ..DiffReport::default()
    };
    for host in &managed {
        report.add(Some(&host.id), host, &mut on_managed);
    }
    // An update on this machine would check what the operator could not check.
    let records = catalog::check_unknown(context, &view.records).await?;
    report.add(None, &here, &mut PolicyDiff::new(&old, &new, &records, now));
    print(&report, args.format)?;
    report.without_record.iter().map(without_record).for_each(|note| context.printer.note(note));
    unread_contracts(&report, &view.records).for_each(|note| context.printer.note(note));
    Ok(report.moves())
}

/// Returns the note about a component without a record.
fn without_record(component: &Component) -> String {
    let compared = "so only its active version was compared";
    match component {
        Component::Plugin(name) if !name.is_dns_label() => {
            format!("{component} is no DNS label and cannot have a record, {compared}")
        }
        _ => format!(
            "{component} has no record, {compared}; an admin creates one: `{}`",
            explain::create_record(component)
        ),
    }
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

/// Returns what happens to waves that concern a host.
fn waves(edited: &[WaveChange], managed: &[HostFacts], here: &HostFacts, diff: &PolicyDiff<'_>) -> Vec<EditedWave> {
    let concerning = edited.iter().filter_map(|wave| {
        let hosts = managed.iter().filter(|host| diff.concerns(host, wave));
        let hosts: Vec<_> = hosts.map(|host| host.id.clone()).collect();
        let this_machine = diff.concerns(here, wave);
        (!hosts.is_empty() || this_machine).then(|| EditedWave::new(wave, hosts, this_machine))
    });
    concerning.collect()
}

fn print(report: &DiffReport, format: DiffFormat) -> Result<(), Failure> {
    let (format, names) = match format {
        DiffFormat::Table => (OutputFormat::Table, HostNames::Few),
        DiffFormat::Wide => (OutputFormat::Table, HostNames::All),
        DiffFormat::Json => (OutputFormat::Json, HostNames::All),
        DiffFormat::Yaml => (OutputFormat::Yaml, HostNames::All),
        DiffFormat::Name => (OutputFormat::Name, HostNames::All),
    };
    let print_text = |report: &DiffReport| text::lines(report, names).into_iter().for_each(output::print);
    output::print_document(format, report, report.hosts(), print_text)
}

#[cfg(test)]
mod tests {
    use d8_crds::{
        decisions::{
            impact::{ComponentDiff, HostImpact},
            reason::{Cause, Class, Reason, Subject},
            requirements::Unchecked,
        },
        values::version::Version,
    };
    use serde_json::{Value, json};

    use super::*;

    /// The plugin is held for requirements that are unknown.
    fn held(host: Option<&str>) -> HostChange {
        let (component, version): (Component, Version) = ("tool".parse().unwrap(), "v1.1.0".parse().unwrap());
        let subject = Subject { component, version: Some(version.clone()), active: None, evaluated_at: None };
        let cause = Cause::Unchecked(Box::new(Unchecked::Recorded { reason: None }));
        let reason = Some(Reason { subject: subject.into(), cause });
        let new = HostImpact { verdict: Class::Held, target: Some(version), runs: true, reason, next: None };
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
            let report = DiffReport { changes: vec![held(host)], ..DiffReport::default() };
            let found: Vec<_> = unread_contracts(&report, &records(requirements)).collect();
            assert_eq!(found, notes, "{host:?} {requirements}");
        }
    }
}
