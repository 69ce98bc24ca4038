//! One component on all hosts.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use serde::Serialize;

use super::host::{FleetComponent, FleetHost};
use crate::{records::host::ComponentState, values::version::Version};

/// One component on all hosts. Lists have the most hosts first, versions the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSummary {
    /// Name of the plugin, or `d8`.
    pub name: String,
    /// Number of hosts that report it, or where it is required.
    pub hosts: usize,
    /// What is active, and on how many hosts.
    pub versions: Vec<VersionCount>,
    /// Where policies lead hosts.
    pub targets: Vec<VersionCount>,
    /// What hosts take first, if nothing changes but the time.
    pub next: Vec<NextCount>,
    /// The states that hosts report.
    pub states: Vec<StateCount>,
    /// The reasons that hosts report.
    pub reasons: Vec<ReasonCount>,
}

/// A version, and on how many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionCount {
    /// The version as text; null: none.
    pub version: Option<String>,
    /// Number of hosts.
    pub hosts: usize,
}

/// A version that hosts take next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextCount {
    /// The version.
    pub version: String,
    /// Number of hosts.
    pub hosts: usize,
    /// When the first of them takes it.
    pub first: Timestamp,
    /// When the last of them takes it.
    pub last: Timestamp,
}

/// A state, and on how many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateCount {
    /// The state; null: the host has not reported the component.
    pub state: Option<ComponentState>,
    /// Number of hosts.
    pub hosts: usize,
}

/// A reason, and on how many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// The state that it explains.
    pub state: ComponentState,
    /// Code of the reason.
    pub reason: String,
    /// Number of hosts.
    pub hosts: usize,
}

/// Sums up each component.
pub(super) fn summaries(hosts: &[FleetHost]) -> Vec<ComponentSummary> {
    let mut of_component: BTreeMap<&str, Vec<&FleetComponent>> = BTreeMap::new();
    for component in hosts.iter().flat_map(|host| &host.components) {
        of_component.entry(&component.name).or_default().push(component);
    }
    of_component.into_iter().map(|(name, found)| summary(name, &found)).collect()
}

fn summary(name: &str, found: &[&FleetComponent]) -> ComponentSummary {
    let mut next: BTreeMap<&Version, (usize, Timestamp, Timestamp)> = BTreeMap::new();
    for version in found.iter().filter_map(|component| component.next.as_ref()) {
        let (hosts, first, last) = next.entry(&version.version).or_insert((0, version.at, version.at));
        (*hosts, *first, *last) = (*hosts + 1, version.at.min(*first), version.at.max(*last));
    }
    let next = next.into_iter().rev().map(|(version, (hosts, first, last))| NextCount {
        version: version.to_string(),
        hosts,
        first,
        last,
    });
    let mut states = counted(found.iter().map(|component| component.state));
    states.sort_by_key(|(state, _)| Reverse(*state));
    let reasons = counted(found.iter().filter_map(|component| Some((component.state?, component.reason.as_deref()?))));
    ComponentSummary {
        name: name.to_owned(),
        hosts: found.len(),
        versions: versions(found.iter().map(|component| component.active.as_deref())),
        targets: versions(found.iter().map(|component| component.target.as_ref().map(ToString::to_string))),
        next: next.collect(),
        states: states.into_iter().map(|(state, hosts)| StateCount { state, hosts }).collect(),
        reasons: reasons
            .into_iter()
            .map(|((state, reason), hosts)| ReasonCount { state, reason: reason.to_owned(), hosts })
            .collect(),
    }
}

/// Counts versions: the newest first, then texts that are no version, then nothing.
fn versions<T: AsRef<str> + Ord>(found: impl Iterator<Item = Option<T>>) -> Vec<VersionCount> {
    let mut counts = counted(found);
    let key = |text: &Option<T>| {
        let text = text.as_ref().map(AsRef::as_ref);
        (text.and_then(|text: &str| Version::parse(text).ok()), text.map(str::to_owned))
    };
    counts.sort_by_cached_key(|(text, _)| Reverse(key(text)));
    let count =
        |(text, hosts): (Option<T>, usize)| VersionCount { version: text.map(|text| text.as_ref().to_owned()), hosts };
    counts.into_iter().map(count).collect()
}

/// Counts equal items: the most frequent first.
fn counted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts
}
