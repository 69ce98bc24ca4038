//! What changes for components of a host that are planned together.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    lockouts::{Lockout, lockout},
    preview::{ComponentPreview, HostImpact, HostPreview, Previews, Side, serialize_version},
    stops::stop,
};
use crate::{
    decisions::{
        plan::KnownFacts,
        verdict::{Class, NextVersion, ReasonCode},
    },
    values::{name::Component, version::Version},
};

/// What another set of policies would change for one component of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentDiff {
    /// Name of a plugin, or `d8`.
    pub component: String,
    /// The version that is active on the host. Absent: the component is not installed, or its version is not known.
    #[serde(serialize_with = "serialize_version")]
    pub active: Option<Version>,
    /// The impact of the old policies. Absent: the component is neither active nor required.
    pub old: Option<HostImpact>,
    /// The impact of the new policies.
    pub new: Option<HostImpact>,
    /// Whether verdict, target or the right to run differ, and not the reason alone.
    pub moves: bool,
}

/// What changes for components that are planned together.
#[derive(Debug, Default)]
pub(super) struct GroupDiff {
    pub(super) changes: Vec<Arc<ComponentDiff>>,
    pub(super) lockouts: Vec<Lockout>,
}

impl GroupDiff {
    /// Compares the plans for some components of one host before and after the edit.
    #[cfg(test)]
    pub(super) fn of(preview: &HostPreview<'_>, [before, after]: [&Side<'_>; 2], known: &mut KnownFacts) -> Self {
        let (old, new) = (preview.evaluate(before, known), preview.evaluate(after, known));
        Self::between(preview, after, known, [&old, &new])
    }

    /// Compares what was planned for components of one host before and after the edit.
    pub(super) fn between(
        preview: &HostPreview<'_>,
        after: &Side<'_>,
        known: &mut KnownFacts,
        [old, new]: [&Previews; 2],
    ) -> Self {
        let mut diff = Self::default();
        for component in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let sides = [old.get(component), new.get(component)];
            let impacts = sides.map(|side| side.map(|side| &side.impact));
            diff.changes.extend(change(preview, after, known, component, sides).map(Arc::new));
            diff.lockouts.extend(lockout(preview, after, known, component, impacts));
        }
        diff
    }

    /// Returns the difference for a host that waves reach at other times, in the same order.
    pub(super) fn for_times(&self, translate: impl Fn(Timestamp) -> Timestamp) -> Self {
        let impact = |impact: &Option<HostImpact>| impact.as_ref().map(|impact| impact.for_times(&translate));
        let change = |change: &Arc<ComponentDiff>| {
            let (old, new) = (impact(&change.old), impact(&change.new));
            let (component, active) = (change.component.clone(), change.active.clone());
            Arc::new(ComponentDiff { component, active, old, new, moves: change.moves })
        };
        let lockout = |lockout: &Lockout| {
            let next = lockout.next.as_ref().map(|next| next.for_times(&translate));
            Lockout { component: lockout.component.clone(), active: lockout.active.clone(), next }
        };
        Self {
            changes: self.changes.iter().map(change).collect(),
            lockouts: self.lockouts.iter().map(lockout).collect(),
        }
    }
}

/// Returns what changes for one component, if anything does.
fn change(
    preview: &HostPreview<'_>,
    after: &Side<'_>,
    known: &KnownFacts,
    component: &Component,
    [old, new]: [Option<&ComponentPreview>; 2],
) -> Option<ComponentDiff> {
    let impact = |side: Option<&ComponentPreview>| side.map(|side| side.impact.clone());
    let (before, mut after_edit) = (impact(old), impact(new));
    let moves = before.as_ref().map(effect) != after_edit.as_ref().map(effect);
    if !moves && before.as_ref().map(cause) == after_edit.as_ref().map(cause) {
        return None;
    }
    if let (Some(old), Some(new), Some(impact)) = (&before, new, &mut after_edit)
        && impact.verdict != Class::Forbidden
    {
        impact.reason = stop(preview, after, known, component, old, new).or(impact.reason.take());
    }
    Some(ComponentDiff {
        component: component.to_string(),
        active: preview.machine.active.get(component).and_then(|active| active.version.clone()),
        moves,
        old: before,
        new: after_edit,
    })
}

/// What differs where a host would change its version, or could no longer run it.
fn effect(impact: &HostImpact) -> (Class, Option<&Version>, bool) {
    (impact.verdict, impact.target.as_ref(), impact.runs)
}

/// Why a version is held, the policy that is the cause, and the end of its hold.
type CauseOfHold<'a> = (ReasonCode, Option<&'a str>, Option<Timestamp>);

/// Returns the cause, and what the agent takes first. The place of the rule is not compared: it changes where another
/// rule is inserted above.
fn cause(impact: &HostImpact) -> (Option<CauseOfHold<'_>>, Option<&NextVersion>) {
    let cause = impact.reason.as_ref().map(|reason| (reason.code(), reason.policy(), reason.until()));
    (cause, impact.next.as_ref())
}
