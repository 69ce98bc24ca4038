//! The text of `d8 policy diff` for people.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use d8_crds::{
    decisions::impact::WaveChangeKind,
    values::{duration::FormattedDuration, text::printable_to},
};

use super::{
    groups,
    names::{HostNames, abbreviated, count, hosts},
    report::{DiffReport, EditedWave, HostPause, LeftOutHost, display_host},
    subjects::PolicyForPeople,
};

/// Most bytes that are shown of what is no version.
const MAX_ACTIVE: usize = 64;

/// Returns all lines.
pub(super) fn lines(report: &DiffReport, names: HostNames) -> Vec<String> {
    let mut lines: Vec<String> = report.for_people.iter().map(PolicyForPeople::line).collect();
    lines.extend(policies(report));
    lines.extend(pauses(&report.pauses, names));
    lines.extend(waves(&report.waves, names));
    lines.extend(locked_out(report, names));
    lines.extend(not_permitted(report, names));
    let compared = match report.managed_hosts {
        None => "this machine".to_owned(),
        Some(1) => "1 managed host and this machine".to_owned(),
        Some(hosts) => format!("{hosts} managed hosts and this machine"),
    };
    let mut apart = not_compared(report, names);
    if report.changes.is_empty() {
        let what = if lines.is_empty() { "Nothing would change" } else { "Nothing else would change now" };
        lines.push(format!("{what} on {compared}."));
    } else {
        lines.extend(groups::lines(&report.changes, names));
        lines.push(format!("{} Compared {compared}.", summary(report)));
    }
    lines.append(&mut apart);
    lines
}

/// Returns the lines about policies that would be new or deleted.
fn policies(report: &DiffReport) -> Vec<String> {
    let mut lines = Vec::new();
    for policy in &report.deleted {
        let halts = report.kept_halts.iter().filter(|halt| halt.policy == *policy);
        let halts: Vec<_> = halts.map(|halt| format!("{} {}", halt.component, halt.version)).collect();
        let halts: Vec<_> = halts.iter().map(String::as_str).collect();
        lines.push(match halts.len() {
            0 => format!("Policy {policy} would be deleted."),
            _ => format!(
                "Policy {policy} would be deleted, and with it the halt of {}, which comes back if a policy of this name \
                 is applied again.",
                abbreviated(&halts, HostNames::Few)
            ),
        });
    }
    lines.extend(report.created.iter().map(|policy| {
        format!(
            "Policy {policy} would be new. If a policy of this name was deleted, its halts come back, and within an hour \
             its waves go on."
        )
    }));
    lines
}

/// Returns the lines about managed hosts that were not compared.
fn not_compared(report: &DiffReport, shown: HostNames) -> Vec<String> {
    let names: Vec<_> = report.not_reported.iter().map(String::as_str).collect();
    let have = if names.len() == 1 { "has" } else { "have" };
    let missing = (!names.is_empty())
        .then(|| format!("{} {have} not reported yet ({}).", count(names.len()), abbreviated(&names, shown)));
    let left_out = report.left_out.iter().map(|LeftOutHost { host, component, active }| {
        format!(
            "Host {host} was left out: it reports version `{}` of {component}, which is no version. See `kubectl get \
             clihost {host} -o yaml`.",
            printable_to(active, MAX_ACTIVE)
        )
    });
    missing.into_iter().chain(left_out).collect()
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
            WaveChangeKind::Begins { at, over } => {
                let each = if several { ", each" } else { "" };
                format!("the {wave} of {versions} would begin at {at:.0}{each} over {}", FormattedDuration(over))
            }
            WaveChangeKind::Halts { failed, max_failed } => {
                let failed = count(usize::try_from(failed).unwrap_or(usize::MAX));
                format!(
                    "the {wave} of {versions} would be halted now, because {failed} failed and maxFailed is {max_failed}"
                )
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

/// Returns two lines for each group of policies that together would permit no version of a component.
fn not_permitted(report: &DiffReport, shown: HostNames) -> Vec<String> {
    let mut groups: BTreeMap<(&str, bool, &str), Vec<&str>> = BTreeMap::new();
    for entry in &report.not_permitted {
        let host = display_host(entry.host.as_deref());
        groups.entry((&entry.component, entry.required, &entry.message)).or_default().push(host);
    }
    let group = |((component, required, message), names): ((&str, bool, &str), Vec<&str>)| {
        let (hosts, names) = (count(names.len()), abbreviated(&names, shown));
        let what = if required {
            format!("{component} would be required on {hosts}, but policies permit no published version there")
        } else {
            format!("Policies would contradict each other about {component} on {hosts}")
        };
        [format!("{what} ({names})."), format!("  {message}")]
    };
    groups.into_iter().flat_map(group).collect()
}

/// `3 hosts would change, 2 of them in more than why or until when a version is held.`
fn summary(report: &DiffReport) -> String {
    let hosts = |moving: bool| {
        let changes = report.changes.iter().filter(|change| change.change.moves || !moving);
        changes.map(|change| change.host.as_deref()).collect::<HashSet<_>>().len()
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
