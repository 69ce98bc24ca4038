//! `d8 policy diff`: shows what would change on each host if policies were applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use d8_agent::cluster::{self, Caller, RecordSelection, ViewError};
use d8_crds::{
    decisions::{
        explain,
        impact::{self, ActiveComponent, ComponentDiff, HostFacts, HostImpact, PauseChange, PolicyDiff},
        reason::{Class, ReasonCode},
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
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DiffReport {
    /// Number of managed hosts that were compared; absent if the user may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_hosts: Option<usize>,
    changes: Vec<HostChange>,
    /// Hosts where a pause begins or ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pauses: Vec<HostPause>,
    /// Components without a record: only their active version was compared.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    without_record: BTreeSet<Component>,
}

#[derive(Debug, Serialize)]
struct HostPause {
    /// As in [`HostChange`].
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// Whether the host would be paused.
    paused: bool,
}

impl DiffReport {
    /// Adds what would change on a host; `None`: this machine.
    fn add(&mut self, host: Option<&String>, facts: &HostFacts, diff: &mut PolicyDiff<'_>) {
        self.changes.extend(diff.of(facts).into_iter().map(|change| HostChange { host: host.cloned(), change }));
        let paused = diff.pause(facts).map(|change| change == PauseChange::Begins);
        self.pauses.extend(paused.map(|paused| HostPause { host: host.cloned(), paused }));
        self.without_record.extend(diff.unrecorded().cloned());
    }

    /// Returns the hosts that would change, each once.
    fn hosts(&self) -> Vec<&str> {
        let hosts = self.changes.iter().map(|change| change.host.as_deref());
        let mut hosts: Vec<_> = hosts.chain(self.pauses.iter().map(|pause| pause.host.as_deref())).collect();
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert(*host));
        hosts.into_iter().map(display_host).collect()
    }

    /// Returns whether a pause, a verdict, a version, or whether a plugin may run would change.
    fn moves(&self) -> bool {
        !self.pauses.is_empty() || self.changes.iter().any(|change| change.change.moves)
    }
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

/// Runs the command. Returns whether a pause, a verdict, a version, or whether a plugin may run would change.
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
    let caller = context.caller_for(&after, &view).await?;
    let mut report = DiffReport { managed_hosts: hosts.as_ref().map(Vec::len), ..DiffReport::default() };
    let mut on_managed = PolicyDiff::new(&old, &new, &view.records, now);
    for host in hosts.iter().flatten() {
        report.add(host.metadata.name.as_ref(), &managed_host(host), &mut on_managed);
    }
    // An update on this machine would check what the operator could not check.
    let records = catalog::check_unknown(context, &view.records).await?;
    report.add(None, &this_machine(context, &caller)?, &mut PolicyDiff::new(&old, &new, &records, now));
    output::print_document(args.output.format, &report, report.hosts(), print_text)?;
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

fn display_host(host: Option<&str>) -> &str {
    host.unwrap_or("this machine")
}

fn print_text(report: &DiffReport) {
    let compared = match report.managed_hosts {
        None => "this machine".to_owned(),
        Some(1) => "1 managed host and this machine".to_owned(),
        Some(hosts) => format!("{hosts} managed hosts and this machine"),
    };
    for line in pause_lines(&report.pauses) {
        output::print(line);
    }
    match (report.changes.is_empty(), report.pauses.is_empty()) {
        (true, true) => return output::print(format!("Nothing would change on {compared}.")),
        (true, false) => return output::print(format!("Nothing else would change now on {compared}.")),
        (false, _) => {}
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

/// Returns a line for the hosts where a pause would begin, and one for those where it would end.
fn pause_lines(pauses: &[HostPause]) -> Vec<String> {
    let begins = "nothing would change there until the pause ends, except that people may leave a blocked version";
    let line = |(paused, verb, effect): (bool, &str, &str)| {
        let hosts = pauses.iter().filter(|pause| pause.paused == paused);
        let hosts: Vec<_> = hosts.map(|pause| display_host(pause.host.as_deref())).collect();
        let count = if hosts.len() == 1 { "1 host".to_owned() } else { format!("{} hosts", hosts.len()) };
        (!hosts.is_empty()).then(|| format!("{count} would {verb} paused: {effect} ({}).", abbreviated(&hosts)))
    };
    let cases = [(true, "be", begins), (false, "no longer be", "updates go on there")];
    cases.into_iter().filter_map(line).collect()
}

/// Returns the first of some names, and the number of the others.
fn abbreviated(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
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
    // Of an eligible target, the next version is the target, now.
    let next = impact.next.as_ref().filter(|_| impact.verdict != Class::Eligible);
    let next = next.map(|next| format!(", next {} at {:.0}", next.version, next.at)).unwrap_or_default();
    format!("{:?} {target}{runs}{next}", impact.verdict)
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
        user: None,
        platform: status.platform.and_then(|platform| platform.parse().ok()),
        active: active.collect(),
    }
}

/// Returns the facts of this machine: its plugins, its d8 and the person who acts.
fn this_machine(context: &Context, caller: &Caller) -> Result<HostFacts, Failure> {
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
    let host = context.host(caller.person());
    Ok(HostFacts {
        id: host.id.to_owned(),
        labels: host.labels.clone(),
        managed: false,
        new_root: host.new_root,
        user: caller.user().cloned(),
        platform: Some(context.platform.clone()),
        active,
    })
}

#[cfg(test)]
mod tests {
    use d8_crds::decisions::{
        reason::{Cause, Reason, Subject},
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

    #[test]
    fn hosts_that_are_paused_are_counted_and_named() {
        let pause = |host: &str, paused| HostPause { host: Some(host.to_owned()), paused };
        let here = HostPause { host: None, paused: true };
        assert_eq!(pause_lines(&[]), [""; 0]);
        let one = "1 host would be paused: nothing would change there until the pause ends, except that people may \
                   leave a blocked version (this machine).";
        assert_eq!(pause_lines(&[here]), [one]);
        let many: Vec<_> = (1..=7).map(|number| pause(&format!("h{number}"), false)).collect();
        let ended = "7 hosts would no longer be paused: updates go on there (h1, h2, h3, h4, h5 and 2 more).";
        assert_eq!(pause_lines(&many), [ended]);
        let both = pause_lines(&[pause("a", false), pause("b", true)]);
        assert!(both.len() == 2 && both[0].contains("(b)") && both[1].contains("(a)"), "{both:?}");
    }

    #[test]
    fn summaries() {
        assert_eq!(summary(1, 1), "1 change; 1 affects the active version or whether it may run");
        assert_eq!(summary(3, 2), "3 changes; 2 affect the active version or whether it may run");
        assert_eq!(summary(2, 0), "2 changes; 0 affect the active version or whether it may run");
    }
}
