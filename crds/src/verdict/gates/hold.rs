//! Gates that hold a version, and the requirements.
//!
//! Time, waves, windows and pins cannot be judged by this release: where such a gate would bind, the
//! version is held as `Unsupported` rather than let through.

use super::View;
use crate::{
    policy::{MajorUpdates, MovedTags, Updates},
    release::{Channel, ReleaseVersion},
    verdict::{
        reason::{Origin, Reason, ReasonCode},
        speech::Speech,
    },
    version::Version,
};

/// The version's own requirements.
pub(super) fn unmet(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for sentence in view.case.unmet {
        let message = format!("{} {}", view.subject(), crate::text::printable(sentence));
        reasons.push(View::own_reason(ReasonCode::Unfit, message));
    }
}

/// `paused`: the kill switch.
pub(super) fn paused(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches.iter().filter(|speech| speech.policy.paused) {
        let what = format!("changes on this host are stopped until an admin sets it to false; {}", runs_on(view));
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
    if !view.has_record_name() {
        return;
    }
    for speech in view.speeches {
        let Some(said) = speech.setting(|s| s.updates).filter(|said| said.value == Updates::Frozen) else { continue };
        let what = format!("{} is Frozen at {active}; ask for `updates: Manual` to replace it", view.case.component);
        reasons.push(speech.reason(ReasonCode::Frozen, said.origin, "updates", &what));
    }
}

/// `updates: Manual`, also where nobody speaks of it: a person starts updates.
pub(super) fn manual(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let first_of_required = view.case.active.is_none() && view.is_required();
    if view.speeches.is_empty() || first_of_required || !view.has_record_name() {
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
    for (speech, said) in said.into_iter().filter(|(_, said)| said.value == Updates::Manual) {
        let what = format!("a person starts updates of {}; run `{}`", view.case.component, view.update());
        reasons.push(speech.reason(ReasonCode::Manual, said.origin, "updates", &what));
    }
}

/// `majorUpdates: Stay`, also where no matching policy speaks of it.
pub(super) fn major(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(active) = view.case.active.filter(|active| active.major() != view.case.version.major()) else { return };
    if view.speeches.is_empty() || !view.has_record_name() {
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
/// where no matching policy speaks of it.
pub(super) fn moved(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let moved = recorded(view).and_then(|recorded| recorded.moved.as_ref());
    if moved.is_none() || view.speeches.is_empty() || !view.has_record_name() {
        return;
    }
    let what = format!("the tag of {} was moved to other bytes; check it with its publisher", view.subject());
    let said: Vec<_> = view.speeches.iter().filter_map(|s| Some((s, s.policy.moved_tags?))).collect();
    if said.is_empty() {
        reasons.push(View::own_reason(ReasonCode::TagMoved, format!("{what}, then have an admin pin its digest")));
    }
    let origin = Origin::Spec("integrity");
    for (speech, value) in said {
        reasons.push(match value {
            MovedTags::Refuse => speech.reason(
                ReasonCode::TagMoved,
                origin,
                "movedTags",
                &format!("{what}, then have an admin pin its digest"),
            ),
            MovedTags::Soak => unsupported(view, speech, origin, "movedTags"),
        });
    }
}

fn recorded<'a>(view: &View<'a>) -> Option<&'a ReleaseVersion> {
    let status = view.case.release?.status.as_ref()?;
    status
        .versions
        .iter()
        .find(|recorded| Version::parse(&recorded.version).is_ok_and(|version| version == *view.case.version))
}

/// `pins` of this version; a pin says nothing of other versions.
pub(super) fn pins(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches.iter().filter(|_| view.has_record_name()) {
        let Some((origin, rule)) = speech.rule() else { continue };
        if rule.pins.iter().any(|pin| pin.version == *view.case.version) {
            reasons.push(unsupported(view, speech, origin, "pins"));
        }
    }
}

/// `minAge`, unless it is 0 or the version is expedited.
pub(super) fn min_age(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches.iter().filter(|_| view.has_record_name()) {
        let Some(said) = speech.setting(|s| s.min_age).filter(|said| !said.value.is_zero()) else { continue };
        if !is_expedited(view, speech) {
            reasons.push(unsupported(view, speech, said.origin, "minAge"));
        }
    }
}

/// `rollout`. A halt would bind an expedited version too.
pub(super) fn rollout(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches.iter().filter(|_| view.has_record_name()) {
        if speech.policy.rollout.is_some() {
            reasons.push(unsupported(view, speech, Origin::Spec("rollout"), ""));
        }
    }
}

/// `windows`, unless the version is expedited.
pub(super) fn windows(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches {
        if speech.policy.windows.is_some() && !is_expedited(view, speech) {
            reasons.push(unsupported(view, speech, Origin::Spec("windows"), ""));
        }
    }
}

/// A range met by a pre-release under channel Prerelease is read in its own way, which this release
/// does not know.
pub(super) fn ranges_of_pre_releases(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches {
        if let Some((origin, _)) = speech.rule().filter(|_| is_unread_range(view, speech)) {
            reasons.push(unsupported(view, speech, origin, "versions"));
        }
    }
}

/// Whether this policy's `versions` meets a pre-release under channel Prerelease.
pub(super) fn is_unread_range(view: &View<'_>, speech: &Speech<'_>) -> bool {
    let ranged = speech.rule().is_some_and(|(_, rule)| rule.versions.as_ref().is_some_and(|range| !range.is_any()));
    let channel = speech.setting(|s| s.channel).map(|said| said.value);
    ranged && channel == Some(Channel::Prerelease) && view.is_pre_release()
}

fn is_expedited(view: &View<'_>, speech: &Speech<'_>) -> bool {
    speech.rule().is_some_and(|(_, rule)| rule.expedite.contains(view.case.version))
}

fn unsupported(view: &View<'_>, speech: &Speech<'_>, origin: Origin, field: &str) -> Reason {
    let what = format!(
        "this release cannot judge that yet, so {} stays held; have an admin leave it out of the policy",
        view.subject()
    );
    speech.reason(ReasonCode::Unsupported, origin, field, &what)
}
