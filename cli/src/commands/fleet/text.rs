//! `d8 fleet status` as text for people.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::{
    decisions::fleet::{
        ComponentSummary, Fleet, FleetComponent, FleetHost, Hold, HostTotals, NextCount, StateCount, VersionCount,
        WaveProgress,
    },
    records::{host::SILENCE, policy::WaveState},
    values::{duration::FormattedDuration, text::printable},
};
use jiff::Timestamp;

use crate::terminal::{output, table::Table};

/// Most lines about one kind of trouble.
const MAX_LINES: usize = 5;
/// Most versions or states in one cell.
const MAX_IN_CELL: usize = 4;

/// Prints a line for each component, and lines about hosts that need attention.
pub(super) fn print_summary(fleet: &Fleet) {
    if !fleet.components.is_empty() {
        let mut table = Table::new(&["COMPONENT", "HOSTS", "VERSIONS", "STATES", "TARGETS", "NEXT"]);
        for component in &fleet.components {
            table.row(summary_row(component, fleet.time).each_ref().map(String::as_str));
        }
        output::print_table(&table);
    }
    output::print(totals(&fleet.totals));
    print_some("waves", fleet.open_waves().map(wave_line));
    print_some(
        "failures",
        fleet.failed.iter().map(|failed| {
            let reason = failed.reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
            let message =
                failed.message.as_deref().map(|message| format!(": {}", printable(message))).unwrap_or_default();
            format!("failed on {}: {} {}{reason}{message}", failed.host, failed.component, failed.version)
        }),
    );
    print_some("holds", fleet.holds.iter().map(hold_line));
    print_some(
        "silent hosts",
        fleet.silent.iter().map(|silent| match silent.last_seen {
            Some(seen) => format!("silent since {seen:.0}: {}", silent.host),
            None => format!("has never reported: {}", silent.host),
        }),
    );
}

/// Prints the first lines, and how many are left out.
fn print_some(what: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    lines.iter().take(MAX_LINES).for_each(output::print);
    if let Some(more) = lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        output::print(format!("and {more} more {what}: `d8 fleet status -o json`"));
    }
}

fn summary_row(component: &ComponentSummary, now: Timestamp) -> [String; 6] {
    let version = |count: &VersionCount| {
        let version = count.version.as_deref().map_or("none".into(), printable);
        format!("{version} {}", count.hosts)
    };
    let state = |count: &StateCount| {
        let state = count.state.map_or("Unreported".to_owned(), |state| format!("{state:?}"));
        format!("{state} {}", count.hosts)
    };
    let next = |next: &NextCount| format!("{} {} {}", next.version, next.hosts, span(next, now));
    [
        component.name.clone(),
        component.hosts.to_string(),
        cell(component.versions.iter().map(version)),
        cell(component.states.iter().map(state)),
        cell(component.targets.iter().map(version)),
        cell(component.next.iter().map(next)),
    ]
}

/// Joins the first items.
fn cell(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<_> = items.collect();
    if let Some(more) = items.len().checked_sub(MAX_IN_CELL).filter(|more| *more > 0) {
        items.truncate(MAX_IN_CELL);
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

fn span(next: &NextCount, now: Timestamp) -> String {
    if next.last <= now { "now".to_owned() } else { format!("by {:.0}", next.last) }
}

/// Returns how many hosts are in which state.
pub(super) fn totals(totals: &HostTotals) -> String {
    let counts = [
        (totals.up_to_date, "up to date"),
        (totals.changing, "changing"),
        (totals.held, "held"),
        (totals.unfit, "unfit"),
        (totals.forbidden, "forbidden"),
        (totals.failed, "failed"),
        (totals.never_reported, "never reported"),
    ];
    let counts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let hosts = if totals.hosts == 1 { "host" } else { "hosts" };
    let silent = match totals.silent {
        0 => String::new(),
        silent => format!("; {silent} {}", silent_for()),
    };
    let separator = if counts.is_empty() { "" } else { ": " };
    format!("{} {hosts}{separator}{}{silent}", totals.hosts, counts.join(", "))
}

/// Returns `silent for more than 7h`.
pub(super) fn silent_for() -> String {
    format!("silent for more than {}", FormattedDuration(SILENCE.unsigned_abs()))
}

fn wave_line(wave: &WaveProgress) -> String {
    let WaveProgress { policy, component, version, state, hosts, active, newer, failed, .. } = wave;
    let state = match (state, wave.succeeded.zip(wave.required), wave.halted_at) {
        (WaveState::Halted, _, Some(at)) => format!("halted at {at:.0}"),
        (WaveState::Halted, ..) => "halted".to_owned(),
        (WaveState::AwaitingEvidence, Some((succeeded, required)), _) => {
            format!("awaits evidence, {succeeded} of {required} hosts")
        }
        (WaveState::AwaitingEvidence, ..) => "awaits evidence".to_owned(),
        (WaveState::Running, _, _) => format!("has reached {}", percent(wave.reached)),
        (WaveState::Complete, ..) => "complete".to_owned(),
    };
    format!(
        "wave of {component} {version}, policy {policy}: {state}; on {} of {hosts} hosts, {failed} failed",
        active + newer
    )
}

/// Returns a share as a whole percentage. 100% is all.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).floor())
}

fn hold_line(hold: &Hold) -> String {
    let Hold { component, state, hosts, .. } = hold;
    let target = hold.target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
    let reason = hold.reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    let until = hold.last_until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    let on = match &hosts[..] {
        [host] => format!("on {host}"),
        hosts => format!("on {} hosts, such as {}", hosts.len(), hosts.first().map_or("", String::as_str)),
    };
    format!("{state:?} {on}: {component}{target}{reason}{until}")
}

/// Prints a line for each host and a column for each component.
pub(super) fn print_matrix(fleet: &Fleet) {
    let components: BTreeSet<&str> =
        fleet.hosts.iter().flat_map(|host| &host.components).map(|component| component.name.as_str()).collect();
    let names: Vec<String> = components.iter().map(|name| name.to_uppercase()).collect();
    let head: Vec<&str> = ["HOST", "SEEN"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(&head);
    for host in &fleet.hosts {
        let cells = components.iter().map(|name| {
            let component = host.components.iter().find(|component| component.name == *name);
            component.map_or_else(|| "-".to_owned(), |component| matrix_cell(component, fleet.time))
        });
        table.row_of([host.name.clone(), seen(host, fleet.time)].into_iter().chain(cells));
    }
    output::print_table(&table);
}

/// Returns when a host last reported.
pub(super) fn seen(host: &FleetHost, now: Timestamp) -> String {
    host.last_seen.map_or_else(
        || "never".to_owned(),
        |seen| {
            let minutes = now.duration_since(seen).unsigned_abs().as_secs() / 60;
            format!("{} ago", FormattedDuration(Duration::from_mins(minutes)))
        },
    )
}

/// Returns `v1.0.0 -> v1.1.0, Held (NotInWave), next 2026-11-23T00:00:00Z`.
fn matrix_cell(component: &FleetComponent, now: Timestamp) -> String {
    let mut parts = vec![change(component)];
    parts.extend(state(component));
    parts.extend(component.next.as_ref().map(|next| {
        let other = component.target.as_ref().filter(|target| **target != next.version);
        let version = other.map(|_| format!("{} ", next.version)).unwrap_or_default();
        let at = if next.at <= now { "now".to_owned() } else { format!("{:.0}", next.at) };
        format!("next {version}{at}")
    }));
    parts.join(", ")
}

/// Returns the active version, and the target if it is another one.
pub(super) fn change(component: &FleetComponent) -> String {
    let active = component.active.as_deref().map_or("none".into(), printable);
    let target = component.target.as_ref().map(ToString::to_string);
    match target.filter(|target| component.active.as_ref() != Some(target)) {
        Some(target) => format!("{active} -> {target}"),
        None => active.into_owned(),
    }
}

/// Returns the state with its reason, unless the component is up to date.
pub(super) fn state(component: &FleetComponent) -> Option<String> {
    use d8_crds::records::host::ComponentState::UpToDate;
    let Some(state) = component.state else { return Some("Unreported".to_owned()) };
    let reason = component.reason.as_deref().map(|reason| format!(" ({})", printable(reason)));
    (state != UpToDate || reason.is_some()).then(|| format!("{state:?}{}", reason.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
