//! `d8 plugins why` as text for people.

use std::time::Duration;

use d8_agent::cluster::{Caller, ViewOrigin};
use d8_crds::{
    decisions::{
        explain::{self, Listed},
        reason::{Class, Reason},
        verdict::NextVersion,
    },
    records::{
        host::{REPORT_INTERVAL, SILENCE},
        release::LeftOutTags,
    },
    values::{duration::FormattedDuration, text::printable, version::Version},
};
use jiff::Timestamp;

use super::{AgentPlan, HostReport, RequiredBy, WhyReport, rows::VersionVerdict, steps::NextStep};
use crate::{
    context::Context,
    planning::messages,
    terminal::{output, table::Table},
};

/// Prints the report. `refusal`: why the active version may not run.
pub(super) fn print(
    context: &Context,
    report: &WhyReport,
    (origin, caller): (ViewOrigin, &Caller),
    refusal: Option<&Reason>,
) {
    let WhyReport { component, policies, host, .. } = report;
    let whose = match host {
        Some(host) => format!("policies for {host}"),
        None => format!("policies for this host{}", messages::acting_as(caller)),
    };
    output::print(format!("{component}: {}", state(report)));
    if let Some(host) = host {
        output::print(reported(host, report.reported.as_ref(), context.now));
    }
    if let Some(damage) = &report.damage {
        output::print(format!("damage: {damage}"));
    }
    output::print(match (policies.is_empty(), origin) {
        (false, _) => format!("{whose}: {}", policies.join(", ")),
        (true, ViewOrigin::Ungoverned) => format!("{whose}: none (the cluster has no PluginPolicies)"),
        (true, _) => format!("{whose}: none"),
    });
    if let Some(RequiredBy { policy, field }) = &report.required_by {
        output::print(format!("required by policy {policy}, {field}"));
    }
    if let Some(agent) = &report.agent {
        output::print(target(report, agent));
    }
    if let Some(reason) = refusal {
        output::print(format!("{component} may not run: {}", in_words(report, reason)));
    }
    if report.only_prereleases {
        output::print("Only pre-releases are published. d8 installs them if you name the version.");
    }
    output::print_table(&table(report));
    for line in left_out_lines(&report.left_out_tags) {
        output::print(line);
    }
    for NextStep { purpose, command } in &report.next {
        context.printer.note(format!("to {purpose}: `{command}`"));
    }
}

/// Returns what is installed, in words.
fn state(report: &WhyReport) -> String {
    let on = report.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
    let state = match (&report.active, &report.damage) {
        (Some(active), None) => format!("{active} is active"),
        (Some(active), Some(_)) => format!("{active} is installed, but damaged"),
        (None, Some(_)) => "installed in an unknown version, and damaged".to_owned(),
        (None, None) if report.installed && report.host.is_some() => "installed in an unknown version".to_owned(),
        (None, None) if report.installed => "installed by another tool, in an unknown version".to_owned(),
        (None, None) => "not installed".to_owned(),
    };
    let leaves =
        if report.must_replace.is_some() && report.run_allowed { "; it must be replaced, and still runs" } else { "" };
    format!("{state}{on}{leaves}")
}

/// Returns what a host reported last, and how long ago that was.
fn reported(host: &str, report: Option<&HostReport>, now: Timestamp) -> String {
    let Some(HostReport { last_seen, state, reason, message, .. }) = report else {
        return format!("{host} has not reported yet: what is installed there is not known; is its agent running?");
    };
    let state = state.map_or_else(|| "nothing about it".to_owned(), |state| format!("{state:?}"));
    let reason = reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    let when = last_seen.map(|last_seen| {
        let age = now.duration_since(last_seen).unsigned_abs();
        let silent = if age > SILENCE.unsigned_abs() {
            let interval = FormattedDuration(REPORT_INTERVAL.unsigned_abs());
            format!("; it reports at least every {interval}, so its agent may not be running")
        } else {
            String::new()
        };
        format!(" {} ago, at {last_seen:.0}{silent}", whole(age))
    });
    let message = message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{host} reported {state}{reason}{}{message}", when.unwrap_or_default())
}

/// Returns an age in whole seconds, from an hour on in whole minutes.
fn whole(age: Duration) -> FormattedDuration {
    let seconds = age.as_secs();
    FormattedDuration(Duration::from_secs(if seconds < 3600 { seconds } else { seconds - seconds % 60 }))
}

/// Returns what the agent of a managed host takes.
fn target(report: &WhyReport, agent: &AgentPlan) -> String {
    if !report.installed && report.required_by.is_none() {
        return "target: none; the agent installs only what a policy requires".to_owned();
    }
    let target = agent.target.as_deref().unwrap_or("none");
    let is_eligible =
        |version: &Version| report.versions.iter().any(|row| row.parsed == *version && row.verdict == Class::Eligible);
    match &agent.next_version {
        Some(NextVersion { version, .. }) if is_eligible(version) => format!("target: {target}; next: {version} now"),
        Some(NextVersion { version, at }) => format!("target: {target}; next: {version} at {at:.0}"),
        None => format!("target: {target}; next: none, unless policies or versions change"),
    }
}

/// Explains a reason about this machine, or about the managed host.
fn in_words(report: &WhyReport, reason: &Reason) -> String {
    match &report.host {
        Some(host) => explain::in_list_of_host(reason, host),
        None => explain::in_list(reason),
    }
}

fn table(report: &WhyReport) -> Table {
    let mut table = Table::new(&["", "VERSION", "VERDICT", "REASON"]);
    for version in &report.versions {
        let mark = if version.active { "*" } else { "" };
        let verdict = match version.verdict {
            Class::Forbidden if version.active && report.run_allowed => {
                "Forbidden: must be replaced, still runs".to_owned()
            }
            verdict => format!("{verdict:?}"),
        };
        let VersionVerdict { reasons, notes, remarks, unlisted, .. } = version;
        let reasons = reasons.iter().map(|Listed(reason)| in_words(report, reason));
        let notes = notes.iter().map(|Listed(note)| format!("note: {}", in_words(report, note)));
        let remarks = remarks.iter().map(|remark| format!("note: {remark}"));
        let mut lines = reasons.chain(unlisted.clone()).chain(notes).chain(remarks);
        table.row([mark, &version.version, &verdict, &lines.next().unwrap_or_default()]);
        for line in lines {
            table.row(["", "", "", &line]);
        }
    }
    table
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
