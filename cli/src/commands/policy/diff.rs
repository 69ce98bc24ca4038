//! `d8 policy diff`: shows what would change on each host if policies were applied.

mod groups;
mod hints;
mod machines;
mod names;
mod report;
mod subjects;
mod text;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use self::{
    machines::this_machine,
    names::HostNames,
    report::{DiffReport, EditedWave, HostChange, HostName, LeftOutHost},
    subjects::for_people,
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
        impact::{ClusterState, HostFacts, HostReport, PolicyDiff, PolicyEdit},
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
    let (managed, reports): (Vec<HostFacts>, Vec<HostReport>) =
        hosts.iter().flatten().map(HostFacts::of_managed).unzip();
    let facts = ClusterState { records: &view.records, hosts: &managed, now };
    hints::warnings(&files, facts, hosts.is_some()).into_iter().for_each(output::warn);
    let edit = PolicyEdit::new(&view.policies, &files, facts, args.prune);
    let (old, new) = (view.policy_set(), PolicySet::from_json(&edit.policies));
    let caller = context.caller_for(&edit.policies, &view).await?;
    let here = this_machine(context, &caller)?;
    let mut report = DiffReport {
        for_people: for_people(&view.policies, &edit.policies, caller.user()),
        waves: edit.waves.iter().map(EditedWave::new).collect(),
        created: edit.created,
        deleted: edit.deleted,
        kept_halts: edit.kept_halts.into_iter().map(Into::into).collect(),
        ..DiffReport::default()
    };
    let mut on_managed = PolicyDiff::new(&old, &new, &view.records, now).with_waves(&edit.waves);
    for (host, found) in managed.iter().zip(reports) {
        add(&mut report, host, found, &mut on_managed);
    }
    report.managed_hosts = report.managed_hosts.or(hosts.as_ref().map(|_| 0));
    // An update on this machine would check what the operator could not check.
    let records = catalog::check_unknown(context, &view.records).await?;
    let mut on_this_machine = PolicyDiff::new(&old, &new, &records, now).with_waves(&edit.waves);
    report.add(&None, &here, &mut on_this_machine);
    report.drop_idle_waves();
    report.without_record = on_managed.unrecorded().chain(on_this_machine.unrecorded()).cloned().collect();
    print(&report, args.format)?;
    report.without_record.iter().map(without_record).for_each(|note| context.printer.note(note));
    unread_contracts(&report, &view.records).for_each(|note| context.printer.note(note));
    Ok(report.moves())
}

/// Adds what would change on a managed host, if it has reported what is on it.
fn add<'a>(report: &mut DiffReport, host: &'a HostFacts, found: HostReport, diff: &mut PolicyDiff<'a>) {
    match found {
        HostReport::Complete => {
            let name: HostName = Some(Arc::from(host.id.as_str()));
            report.managed_hosts = Some(report.managed_hosts.unwrap_or_default() + 1);
            report.add(&name, host, diff);
        }
        HostReport::Missing => report.not_reported.push(host.id.clone()),
        HostReport::Invalid { component, active } => {
            report.left_out.push(LeftOutHost { host: host.id.clone(), component, active });
        }
    }
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
        HostChange { host: host.map(Arc::from), change: Arc::new(change) }
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
