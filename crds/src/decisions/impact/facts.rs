//! What is known of a host.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decisions::{
        host_report::{self, ReportedVersion},
        person::{Person, UserInfo},
        verdict::Host,
        wave::{FailedChange, UpToDate},
    },
    records::{host::CliHost, release::CliRelease},
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};

/// What a cluster has besides policies.
#[derive(Debug, Clone, Copy)]
pub struct ClusterState<'a> {
    /// The records by component name.
    pub records: &'a BTreeMap<String, CliRelease>,
    /// The managed hosts, as far as they are known.
    pub hosts: &'a [HostFacts],
    /// The current time.
    pub now: Timestamp,
}

/// A host, and what is active on it.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// The name of its `CliHost`, or the random id of a workstation.
    pub id: String,
    /// The labels that policies select it by.
    pub labels: BTreeMap<String, String>,
    /// Whether an admin enrolled it, so that an agent updates it. If not, a person does.
    pub managed: bool,
    /// Whether it has no id yet. It then comes last in every wave.
    pub new_root: bool,
    /// The person who acts on a host that is not managed. Absent: not known.
    pub user: Option<UserInfo>,
    /// Its platform. Absent: not known.
    pub platform: Option<Platform>,
    /// The installed components. A component that is absent is not installed.
    pub active: BTreeMap<Component, ActiveComponent>,
    /// The changes that failed or have not finished, each component and version once.
    pub failed: Vec<(Component, FailedChange)>,
}

/// How much the record of a managed host tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostReport {
    /// What is on the host.
    Complete,
    /// The host has not reported yet.
    Missing,
    /// What it reports as active is no version.
    Invalid {
        /// The component.
        component: Component,
        /// What is reported.
        active: String,
    },
}

impl HostFacts {
    /// Returns the facts in the record of a managed host, and how much they tell.
    pub fn of_managed(host: &CliHost) -> (Self, HostReport) {
        let mut facts = Self {
            id: host.metadata.name.clone().unwrap_or_default(),
            labels: host.metadata.labels.clone().unwrap_or_default(),
            managed: true,
            ..Self::default()
        };
        let Some(status) = host.status.as_ref().filter(|status| !host_report::is_missing(status)) else {
            return (facts, HostReport::Missing);
        };
        facts.platform = status.platform.as_ref().and_then(|platform| platform.parse().ok());
        let mut report = HostReport::Complete;
        for reported in host_report::components(status) {
            let component = reported.component;
            let is_known = |failed: &FailedChange| facts.failed.contains(&(component.clone(), failed.clone()));
            // A host counts once for a version, even if its status lists the component twice.
            let failed = reported.failed.filter(|failed| !is_known(failed));
            facts.failed.extend(failed.map(|failed| (component.clone(), failed)));
            match reported.active {
                ReportedVersion::None => {}
                ReportedVersion::Version(version) => {
                    let (digests, up_to_date) = (reported.digests, reported.up_to_date);
                    facts.active.insert(component, ActiveComponent { version: Some(version), digests, up_to_date });
                }
                ReportedVersion::Invalid(active) => report = HostReport::Invalid { component, active },
            }
        }
        (facts, report)
    }

    /// Returns the host, and who acts there, as policies select them.
    pub(super) fn as_host(&self) -> Host<'_> {
        Host {
            id: &self.id,
            labels: &self.labels,
            platform: self.platform.as_ref(),
            new_root: self.new_root,
            person: if self.managed { Person::Nobody } else { Person::from(self.user.as_ref()) },
            local_rules: None,
        }
    }
}

/// The active version of one component.
#[derive(Debug, Clone, Default)]
pub struct ActiveComponent {
    /// The version. Absent: not known.
    pub version: Option<Version>,
    /// The digests of its bytes, as far as they are known.
    pub digests: Vec<Digest>,
    /// For how long the host has reported the version as up to date. Absent: it does not.
    pub up_to_date: Option<UpToDate>,
}
