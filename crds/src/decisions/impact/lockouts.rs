//! Plugins that people can no longer run after an edit, nor replace with a version that they may run.

use super::{
    HostImpact,
    preview::{HostPreview, Side, newest},
};
use crate::{
    decisions::{
        plan::{Actor, KnownFacts, Request},
        verdict::NextVersion,
    },
    values::{name::Component, version::Version},
};

/// A plugin whose runs would be refused on a host, while a person could not install another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockout {
    /// The plugin.
    pub component: Component,
    /// The version that may not run.
    pub active: Option<Version>,
    /// What ends the lockout, if nothing changes but the time: the version that the agent installs.
    pub next: Option<NextVersion>,
}

/// Returns the lockout of a component, if runs were not refused before and no version is a way out.
pub(super) fn lockout(
    preview: &HostPreview<'_>,
    after: &Side<'_>,
    known: &mut KnownFacts,
    component: &Component,
    [old, new]: [Option<&HostImpact>; 2],
) -> Option<Lockout> {
    let new = new.filter(|new| !new.runs && old.is_some_and(|old| old.runs))?;
    let people = HostPreview { actor: Actor::Person, ..*preview };
    let active = preview.machine.active.get(component)?.version.clone();
    (!has_way_out(&people, after, known, component, active.as_ref())).then(|| Lockout {
        component: component.clone(),
        active,
        next: new.next.clone(),
    })
}

/// Returns whether a person may replace the active version, with the newest version or with one that they name.
fn has_way_out(
    people: &HostPreview<'_>,
    after: &Side<'_>,
    known: &mut KnownFacts,
    component: &Component,
    active: Option<&Version>,
) -> bool {
    if after.policies().denied(component).is_some() {
        return false;
    }
    // Without a record, it is not known what is published.
    if !people.records.contains_key(component.name()) {
        return true;
    }
    let update = newest(after.policies(), component);
    if people.replaces(after, known, component, update) {
        return true;
    }
    let published = known.tags.get(component).and_then(|tags| tags.as_ref().ok());
    let published = published.into_iter().flat_map(|tags| &tags.published);
    let others: Vec<Version> =
        published.map(|published| published.version.clone()).filter(|version| Some(version) != active).collect();
    others.into_iter().any(|version| people.replaces(after, known, component, Request::Exact(version)))
}
