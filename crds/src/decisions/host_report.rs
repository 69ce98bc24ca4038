//! What managed hosts report in the status of their `CliHost`.

use crate::{
    decisions::wave::{FailedChange, UpToDate},
    records::host::{CliHostStatus, ComponentState},
    values::{digest::Digest, name::Component, version::Version},
};

/// What a host reports of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedComponent {
    /// Plugin, or d8 itself.
    pub component: Component,
    /// What is active.
    pub active: ReportedVersion,
    /// The digest of the active version, if it is valid; none otherwise.
    pub digests: Vec<Digest>,
    /// For how long the host has reported the version as up to date. Absent: it does not.
    pub up_to_date: Option<UpToDate>,
    /// The change that failed or has not finished.
    pub failed: Option<FailedChange>,
}

/// What a host reports as active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedVersion {
    /// Nothing: the component is not installed.
    None,
    /// A version.
    Version(Version),
    /// A text that is no version.
    Invalid(String),
}

impl ReportedVersion {
    /// Returns the version, if one is known.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Version(version) => Some(version),
            Self::None | Self::Invalid(_) => None,
        }
    }
}

/// Reads what a host reports of its components. Leaves out those with an invalid name.
pub fn components(status: &CliHostStatus) -> impl Iterator<Item = ReportedComponent> + '_ {
    let last_seen = status.last_seen.as_ref().map(|time| time.0);
    status.components.iter().filter_map(move |reported| {
        let active = match reported.active.as_deref() {
            None => ReportedVersion::None,
            Some(text) => Version::parse(text)
                .map_or_else(|_| ReportedVersion::Invalid(text.to_owned()), ReportedVersion::Version),
        };
        let since = reported.last_change.as_ref().filter(|_| reported.state == ComponentState::UpToDate);
        Some(ReportedComponent {
            component: reported.name.parse().ok()?,
            active,
            digests: reported.digest.iter().filter_map(|digest| digest.parse().ok()).collect(),
            up_to_date: since.map(|since| UpToDate::new(since.0, last_seen)),
            failed: FailedChange::reported(reported, last_seen),
        })
    })
}

/// Returns whether the host has never reported what is on it.
pub fn is_missing(status: &CliHostStatus) -> bool {
    status.last_seen.is_none() && status.components.iter().all(|component| component.active.is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(status: Value) -> CliHostStatus {
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn what_hosts_report() {
        let component = |name: &str, active: Option<&str>, state: &str| json!({"name": name, "active": active, "state": state, "target": "1.1.0"});
        let reported = status(json!({"components": [
            component("tool", Some("v1.0.0"), "UpToDate"), component("odd", Some("no version"), "Held"),
            component("absent", None, "Failed"), component("../x", Some("v1.0.0"), "UpToDate"),
        ]}));
        let found: Vec<_> = components(&reported)
            .map(|found| {
                let failed = found.failed.map(|failed| failed.version.to_string());
                (found.component.to_string(), found.active, failed)
            })
            .collect();
        let name = |name: &str| name.to_owned();
        assert_eq!(
            found,
            [
                (name("tool"), ReportedVersion::Version("v1.0.0".parse().unwrap()), None),
                (name("odd"), ReportedVersion::Invalid(name("no version")), None),
                (name("absent"), ReportedVersion::None, Some(name("v1.1.0"))),
            ]
        );
    }

    #[test]
    fn hosts_that_have_not_reported() {
        let waits = json!([{"name": "tool", "state": "Pending"}]);
        let active = json!([{"name": "tool", "active": "v1.0.0", "state": "UpToDate"}]);
        let seen = "2026-11-22T12:00:00Z";
        for (report, expected) in [
            (json!({}), true),
            (json!({"platform": "linux-amd64", "lastSeen": seen}), false),
            (json!({"components": waits}), true),
            (json!({"components": waits, "lastSeen": seen}), false),
            (json!({"components": active}), false),
        ] {
            assert_eq!(is_missing(&status(report.clone())), expected, "{report}");
        }
    }
}
