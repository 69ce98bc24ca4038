//! A managed host, by its `CliHost` in the cluster: what policies select it by, and what is installed there.

use std::collections::BTreeMap;

use d8_agent::cluster;
use d8_crds::{
    decisions::{
        host_report::{self, ReportedComponent, ReportedVersion},
        plan::{InstalledComponent, StoredDigests},
        verdict::Host,
    },
    records::{
        host::{CliHost, CliHostStatus, HostComponent},
        release::CliRelease,
    },
    values::{name::Component, platform::Platform, spelling::nearest},
};
use jiff::Timestamp;

use crate::{
    context::Context,
    terminal::failure::{Code, Failure},
};

/// A managed host.
pub(crate) struct ManagedHost {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// `None`: the host has not reported it.
    pub(crate) platform: Option<Platform>,
    status: CliHostStatus,
}

impl ManagedHost {
    /// Fetches the `CliHost` of this name.
    ///
    /// # Errors
    /// It does not exist (1), or the user may not read it (5).
    pub(crate) async fn fetch(context: &Context, name: &str) -> Result<Self, Failure> {
        let client = &context.cluster().await?.client;
        match cluster::host(client, name).await {
            Ok(Some(host)) => Ok(Self::of(host)),
            Ok(None) => Err(not_found(name, &cluster::hosts(client).await.unwrap_or_default())),
            Err(error) => Err(context.view_failure(&error)),
        }
    }

    fn of(host: CliHost) -> Self {
        let status = host.status.unwrap_or_default();
        Self {
            name: host.metadata.name.unwrap_or_default(),
            labels: host.metadata.labels.unwrap_or_default(),
            platform: status.platform.as_ref().and_then(|platform| platform.parse().ok()),
            status,
        }
    }

    /// Returns the host as policies select it. Nobody acts there but the agent.
    pub(crate) fn as_host(&self) -> Host<'_> {
        let Self { name, labels, platform, .. } = self;
        Host::unattended(name, labels, platform.as_ref())
    }

    /// Returns whether the host has reported what is on it.
    pub(crate) fn has_reported(&self) -> bool {
        !host_report::is_missing(&self.status)
    }

    /// Returns when the host reported last, if it says that.
    pub(crate) fn last_seen(&self) -> Option<Timestamp> {
        self.status.last_seen.as_ref().map(|time| time.0)
    }

    /// Returns the entry of a component in the status of the host.
    pub(crate) fn reported(&self, component: &Component) -> Option<&HostComponent> {
        self.status.components.iter().find(|reported| reported.name == component.name())
    }

    /// Returns the components that are installed, with what the record says of their active versions. Leaves out those
    /// with an invalid name.
    pub(crate) fn installed(&self, records: &BTreeMap<String, CliRelease>) -> BTreeMap<Component, InstalledComponent> {
        let installed = self.active().map(|reported| {
            let version = reported.active.version().cloned();
            let installed = InstalledComponent::recorded(version, records.get(reported.component.name()));
            (reported.component, installed)
        });
        installed.collect()
    }

    /// Returns the digests of the active versions.
    pub(crate) fn digests(&self) -> BTreeMap<Component, StoredDigests> {
        let digests = self.active().map(|reported| {
            (reported.component, StoredDigests { active: reported.digests, ..StoredDigests::default() })
        });
        digests.collect()
    }

    /// Returns what is reported of the installed components.
    fn active(&self) -> impl Iterator<Item = ReportedComponent> + '_ {
        host_report::components(&self.status).filter(|reported| reported.active != ReportedVersion::None)
    }
}

/// Returns the failure when no `CliHost` has the name. `hosts`: those that exist, as far as the user may read them.
fn not_found(name: &str, hosts: &[CliHost]) -> Failure {
    let failure = Failure::new(Code::Failed, format!("host {name} not found"));
    let names = hosts.iter().filter_map(|host| host.metadata.name.as_deref());
    match nearest(name, names) {
        Some(near) => failure.advise(
            format!("no CliHost has this name, but there is {near}"),
            format!("repeat the command with `--host {near}`"),
        ),
        None => failure.advise("no CliHost has this name", "list the hosts: `kubectl get clihosts`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_near_name_is_named() {
        let host = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"identity": ""}}));
        let hosts = [host("bastion-1").unwrap(), host("ci-1").unwrap()];
        assert!(not_found("bastoin-1", &hosts).to_string().contains("`--host bastion-1`"));
        assert!(not_found("nowhere", &hosts).to_string().contains("`kubectl get clihosts`"));
    }

    #[test]
    fn what_a_host_reports() {
        let component = |name: &str, active: Option<&str>| json!({"name": name, "active": active, "state": "UpToDate"});
        let components = json!([
            component("tool", Some("v1.0.0")),
            component("odd", Some("no version")),
            component("absent", None),
            component("../x", Some("v1.0.0")),
        ]);
        let host = json!({
            "metadata": {"name": "h", "labels": {"role": "ci"}}, "spec": {"identity": ""},
            "status": {"platform": "linux-arm64", "components": components},
        });
        let host = ManagedHost::of(serde_json::from_value(host).unwrap());
        assert_eq!(host.as_host().platform.map(Platform::as_str), Some("linux-arm64"));
        assert_eq!(host.as_host().labels["role"], "ci");
        let installed = host.installed(&BTreeMap::new());
        let found: Vec<_> = installed.iter().map(|(name, found)| (name.name(), found.version.is_some())).collect();
        assert_eq!(found, [("odd", false), ("tool", true)]);
    }
}
