//! Gates that hold a version by what policies say of changes as such, and the requirements.

use std::cell::LazyCell;

use super::{
    View,
    record::{self, Pinned},
};
use crate::{
    decisions::{
        intent::Intent,
        verdict::reason::{Origin, Reason, ReasonCode},
    },
    records::policy::{MajorUpdates, MovedTags, Updates},
    values::name::Component,
};

/// The version's own requirements.
pub(super) fn unmet(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for sentence in view.case.unmet {
        let message = format!("{} {}", view.subject(), crate::values::text::printable(sentence));
        reasons.push(View::own_reason(ReasonCode::Unfit, message));
    }
}

/// `paused`: the kill switch.
pub(super) fn paused(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let what = LazyCell::new(|| {
        format!("changes on this host are stopped until an admin sets it to false; {}", runs_on(view))
    });
    for speech in view.speeches.iter().filter(|speech| speech.policy.paused) {
        reasons.push(speech.reason(ReasonCode::Paused, Origin::Spec("paused"), "", &what));
    }
}

/// What goes on while nothing changes.
fn runs_on(view: &View<'_>) -> String {
    match view.case.active {
        Some(active) => format!("{} {active} goes on running", view.case.component),
        None => format!("run `{}` again then", view.update()),
    }
}

/// `updates: Frozen`: what is installed is replaced by nobody.
pub(super) fn frozen(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(active) = view.case.active.filter(|active| *active != view.case.version) else { return };
    if !view.has_record_name {
        return;
    }
    let name = view.case.component;
    let what = LazyCell::new(|| format!("{name} is Frozen at {active}; ask for `updates: Manual` to replace it"));
    for speech in view.speeches {
        let Some(said) = speech.setting(|s| s.updates).filter(|said| said.value == Updates::Frozen) else { continue };
        reasons.push(speech.reason(ReasonCode::Frozen, said.origin, "updates", &what));
    }
}

/// `updates: Manual`, also where nobody speaks of it: a person starts updates.
pub(super) fn manual(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let first_of_required = view.case.active.is_none() && view.is_required();
    if !view.governed || first_of_required || !view.has_record_name {
        return;
    }
    let said: Vec<_> = view.speeches.iter().filter_map(|s| Some((s, s.setting(|s| s.updates)?))).collect();
    // Frozen is stronger and speaks for itself.
    if said.iter().any(|(_, said)| said.value == Updates::Frozen) {
        return;
    }
    if said.is_empty() {
        let message = format!(
            "no policy sets `updates` for {}, so a person starts updates; run `{}`",
            view.case.component,
            view.update()
        );
        reasons.push(View::own_reason(ReasonCode::Manual, message));
    }
    let what = LazyCell::new(|| format!("a person starts updates of {}; run `{}`", view.case.component, view.update()));
    for (speech, said) in said.into_iter().filter(|(_, said)| said.value == Updates::Manual) {
        reasons.push(speech.reason(ReasonCode::Manual, said.origin, "updates", &what));
    }
}

/// `majorUpdates: Stay`, also where no matching policy speaks of it.
pub(super) fn major(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(active) = view.case.active.filter(|active| active.major() != view.case.version.major()) else { return };
    if !view.governed || !view.has_record_name {
        return;
    }
    let step = format!(
        "{} is installed in major {}; run `{}` to cross to {}",
        view.case.component,
        active.major(),
        view.take(),
        view.case.version
    );
    let said: Vec<_> = view.speeches.iter().filter_map(|s| Some((s, s.setting(|s| s.major_updates)?))).collect();
    if said.is_empty() {
        let message = format!("no policy sets `majorUpdates: Cross`, and {step}");
        reasons.push(View::own_reason(ReasonCode::MajorStays, message));
    }
    for (speech, said) in said.into_iter().filter(|(_, said)| said.value == MajorUpdates::Stay) {
        reasons.push(speech.reason(ReasonCode::MajorStays, said.origin, "majorUpdates", &step));
    }
}

/// A pre-release where nobody speaks of channels: only a person who names it gets it.
pub(super) fn pre_release(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let nobody_speaks = view.speeches.iter().all(|speech| speech.setting(|s| s.channel).is_none());
    if view.is_pre_release() && nobody_speaks {
        let message = format!("{} is a pre-release; name it to have it: `{}`", view.subject(), view.take());
        reasons.push(View::own_reason(ReasonCode::PreRelease, message));
    }
}

/// Without any policy the agent changes nothing.
pub(super) fn not_governed(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.governed {
        let message = format!(
            "no policy speaks for this host, so the agent leaves {} alone; add a PluginPolicy whose hostSelector \
             matches it",
            view.case.component
        );
        reasons.push(View::own_reason(ReasonCode::NotGoverned, message));
    }
}

/// A tag that points at other bytes than before, under `movedTags: Refuse`, which is also the reading
/// where no matching policy speaks of it. A pin to the new bytes acknowledges the move; bytes that are
/// here since before it are not at fault.
pub(super) fn moved(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(seen) = view.entry.and_then(record::move_seen) else { return };
    let acknowledged = || record::pins(view).any(|(.., pin)| record::pinned(view, pin) == Pinned::Yes);
    let here_before = view.case.intent == Intent::Explicit && view.case.stored.is_some();
    if !view.governed || !view.has_record_name || here_before || acknowledged() {
        return;
    }
    let what = format!(
        "the tag of {} was moved {seen}; check it with its publisher, then have an admin pin the new digest",
        view.subject()
    );
    let said: Vec<_> = view.speeches.iter().filter_map(|s| Some((s, s.policy.moved_tags?))).collect();
    if said.is_empty() {
        reasons.push(View::own_reason(ReasonCode::TagMoved, format!("no policy lets moved tags soak, and {what}")));
    }
    for (speech, _) in said.into_iter().filter(|(_, value)| *value == MovedTags::Refuse) {
        reasons.push(speech.reason(ReasonCode::TagMoved, Origin::Spec("integrity"), "movedTags", &what));
    }
}

/// A version of d8 that was tried and does not know policies: with it nobody would be bound any more.
pub(super) fn policy_unaware(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let case = view.case;
    let accepted = case.intent == Intent::Explicit && case.allow_ungoverned;
    if case.unaware && !accepted && view.governed && *case.component == Component::D8 {
        let message = format!(
            "{} does not know policies, and policies speak for this host; see `{}` for another version, or take it \
             with `{} --allow-ungoverned`",
            view.subject(),
            view.why(),
            view.take()
        );
        reasons.push(View::own_reason(ReasonCode::PolicyUnaware, message));
    }
}
