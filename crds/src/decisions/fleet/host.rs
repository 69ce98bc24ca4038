//! One host: what it reported, and where policies lead it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::FleetInputs;
use crate::{
    decisions::{
        host_report,
        impact::{Forecast, HostFacts, HostImpact},
        verdict::NextVersion,
    },
    records::host::{CliHost, ComponentState, HostComponent, SILENCE},
    values::{name::Component, version::Version},
};

/// What the `CliHost` of a host shows, without what a fleet does not need.
#[derive(Debug, Clone, Default)]
pub struct ObservedHost {
    pub(super) facts: HostFacts,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) reported: Vec<HostComponent>,
    has_reported: bool,
}

impl ObservedHost {
    /// Reads a `CliHost`.
    pub fn new(host: CliHost) -> Self {
        let (facts, _) = HostFacts::of_managed(&host);
        let status = host.status.unwrap_or_default();
        Self {
            facts,
            has_reported: !host_report::is_missing(&status),
            last_seen: status.last_seen.map(|time| time.0),
            reported: status.components,
        }
    }

    /// Returns whether the host reports as often as it should.
    fn contact(&self, now: Timestamp) -> Contact {
        if !self.has_reported {
            return Contact::Never;
        }
        let is_late = self.last_seen.is_none_or(|seen| now.duration_since(seen) > SILENCE);
        if is_late { Contact::Silent } else { Contact::Reports }
    }
}

/// Whether a host reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Contact {
    /// It has reported in the last hours, as it should.
    Reports,
    /// It has not reported for longer.
    Silent,
    /// It has never reported.
    Never,
}

/// One host of a fleet.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetHost {
    /// Name of the `CliHost`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its platform; absent: not reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When it last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Whether it reports.
    pub contact: Contact,
    /// The worst state of its components; absent: none is reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ComponentState>,
    /// The components that it reports or that are required there, by name.
    pub components: Vec<FleetComponent>,
}

/// One component on a host.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetComponent {
    /// Name of the plugin, or `d8`.
    pub name: String,
    /// What the host reports as active; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// The state that the host reports; absent: a policy requires the component, and the host has not reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ComponentState>,
    /// Code of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the last of the holds ends, as the host reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the active version or the state last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Where the policies lead the host now; null: no version, or not known.
    #[serde(serialize_with = "version")]
    pub target: Option<Version>,
    /// What the host takes first, if nothing changes but the time.
    pub next: Option<NextVersion>,
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn version<S: Serializer>(version: &Option<Version>, serializer: S) -> Result<S::Ok, S::Error> {
    match version {
        Some(version) => serializer.collect_str(version),
        None => serializer.serialize_none(),
    }
}

impl FleetHost {
    pub(super) fn new<'a>(host: &'a ObservedHost, forecast: &mut Forecast<'a>, inputs: &FleetInputs<'_>) -> Self {
        let contact = host.contact(inputs.now);
        // What is on a host that never reported is not known, so neither is what it will take.
        let mut impacts = if contact == Contact::Never { BTreeMap::new() } else { forecast.of(&host.facts) };
        let mut components: Vec<_> = host
            .reported
            .iter()
            .filter_map(|reported| {
                let component: Component = reported.name.parse().ok()?;
                let impact = impacts.remove(&component);
                inputs.shows(&component).then(|| FleetComponent::reported(reported, impact.as_deref()))
            })
            .collect();
        let missing = impacts.into_iter().filter(|(component, _)| inputs.shows(component));
        components.extend(missing.map(|(component, impact)| FleetComponent::missing(&component, &impact)));
        components.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            name: host.facts.id.clone(),
            labels: host.facts.labels.clone(),
            platform: host.facts.platform.as_ref().map(ToString::to_string),
            last_seen: host.last_seen,
            contact,
            state: components.iter().filter_map(|component| component.state).max(),
            components,
        }
    }
}

impl FleetComponent {
    fn reported(reported: &HostComponent, impact: Option<&HostImpact>) -> Self {
        Self {
            name: reported.name.clone(),
            active: reported.active.clone(),
            state: Some(reported.state),
            reason: reported.reason.clone(),
            message: reported.message.clone(),
            until: reported.until.as_ref().map(|time| time.0),
            since: reported.last_change.as_ref().map(|time| time.0),
            target: impact.and_then(|impact| impact.target.clone()),
            next: impact.and_then(|impact| impact.next.clone()),
        }
    }

    fn missing(component: &Component, impact: &HostImpact) -> Self {
        Self {
            name: component.name().to_owned(),
            active: None,
            state: None,
            reason: None,
            message: None,
            until: None,
            since: None,
            target: impact.target.clone(),
            next: impact.next.clone(),
        }
    }
}
