//! What is known of a host.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decisions::{
        person::{Person, UserInfo},
        verdict::Host,
        wave::UpToDate,
    },
    records::release::CliRelease,
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
}

impl HostFacts {
    /// Returns the host, and who acts there, as policies select them.
    pub(super) fn as_host(&self) -> Host<'_> {
        Host {
            id: &self.id,
            labels: &self.labels,
            platform: self.platform.as_ref(),
            new_root: self.new_root,
            person: if self.managed { Person::Nobody } else { Person::from(self.user.as_ref()) },
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
