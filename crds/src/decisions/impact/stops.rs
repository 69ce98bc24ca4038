//! What stops the former target of a component after an edit.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    HostImpact,
    preview::{ComponentPreview, HostPreview, Side},
};
use crate::{
    decisions::{
        plan::{EvaluationRequest, KnownFacts},
        reason::Subject,
        requirements::Findings,
        verdict::{Class, Reason, Verdict},
    },
    values::{name::Component, version::Version},
};

/// Returns why a component does not come to its former target when it would have without the edit. `None`: it does, or
/// it would not have come there by itself either.
pub(super) fn stop(
    preview: &HostPreview<'_>,
    after: &Side<'_>,
    known: &KnownFacts,
    component: &Component,
    old: &HostImpact,
    new: &ComponentPreview,
) -> Option<Reason> {
    let active = preview.machine.active.get(component).and_then(|active| active.version.as_ref());
    former_changes(old, preview.now).into_iter().filter(|(target, _)| active != Some(target)).find_map(
        |(target, at)| {
            // The plan knows of obstacles beyond policies.
            let planned = new.outcome.passed_over().iter().find(|(version, _)| version.version == *target);
            if let Some((_, verdict)) = planned.filter(|_| at == preview.now) {
                return verdict.leading().cloned();
            }
            let leading = verdict_at(preview, after, known, (component, target, active), at).leading()?.clone();
            // The sentence counts from now.
            let subject = Subject { evaluated_at: Some(preview.now), ..(*leading.subject).clone() };
            Some(Reason { subject: Arc::new(subject), ..leading })
        },
    )
}

/// Returns the versions that a component would have been changed to without the edit, and when: the target first.
fn former_changes(old: &HostImpact, now: Timestamp) -> Vec<(&Version, Timestamp)> {
    let Some(target) = &old.target else { return Vec::new() };
    match old.verdict {
        Class::Eligible => vec![(target, now)],
        Class::Held => {
            let next = old.next.as_ref().map(|next| (&next.version, next.at));
            let until = || Some((target, old.reason.as_ref()?.until()?));
            let of_target = next.filter(|(version, _)| *version == target).or_else(until);
            of_target.into_iter().chain(next.filter(|(version, _)| *version != target)).collect()
        }
        // It is no longer replaced: nothing stops that.
        Class::Forbidden | Class::Unfit => Vec::new(),
    }
}

fn verdict_at(
    preview: &HostPreview<'_>,
    after: &Side<'_>,
    known: &KnownFacts,
    (component, version, active): (&Component, &Version, Option<&Version>),
    at: Timestamp,
) -> Verdict {
    let none = Findings::default();
    let facts = known.versions.get(component).and_then(|versions| versions.get(version));
    let findings = facts.and_then(|facts| facts.as_ref().ok()).map_or(&none, |facts| &facts.findings);
    let on_disk = preview.on_disk();
    after.evaluator.clone().on_disk(&on_disk).evaluate_at(
        &EvaluationRequest {
            active,
            unmet: &findings.unmet,
            unchecked: &findings.unchecked,
            ..preview.request(component, version)
        },
        at,
    )
}
