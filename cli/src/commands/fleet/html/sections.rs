//! The sections of the page.

use std::fmt::Write as _;

use d8_crds::{
    decisions::fleet::{
        ComponentSummary, Contact, FailedHost, Fleet, FleetComponent, FleetHost, Hold, HostTotals, NextCount,
        PolicySummary, WaveProgress,
    },
    records::{host::ComponentState, policy::WaveState},
    values::text::printable_to,
};
use jiff::Timestamp;

use super::{
    chart,
    markup::{Markup, escaped, escaped_or_nothing, time, time_or_nothing},
};
use crate::{commands::fleet::text, version};

/// Most entries of each list.
const MAX_FAILED: usize = 500;
const MAX_SILENT: usize = 500;
const MAX_WAVES: usize = 60;
const MAX_COMPONENTS: usize = 200;
const MAX_HOLDS: usize = 100;
const MAX_POLICIES: usize = 300;
/// Most names of hosts beside one hold, and beside all of them.
const MAX_HELD_HOSTS: usize = 300;
const MAX_HELD_HOSTS_IN_ALL: usize = 5_000;
/// Most versions, states or reasons in one cell.
const MAX_IN_CELL: usize = 8;
/// Most components beside one host, and most characters of a reason there.
const MAX_COMPONENTS_OF_HOST: usize = 3;
const MAX_REASON: usize = 40;

/// Adds the heading.
pub(super) fn head(page: &mut Markup, fleet: &Fleet, title: &str) {
    page.add(format_args!("<header>\n<h1>{}</h1>\n", escaped(title)));
    page.add(format_args!(
        "<p>{} · {} · d8 {}</p>\n",
        time(fleet.time),
        escaped(&text::totals(&fleet.totals)),
        escaped(&version::display())
    ));
    page.add("<nav>");
    for (id, name) in [
        ("failed", "Failed"),
        ("waves", "Waves"),
        ("components", "Components"),
        ("holds", "Holds"),
        ("silent", "Silent hosts"),
        ("policies", "Policies"),
        ("hosts", "Hosts"),
    ] {
        page.add(format_args!("<a href=\"#{id}\">{name}</a>"));
    }
    page.add("</nav>\n</header>\n");
}

/// Adds the numbers of hosts.
pub(super) fn totals(page: &mut Markup, totals: &HostTotals) {
    page.section("totals", "Hosts by state", Some(totals.hosts));
    page.add("<div class=\"tiles\">\n");
    for (class, count, what) in [
        ("good", totals.up_to_date, "up to date"),
        ("busy", totals.changing, "changing"),
        ("held", totals.held, "held"),
        ("bad", totals.failed, "failed"),
        ("bad", totals.forbidden, "forbidden"),
        ("bad", totals.unfit, "unfit"),
        ("off", totals.silent, &*text::silent_for()),
        ("off", totals.never_reported, "never reported"),
    ] {
        let class = if count == 0 { "off" } else { class };
        page.add(format_args!("<div class=\"tile {class}\"><b>{count}</b><span>{what}</span></div>\n"));
    }
    page.add("</div>\n");
    page.end_section();
}

/// Adds the changes that failed.
pub(super) fn failed(page: &mut Markup, fleet: &Fleet) {
    page.section("failed", "Failed changes", Some(fleet.failed.len()));
    if fleet.failed.is_empty() {
        page.add("<p class=\"fine\">No change has failed.</p>\n");
    } else {
        page.table(&["Host", "Component", "Version", "Reason", "Since", "Message"]);
        for FailedHost { host, component, version, reason, message, since, stuck } in
            fleet.failed.iter().take(MAX_FAILED)
        {
            let reason = if *stuck { Some("has not finished") } else { reason.as_deref() };
            page.row([
                &name(host),
                &escaped(component),
                &escaped(version),
                &state_text(Some(ComponentState::Failed), &escaped_or_nothing(reason).to_string()),
                &time_or_nothing(*since),
                &escaped_or_nothing(message.as_deref()),
            ]);
        }
        page.end_table();
    }
    page.left_out(fleet.failed.len().saturating_sub(MAX_FAILED), "failed changes");
    page.end_section();
}

/// Adds a chart for each wave that is not complete.
pub(super) fn waves(page: &mut Markup, fleet: &Fleet) {
    let mut waves: Vec<_> = fleet.open_waves().collect();
    waves.sort_by_key(|wave| wave.state != WaveState::Halted);
    page.section("waves", "Waves", Some(waves.len()));
    if waves.is_empty() {
        page.add("<p class=\"fine\">No version is being rolled out.</p>\n");
    } else {
        page.add(
            "<p class=\"legend\"><i class=\"plan\"></i>hosts that the wave has reached<i></i>hosts that have the \
                  version, or a newer one</p>\n<div class=\"waves\">\n",
        );
        waves.iter().take(MAX_WAVES).for_each(|shown| wave(page, shown, fleet.time));
        page.add("</div>\n");
    }
    page.left_out(waves.len().saturating_sub(MAX_WAVES), "waves");
    page.end_section();
}

fn wave(page: &mut Markup, wave: &WaveProgress, now: Timestamp) {
    let WaveProgress { component, version, policy, active, newer, hosts, failed, .. } = wave;
    let (class, state) = match wave.state {
        WaveState::Halted => ("bad", "Halted".to_owned()),
        WaveState::AwaitingEvidence => ("held", awaits(wave)),
        WaveState::Running | WaveState::Complete => ("busy", format!("Has reached {}", text::percent(wave.reached))),
    };
    page.add(format_args!("<div class=\"card\"><h3>{} {}</h3>\n", escaped(component), escaped(version)));
    page.add(format_args!("<p class=\"soft\">policy {}</p>\n", escaped(policy)));
    page.add(format_args!(
        "<p><span class=\"state {class}\">{state}</span> · on {} of {hosts} hosts · {failed} failed</p>\n",
        active + newer
    ));
    if let Some(at) = wave.halted_at {
        page.add(format_args!("<p class=\"soft\">since {}</p>\n", time(at)));
    }
    page.add(chart::wave(wave, now).unwrap_or_default());
    page.add("</div>\n");
}

fn awaits(wave: &WaveProgress) -> String {
    match (wave.succeeded, wave.required, wave.canaries) {
        (Some(succeeded), Some(required), canaries) => {
            let canaries = canaries.map(|canaries| format!(", canaries: {canaries}")).unwrap_or_default();
            format!("Awaits evidence: {succeeded} of {required}{canaries}")
        }
        _ => "Awaits evidence".to_owned(),
    }
}

/// Adds the versions of each component.
pub(super) fn components(page: &mut Markup, fleet: &Fleet) {
    page.section("components", "Components", Some(fleet.components.len()));
    page.table(&["Component", "Hosts", "Active versions", "States", "Targets", "Next"]);
    for component in fleet.components.iter().take(MAX_COMPONENTS) {
        self::component(page, component, fleet.time);
    }
    page.end_table();
    page.left_out(fleet.components.len().saturating_sub(MAX_COMPONENTS), "components");
    page.end_section();
}

fn component(page: &mut Markup, component: &ComponentSummary, now: Timestamp) {
    let mut versions = chart::version_bar(&component.versions);
    let keys = component.versions.iter().enumerate().map(|(index, count)| {
        let version = count.version.as_deref().unwrap_or("none");
        let class = chart::version_class(index);
        format!("<span class=\"key {class}\">{} {}</span>", escaped(version), count.hosts)
    });
    versions += &some(keys, " ");
    let states = component.states.iter().map(|count| {
        let state = count.state.map_or("Unreported".to_owned(), |state| format!("{state:?}"));
        let of_state = component.reasons.iter().filter(|reason| Some(reason.state) == count.state);
        let reasons = of_state.map(|count| format!("{} {}", escaped(&count.reason), count.hosts));
        let reasons = some(reasons, ", ");
        format!(
            "{} <span class=\"soft\">{reasons}</span>",
            state_text(count.state, &format!("{state} {}", count.hosts))
        )
    });
    let targets = component
        .targets
        .iter()
        .map(|count| format!("{} {}", escaped(count.version.as_deref().unwrap_or("none")), count.hosts));
    let next = component.next.iter().map(|next| next_text(next, now));
    page.row([
        &name(&component.name),
        &component.hosts,
        &versions,
        &some(states, "<br/>"),
        &some(targets, "<br/>"),
        &some(next, "<br/>"),
    ]);
}

fn next_text(next: &NextCount, now: Timestamp) -> String {
    let NextCount { version, hosts, first, last } = next;
    let when = match (*first <= now, *last <= now) {
        (_, true) => "now".to_owned(),
        (true, false) => format!("until {}", time(*last)),
        (false, false) if first == last => time(*first),
        (false, false) => format!("{} to {}", time(*first), time(*last)),
    };
    format!("{} {hosts} <span class=\"soft\">{when}</span>", escaped(version))
}

/// Joins the first items, which are markup.
fn some(items: impl Iterator<Item = String>, separator: &str) -> String {
    let items: Vec<_> = items.collect();
    let mut shown = items.iter().take(MAX_IN_CELL).cloned().collect::<Vec<_>>().join(separator);
    if let Some(more) = items.len().checked_sub(MAX_IN_CELL).filter(|more| *more > 0) {
        let _ = write!(shown, "{separator}<span class=\"soft\">and {more} more</span>");
    }
    shown
}

/// Adds what keeps hosts from their targets.
pub(super) fn holds(page: &mut Markup, fleet: &Fleet) {
    page.section("holds", "Holds", Some(fleet.holds.len()));
    if fleet.holds.is_empty() {
        page.add("<p class=\"fine\">Every host that reports may come to its targets.</p>\n");
    } else {
        let mut names_left = MAX_HELD_HOSTS_IN_ALL;
        page.table(&["Component", "Target", "State", "Hosts", "Ends", "Why, on the first host"]);
        for hold in fleet.holds.iter().take(MAX_HOLDS) {
            self::hold(page, hold, &mut names_left);
        }
        page.end_table();
    }
    page.left_out(fleet.holds.len().saturating_sub(MAX_HOLDS), "holds");
    page.end_section();
}

fn hold(page: &mut Markup, hold: &Hold, names_left: &mut usize) {
    let shown = hold.hosts.len().min(MAX_HELD_HOSTS).min(*names_left);
    *names_left -= shown;
    let names: Vec<_> = hold.hosts[..shown].iter().map(|host| escaped(host).to_string()).collect();
    let more = match hold.hosts.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = match hold.hosts.len() {
        1 => "1 host".to_owned(),
        count => format!("{count} hosts"),
    };
    let hosts = format!("<details><summary>{count}</summary><p>{}{more}</p></details>", names.join(", "));
    let ends = match (hold.first_until, hold.last_until) {
        (Some(first), Some(last)) if first != last => format!("{} to {}", time(first), time(last)),
        (first, _) => time_or_nothing(first),
    };
    let reason = hold.reason.as_deref().map(|reason| format!(" ({})", escaped(reason))).unwrap_or_default();
    page.row([
        &name(&hold.component),
        &escaped_or_nothing(hold.target.as_deref()),
        &state_text(Some(hold.state), &format!("{:?}{reason}", hold.state)),
        &hosts,
        &ends,
        &escaped_or_nothing(hold.message.as_deref()),
    ]);
}

/// Adds the hosts that do not report.
pub(super) fn silent(page: &mut Markup, fleet: &Fleet) {
    page.section("silent", "Silent hosts", Some(fleet.silent.len()));
    if fleet.silent.is_empty() {
        page.add("<p class=\"fine\">Every host has reported in the last 7 hours.</p>\n");
    } else {
        page.table(&["Host", "Last report"]);
        for silent in fleet.silent.iter().take(MAX_SILENT) {
            page.row([&name(&silent.host), &silent.last_seen.map_or_else(|| "never".to_owned(), time)]);
        }
        page.end_table();
    }
    page.left_out(fleet.silent.len().saturating_sub(MAX_SILENT), "silent hosts");
    page.end_section();
}

/// Adds the policies.
pub(super) fn policies(page: &mut Markup, fleet: &Fleet) {
    page.section("policies", "Policies", Some(fleet.policies.len()));
    if fleet.policies.is_empty() {
        page.add("<p class=\"fine\">The cluster has no policy.</p>\n");
    } else {
        page.table(&["Policy", "Hosts", "Ready", "Message"]);
        for PolicySummary { name: policy, paused, hosts, ready, reason, message } in
            fleet.policies.iter().take(MAX_POLICIES)
        {
            let tone = match (ready.as_str(), paused) {
                ("True", false) => "good",
                ("True", true) => "held",
                ("False", _) => "bad",
                _ => "off",
            };
            let paused = if *paused { ", paused" } else { "" };
            page.row([
                &name(policy),
                &hosts.map(|hosts| hosts.to_string()).unwrap_or_default(),
                &format_args!("<span class=\"state {tone}\">{} {}{paused}</span>", escaped(ready), escaped(reason)),
                &escaped(message),
            ]);
        }
        page.end_table();
    }
    page.left_out(fleet.policies.len().saturating_sub(MAX_POLICIES), "policies");
    page.end_section();
}

/// Adds as many hosts as there is room for: those in the worst state first.
pub(super) fn hosts(page: &mut Markup, fleet: &Fleet, room: usize) {
    page.section("hosts", "Hosts", Some(fleet.hosts.len()));
    page.table(&["Host", "Platform", "Last report", "State", "Not at their targets"]);
    let mut hosts: Vec<&FleetHost> = fleet.hosts.iter().collect();
    hosts.sort_by_key(|host| (std::cmp::Reverse(host.state), host.contact == Contact::Reports));
    let end = page.len() + room;
    let mut shown = 0;
    for host in &hosts {
        let mut row = Markup::default();
        self::host(&mut row, host, fleet.time);
        if page.len() + row.len() > end {
            break;
        }
        page.add(row.finish());
        shown += 1;
    }
    page.end_table();
    page.left_out(hosts.len() - shown, "hosts");
    page.end_section();
}

/// Adds a host, with little markup: there are thousands.
fn host(page: &mut Markup, host: &FleetHost, now: Timestamp) {
    let (tone, state) = match (host.contact, host.state) {
        (Contact::Never, _) => ("off", "Never reported".to_owned()),
        (_, None) => ("good", "Nothing installed".to_owned()),
        (_, Some(state)) => (tone(Some(state)), format!("{state:?}")),
    };
    let is_behind = |component: &&FleetComponent| component.state != Some(ComponentState::UpToDate);
    let behind: Vec<_> = host.components.iter().filter(is_behind).collect();
    let shown = behind.iter().take(MAX_COMPONENTS_OF_HOST).map(|component| {
        let reason = component.reason.as_deref().map(|reason| printable_to(reason, MAX_REASON));
        let reason = reason.map(|reason| format!(" ({})", escaped(&reason))).unwrap_or_default();
        format!("{} {}{reason}", escaped(&component.name), escaped(&text::change(component)))
    });
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = behind.len().checked_sub(MAX_COMPONENTS_OF_HOST).filter(|more| *more > 0) {
        let _ = write!(shown, ", and {more} more");
    }
    let silent = if host.contact == Contact::Silent { " (silent)" } else { "" };
    let platform = escaped_or_nothing(host.platform.as_deref());
    page.add(format_args!("<tr class=\"{tone}\"><td>{}</td><td>{platform}</td>", escaped(&host.name)));
    page.add(format_args!("<td>{}{silent}</td><td>{state}</td><td>{shown}</td></tr>\n", text::seen(host, now)));
}

fn name(name: &str) -> String {
    format!("<span class=\"name\">{}</span>", escaped(name))
}

/// Returns a text in the colour of a state. The text is markup.
fn state_text(state: Option<ComponentState>, text: &str) -> String {
    format!("<span class=\"state {}\">{text}</span>", tone(state))
}

/// Returns the class of the colour of a state.
fn tone(state: Option<ComponentState>) -> &'static str {
    match state {
        Some(ComponentState::UpToDate) => "good",
        Some(ComponentState::Pending | ComponentState::Switching) => "busy",
        Some(ComponentState::Held) => "held",
        Some(ComponentState::Unfit | ComponentState::Forbidden | ComponentState::Failed) => "bad",
        None => "off",
    }
}
