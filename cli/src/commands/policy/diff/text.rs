//! The text of `d8 policy diff` for people.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{decisions::impact::WaveChangeKind, values::duration::FormattedDuration};

use super::{
    groups,
    names::{HostNames, abbreviated, count, hosts},
    report::{DiffReport, EditedWave, HostPause, display_host},
};

/// Returns all lines.
pub(super) fn lines(report: &DiffReport, names: HostNames) -> Vec<String> {
    let mut lines: Vec<String> =
        report.deleted.iter().map(|policy| format!("Policy {policy} would be deleted.")).collect();
    lines.extend(pauses(&report.pauses, names));
    lines.extend(waves(&report.waves, names));
    lines.extend(locked_out(report, names));
    lines.extend(not_permitted(report, names));
    let compared = match report.managed_hosts {
        None => "this machine".to_owned(),
        Some(1) => "1 managed host and this machine".to_owned(),
        Some(hosts) => format!("{hosts} managed hosts and this machine"),
    };
    if report.changes.is_empty() {
        let what = if lines.is_empty() { "Nothing would change" } else { "Nothing else would change now" };
        lines.push(format!("{what} on {compared}."));
    } else {
        lines.extend(groups::lines(&report.changes, names));
        lines.push(format!("{} Compared {compared}.", summary(report)));
    }
    lines
}

/// Returns a line for the hosts where a pause would begin, and one for those where it would end.
fn pauses(pauses: &[HostPause], shown: HostNames) -> Vec<String> {
    let begins = "nothing would change there until the pause ends, except that people may leave a blocked version";
    let line = |(paused, verb, effect): (bool, &str, &str)| {
        let hosts = pauses.iter().filter(|pause| pause.paused == paused);
        let hosts: Vec<_> = hosts.map(|pause| display_host(pause.host.as_deref())).collect();
        let names = abbreviated(&hosts, shown);
        (!hosts.is_empty()).then(|| format!("{} would {verb} paused: {effect} ({names}).", count(hosts.len())))
    };
    let cases = [(true, "be", begins), (false, "no longer be", "updates go on there")];
    cases.into_iter().filter_map(line).collect()
}

/// Returns a line for the waves of one component and policy to which the same happens.
fn waves(waves: &[EditedWave], shown: HostNames) -> Vec<String> {
    let mut groups: BTreeMap<_, Vec<&EditedWave>> = BTreeMap::new();
    for wave in waves {
        groups.entry((&wave.policy, &wave.component, wave.kind)).or_default().push(wave);
    }
    let line = |((policy, component, kind), waves): ((&String, &String, WaveChangeKind), Vec<&EditedWave>)| {
        let versions: Vec<_> = waves.iter().map(|wave| wave.version.as_str()).collect();
        let versions = format!("{component} {}", abbreviated(&versions, HostNames::Few));
        let concerned: BTreeSet<&str> = waves.iter().flat_map(|wave| wave.display_hosts()).collect();
        let concerned: Vec<_> = concerned.into_iter().collect();
        let several = waves.len() > 1;
        let wave = if several { "waves" } else { "wave" };
        let what = match kind {
            WaveChangeKind::Resumes => format!("the halted {wave} of {versions} would go on"),
            WaveChangeKind::Begins { over } => {
                let each = if several { ", each" } else { "" };
                format!("the {wave} of {versions} would begin now{each} over {}", FormattedDuration(over))
            }
            WaveChangeKind::Awaits { hosts, stable_for } => {
                let has = if several { "each has" } else { "it has" };
                let (on, long) = (count(usize::try_from(hosts).unwrap_or(usize::MAX)), FormattedDuration(stable_for));
                format!("the {wave} of {versions} would not begin before {has} succeeded on {on} for {long}")
            }
        };
        format!("Policy {policy}: {what} ({}).", hosts(&concerned, shown))
    };
    groups.into_iter().map(line).collect()
}

/// Returns a line for each plugin that could neither run nor be replaced.
fn locked_out(report: &DiffReport, shown: HostNames) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for lockout in &report.locked_out {
        groups.entry(&lockout.component).or_default().push(display_host(lockout.host.as_deref()));
    }
    let until = |component: &str| {
        let of_component = report.locked_out.iter().filter(|lockout| lockout.component == component);
        let ends: Option<Vec<_>> = of_component.map(|lockout| lockout.next.as_ref()).collect();
        let last = ends?.into_iter().max_by_key(|next| next.at)?;
        Some(format!(" before {:.0}", last.at))
    };
    let line = |(component, names): (&str, Vec<&str>)| {
        format!(
            "Nobody could run {component} on {}, nor replace it{} ({}).",
            count(names.len()),
            until(component).unwrap_or_default(),
            abbreviated(&names, shown)
        )
    };
    groups.into_iter().map(line).collect()
}

/// Returns a line for each plugin that would be required although no published version is permitted.
fn not_permitted(report: &DiffReport, shown: HostNames) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &report.not_permitted {
        groups.entry(&entry.component).or_default().push(display_host(entry.host.as_deref()));
    }
    let line = |(component, names): (&str, Vec<&str>)| {
        format!(
            "{component} would be required on {}, but policies permit no published version there ({}).",
            count(names.len()),
            abbreviated(&names, shown)
        )
    };
    groups.into_iter().map(line).collect()
}

/// `3 hosts would change, 2 of them in more than why or until when a version is held.`
fn summary(report: &DiffReport) -> String {
    let hosts = |moving: bool| {
        let changes = report.changes.iter().filter(|change| change.change.moves || !moving);
        changes.map(|change| change.host.as_deref()).collect::<BTreeSet<_>>().len()
    };
    let (all, moving) = (hosts(false), hosts(true));
    let held = "why or until when a version is held";
    match moving {
        0 => format!("{} would change, only in {held}.", count(all)),
        _ if moving == all => format!("{} would change.", count(all)),
        _ => format!("{} would change, {moving} of them in more than {held}.", count(all)),
    }
}

#[cfg(test)]
mod tests;
