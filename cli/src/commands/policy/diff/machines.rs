//! This machine, as `d8 policy diff` compares it.

use std::collections::BTreeMap;

use d8_agent::cluster::Caller;
use d8_crds::{
    decisions::impact::{ActiveComponent, HostFacts},
    values::name::Component,
};

use crate::{
    context::Context,
    installed,
    running_d8::{CurrentVersion, RunningD8},
    terminal::failure::Failure,
};

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
        failed: Vec::new(),
    })
}
