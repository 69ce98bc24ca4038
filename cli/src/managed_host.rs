//! A managed host, by its `CliHost` in the cluster: what policies select it by, and what is installed there.

use std::collections::BTreeMap;

use d8_agent::cluster;
use d8_crds::{
    decisions::{
        person::Person,
        plan::{Dependencies, InstalledComponent, InstalledContract, StoredDigests},
        verdict::Host,
    },
    records::{
        host::{CliHost, HostComponent},
        release::CliRelease,
    },
    values::{name::Component, platform::Platform, spelling::nearest, version::Version},
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
    /// When the host reported last; `None`: it has not reported yet.
    pub(crate) last_seen: Option<Timestamp>,
    components: Vec<HostComponent>,
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
            platform: status.platform.and_then(|platform| platform.parse().ok()),
            last_seen: status.last_seen.map(|time| time.0),
            components: status.components,
        }
    }

    /// Returns the host as policies select it. Nobody acts there but the agent.
    pub(crate) fn as_host(&self) -> Host<'_> {
        let Self { name, labels, platform, .. } = self;
        Host { id: name, labels, platform: platform.as_ref(), new_root: false, person: Person::Nobody }
    }

    /// Returns what the host reports of a component.
    pub(crate) fn reported(&self, component: &Component) -> Option<&HostComponent> {
        self.components.iter().find(|reported| reported.name == component.name())
    }

    /// Returns the components that are installed, with what the record says of their active versions. Leaves out those
    /// with an invalid name.
    pub(crate) fn installed(&self, records: &BTreeMap<String, CliRelease>) -> BTreeMap<Component, InstalledComponent> {
        let installed = self.active().map(|(component, version, _)| {
            let recorded = version.as_ref().and_then(|version| records.get(component.name())?.recorded(version));
            let contract = match recorded.map(|recorded| Dependencies::read(&recorded.requirements.plugins)) {
                Some(Err(error)) => InstalledContract::Unreadable(error.to_string()),
                Some(Ok(dependencies)) => InstalledContract::Known(dependencies),
                None => InstalledContract::Known(Dependencies::default()),
            };
            (component, InstalledComponent { version, contract })
        });
        installed.collect()
    }

    /// Returns the digests of the active versions.
    pub(crate) fn digests(&self) -> BTreeMap<Component, StoredDigests> {
        let digests = self.active().map(|(component, _, reported)| {
            let active = reported.digest.iter().filter_map(|digest| digest.parse().ok()).collect();
            (component, StoredDigests { active, ..StoredDigests::default() })
        });
        digests.collect()
    }

    /// Returns the installed components, with the active version if it is a version.
    fn active(&self) -> impl Iterator<Item = (Component, Option<Version>, &HostComponent)> {
        self.components.iter().filter_map(|reported| {
            let active = reported.active.as_deref()?;
            Some((reported.name.parse().ok()?, Version::parse(active).ok(), reported))
        })
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
