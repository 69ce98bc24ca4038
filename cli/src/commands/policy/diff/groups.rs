//! The changes of `d8 policy diff` for people: grouped by component, by what changes and why.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        explain,
        impact::{ComponentDiff, HostImpact},
        reason::{Class, Origin, Reason, ReasonCode},
    },
    values::version::Version,
};
use jiff::Timestamp;

use super::{
    names::{HostNames, hosts},
    report::{HostChange, display_host},
};

/// What the changes of a group have in common: what changes, and the reason, which is a rule of a policy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey<'a> {
    component: &'a str,
    old: String,
    new: String,
    cause: Option<(ReasonCode, Option<&'a str>, Option<Origin>)>,
}

/// Which side of a change is shown.
type Side = fn(&HostChange) -> Option<&HostImpact>;

const OLD: Side = |change| change.change.old.as_ref();
const NEW: Side = |change| change.change.new.as_ref();

/// Returns the lines: for each component its name, and below it the groups, those of most hosts first.
pub(super) fn lines(changes: &[HostChange], names: HostNames) -> Vec<String> {
    let mut groups: Vec<_> = grouped(changes).into_iter().collect();
    groups.sort_by_key(|(key, group)| {
        (key.component, !group.iter().any(|change| change.change.moves), std::cmp::Reverse(group.len()))
    });
    let mut lines = Vec::new();
    let mut component = None;
    for (key, group) in groups {
        if component != Some(key.component) {
            component = Some(key.component);
            lines.push(key.component.to_owned());
        }
        lines.push(headline(&key, &group, names));
        lines.extend(reason(&group));
    }
    lines
}

/// Groups changes, each group in the order of the changes.
fn grouped(changes: &[HostChange]) -> BTreeMap<GroupKey<'_>, Vec<&HostChange>> {
    // Thousands of hosts share a change: its key is made once.
    let mut of_change: HashMap<*const ComponentDiff, usize> = HashMap::new();
    let mut of_key: BTreeMap<GroupKey<'_>, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<&HostChange>> = Vec::new();
    for change in changes {
        let group = *of_change.entry(Arc::as_ptr(&change.change)).or_insert_with(|| {
            *of_key.entry(key(change)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            })
        });
        groups[group].push(change);
    }
    of_key.into_iter().map(|(key, group)| (key, std::mem::take(&mut groups[group]))).collect()
}

fn key(change: &HostChange) -> GroupKey<'_> {
    let reason = NEW(change).and_then(|new| new.reason.as_ref());
    GroupKey {
        component: &change.change.component,
        old: outcome(OLD(change), change),
        new: outcome(NEW(change), change),
        cause: reason.map(|reason| (reason.code(), reason.policy(), reason.rule())),
    }
}

/// `on v1.0.0: v1.1.0 -> v1.1.0 held until 2026-11-24T12:00:00Z   2 hosts: bastion-1, bastion-2`.
fn headline(key: &GroupKey<'_>, group: &[&HostChange], names: HostNames) -> String {
    let old = format!("{}{}", key.old, times(group, OLD));
    let new = format!("{}{}", key.new, times(group, NEW));
    let change = if old == new { format!("{old}, for another reason") } else { format!("{old} -> {new}") };
    let shown: Vec<_> = group.iter().map(|change| display_host(change.host.as_deref())).collect();
    format!("  {}: {change}   {}", active(group), hosts(&shown, names))
}

/// `on v1.0.0`, `on v1.0.0 to v1.2.0`, or `not installed`.
fn active(group: &[&HostChange]) -> String {
    let versions = || group.iter().filter_map(|change| change.change.active.as_ref());
    let some_without = group.iter().any(|change| change.change.active.is_none());
    match (versions().min(), versions().max()) {
        (Some(first), Some(last)) => {
            let range = if first == last { format!("on {first}") } else { format!("on {first} to {last}") };
            if some_without { format!("{range}, or not installed") } else { range }
        }
        _ if group.iter().all(|change| OLD(change).is_none()) => "not installed".to_owned(),
        _ => "on an unknown version".to_owned(),
    }
}

/// Returns where policies lead, without times.
fn outcome(impact: Option<&HostImpact>, change: &HostChange) -> String {
    let Some(impact) = impact else { return "not required".to_owned() };
    let is_installed = change.change.active.is_some();
    let text = match (impact.verdict, &impact.target) {
        (Class::Eligible, target) => shown(target.as_ref()),
        (Class::Held, target) => format!("{} held", shown(target.as_ref())),
        (Class::Forbidden, Some(target)) => format!("must be replaced by {target}"),
        (Class::Forbidden, None) if is_installed => "must be replaced, nothing is eligible".to_owned(),
        (Class::Forbidden, None) => "required, nothing is permitted".to_owned(),
        (Class::Unfit, _) => "nothing fits".to_owned(),
    };
    let runs = if impact.runs { "" } else { "may not run, " };
    let next = next(impact).map(|(version, _)| format!(", next {version}")).unwrap_or_default();
    format!("{runs}{text}{next}")
}

fn shown(version: Option<&Version>) -> String {
    version.map_or("nothing".to_owned(), ToString::to_string)
}

/// Returns what the agent takes first, if that is another version than the target or at another time than the end of its
/// hold.
fn next(impact: &HostImpact) -> Option<(&Version, Timestamp)> {
    let next = impact.next.as_ref().filter(|_| impact.verdict != Class::Eligible)?;
    // What replaces a forbidden version is eligible now.
    let comes_as_shown = impact.verdict == Class::Forbidden || until(impact) == Some(next.at);
    let is_target = impact.target.as_ref() == Some(&next.version) && comes_as_shown;
    (!is_target).then_some((&next.version, next.at))
}

/// Returns when the hold of the target ends, if the reason is about the target and not about a former one.
fn until(impact: &HostImpact) -> Option<Timestamp> {
    let reason = impact.reason.as_ref().filter(|_| impact.verdict == Class::Held)?;
    if reason.subject.version == impact.target { reason.until() } else { None }
}

/// Returns when the next version comes, or when the hold ends. The hosts of a wave have different times.
fn times(group: &[&HostChange], side: Side) -> String {
    let impacts = || group.iter().filter_map(|change| side(change));
    let (word, times): (_, Vec<_>) = if impacts().any(|impact| next(impact).is_some()) {
        ("at", impacts().filter_map(next).map(|(_, at)| at).collect())
    } else {
        ("until", impacts().filter_map(until).collect())
    };
    match (times.iter().min(), times.iter().max()) {
        (Some(first), Some(last)) if first == last => format!(" {word} {first:.0}"),
        (Some(first), Some(last)) => format!(" {word} {first:.0} to {last:.0}"),
        _ => String::new(),
    }
}

/// Returns the reason. If it differs in its values from host to host, it is that of the first one. Its commands are for
/// the first host.
fn reason(group: &[&HostChange]) -> Option<String> {
    let first = group.first()?;
    let host = first.host.as_deref();
    let sentence = |reason: &Reason| match host {
        Some(host) => explain::about_host(reason, host),
        None => explain::to_person(reason),
    };
    let of = |change: &HostChange| NEW(change).and_then(|new| new.reason.as_ref()).map(sentence);
    let shown = of(first)?;
    let is_same =
        |change: &&HostChange| Arc::ptr_eq(&change.change, &first.change) || of(change).as_ref() == Some(&shown);
    let of_host = if group.iter().all(is_same) { String::new() } else { format!("on {}: ", display_host(host)) };
    Some(format!("    {of_host}{shown}"))
}

#[cfg(test)]
mod tests;
