//! Hosts that do not come to their targets, and why.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    FleetInputs,
    host::{Contact, FleetHost, ObservedHost},
};
use crate::{decisions::wave::FailedChange, records::host::ComponentState};

/// What keeps hosts from the target of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Name of the plugin, or `d8`.
    pub component: String,
    /// Held, Forbidden or Unfit.
    pub state: ComponentState,
    /// Code of the reason; absent: the hosts report none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that is held; null: none.
    pub target: Option<String>,
    /// The reason for people, as the first host reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the hold ends on the first host; absent: not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_until: Option<Timestamp>,
    /// When it ends on the last host for which an end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_until: Option<Timestamp>,
    /// Names of the hosts.
    pub hosts: Vec<String>,
}

/// A change on a host that failed or is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedHost {
    /// Name of the host.
    pub host: String,
    /// Name of the plugin, or `d8`.
    pub component: String,
    /// The version that was to become active.
    pub version: String,
    /// Code of what failed; absent: the host reports none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What failed, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it failed, or when a change began that has not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether it has not finished for so long that it counts as failed.
    pub stuck: bool,
}

/// A host that does not report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SilentHost {
    /// Name of the host.
    pub host: String,
    /// When it last reported; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// Groups what keeps hosts by component, state, reason and target: the most hosts first.
pub(super) fn holds(hosts: &[FleetHost]) -> Vec<Hold> {
    let mut groups: BTreeMap<_, Hold> = BTreeMap::new();
    for host in hosts {
        for component in &host.components {
            let Some(state @ (ComponentState::Held | ComponentState::Forbidden | ComponentState::Unfit)) =
                component.state
            else {
                continue;
            };
            let key = (&component.name, state, &component.reason, &component.target);
            let hold = groups.entry(key).or_insert_with(|| Hold {
                component: component.name.clone(),
                state,
                reason: component.reason.clone(),
                target: component.target.as_ref().map(ToString::to_string),
                message: component.message.clone(),
                first_until: component.until,
                last_until: component.until,
                hosts: Vec::new(),
            });
            let ends = |known: Option<Timestamp>| known.into_iter().chain(component.until);
            (hold.first_until, hold.last_until) = (ends(hold.first_until).min(), ends(hold.last_until).max());
            hold.hosts.push(host.name.clone());
        }
    }
    let mut holds: Vec<_> = groups.into_values().collect();
    holds.sort_by_key(|hold| Reverse(hold.hosts.len()));
    holds
}

/// Lists the changes that failed or are stuck, by host.
pub(super) fn failed(hosts: &[ObservedHost], inputs: &FleetInputs<'_>) -> Vec<FailedHost> {
    let of_host = |host: &'_ ObservedHost| {
        let failed = host.facts.failed.iter();
        let failed = failed.filter(|(component, change)| inputs.shows(component) && change.counts(inputs.now));
        let failed = failed.map(|(component, change)| failed_host(host, component.name(), change));
        failed.collect::<Vec<_>>()
    };
    let mut failed: Vec<_> = hosts.iter().flat_map(of_host).collect();
    failed.sort_by(|a, b| (&a.host, &a.component).cmp(&(&b.host, &b.component)));
    failed
}

fn failed_host(host: &ObservedHost, component: &str, change: &FailedChange) -> FailedHost {
    let reported = host.reported.iter().find(|reported| reported.name == component);
    FailedHost {
        host: host.facts.id.clone(),
        component: component.to_owned(),
        version: change.version.to_string(),
        reason: reported.and_then(|reported| reported.reason.clone()),
        message: reported.and_then(|reported| reported.message.clone()),
        since: reported.and_then(|reported| Some(reported.last_change.as_ref()?.0)),
        stuck: change.switching_since.is_some(),
    }
}

/// Lists the hosts that do not report: those that never did last.
pub(super) fn silent(hosts: &[FleetHost]) -> Vec<SilentHost> {
    let silent = hosts.iter().filter(|host| host.contact != Contact::Reports);
    let mut silent: Vec<_> =
        silent.map(|host| SilentHost { host: host.name.clone(), last_seen: host.last_seen }).collect();
    silent.sort_by_key(|silent| (silent.last_seen.is_none(), silent.last_seen));
    silent
}
