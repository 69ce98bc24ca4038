//! The machines that `d8 policy diff` compares.

use std::collections::BTreeMap;

use d8_agent::cluster::Caller;
use d8_crds::{
    decisions::{
        impact::{ActiveComponent, HostFacts},
        wave::UpToDate,
    },
    records::host::{CliHost, ComponentState},
    values::{name::Component, version::Version},
};

use crate::{
    context::Context,
    installed,
    running_d8::{CurrentVersion, RunningD8},
    terminal::failure::Failure,
};

/// Returns the facts in the record of a managed host. Ignores components with an invalid name or version.
pub(super) fn managed_host(host: &CliHost) -> HostFacts {
    let status = host.status.clone().unwrap_or_default();
    let last_seen = status.last_seen.map(|time| time.0);
    let active = status.components.iter().filter_map(|component| {
        let version = Version::parse(component.active.as_ref()?).ok()?;
        let digests = component.digest.iter().filter_map(|digest| digest.parse().ok()).collect();
        let since = component.last_change.as_ref().filter(|_| component.state == ComponentState::UpToDate);
        let up_to_date = since.map(|since| UpToDate::new(since.0, last_seen));
        Some((component.name.parse().ok()?, ActiveComponent { version: Some(version), digests, up_to_date }))
    });
    HostFacts {
        id: host.metadata.name.clone().unwrap_or_default(),
        labels: host.metadata.labels.clone().unwrap_or_default(),
        managed: true,
        new_root: false,
        user: None,
        platform: status.platform.and_then(|platform| platform.parse().ok()),
        active: active.collect(),
    }
}

/// Returns the facts of this machine: its plugins, its d8 and the person who acts.
pub(super) fn this_machine(context: &Context, caller: &Caller) -> Result<HostFacts, Failure> {
    let mut active: BTreeMap<Component, ActiveComponent> = BTreeMap::new();
    for (name, plugin) in installed::all(context)? {
        let (version, digests) = (plugin.version(), plugin.digests());
        active.insert(Component::Plugin(name), ActiveComponent { version, digests, up_to_date: None });
    }
    // No policy applies to a development build or to a d8 whose store cannot be read.
    if let Ok(d8) = RunningD8::locate(context)
        && let Ok(CurrentVersion::Release(_, version)) = d8.current()
    {
        let digests = d8.active_digests().unwrap_or_default();
        active.insert(Component::D8, ActiveComponent { version: Some(version), digests, up_to_date: None });
    }
    let host = context.host(caller.person());
    Ok(HostFacts {
        id: host.id.to_owned(),
        labels: host.labels.clone(),
        managed: false,
        new_root: host.new_root,
        user: caller.user().cloned(),
        platform: Some(context.platform.clone()),
        active,
    })
}
