//! Gates that time opens: soak, waves, windows, and how old the view of the policies may be.

use std::{cell::LazyCell, fmt::Write as _};

use jiff::{SignedDuration, Timestamp};

use super::{View, how_long, whole};
use crate::{
    decisions::{
        intent::Intent,
        validation::{CheckedRollout, resume_command},
        verdict::{
            reason::{Origin, Reason, ReasonCode},
            speech::{Said, Speech},
        },
        wave::{Bucket, PermittedFrom, Wave, WavePosition},
        window::MergedWindows,
    },
    values::{duration::FormattedDuration, instant},
};

/// How long the agent may act by a view of the policies that was not confirmed since.
const CONFIRMED: SignedDuration = SignedDuration::from_mins(10);

/// The `minAge` of a policy that binds: not for a version it expedites, not on its canaries, and not
/// someone who names a version that was active here.
pub(super) fn soak(view: &View<'_>, speech: &Speech<'_>) -> Option<Said<std::time::Duration>> {
    let said = speech.setting(|s| s.min_age).filter(|said| !said.value.is_zero())?;
    (view.has_record_name && !view.is_expedited(speech) && !speech.canary && !is_return(view)).then_some(said)
}

/// The rollout of a policy whose wave binds: as for `minAge`, and not on the way down, nor for what
/// another change brings in.
pub(super) fn rollout<'a>(view: &View<'_>, speech: &Speech<'a>) -> Option<&'a CheckedRollout> {
    let waits = view.has_record_name
        && !view.is_expedited(speech)
        && !speech.canary
        && !is_return(view)
        && !view.case.goes_down()
        && !view.case.brought_in;
    speech.policy.rollout.as_ref().filter(|_| waits)
}

/// A person goes back to what was active here once.
pub(super) fn is_return(view: &View<'_>) -> bool {
    view.case.intent == Intent::Explicit && view.case.was_active()
}

/// `minAge`: each policy's own, so that the largest decides.
pub(super) fn min_age(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(first_seen) = first_seen(view) else { return };
    let parts = LazyCell::new(|| (view.subject(), format!("{first_seen:.0}")));
    let mut what = String::new();
    for speech in view.speeches {
        let Some(said) = soak(view, speech) else { continue };
        let end = instant::after(first_seen, said.value);
        if end.is_some_and(|end| end <= view.case.now) {
            continue;
        }
        let (subject, seen) = &*parts;
        what.clear();
        // Writing to a String cannot fail.
        let _ = write!(what, "{subject} soaks for {} from {seen}, ", FormattedDuration(said.value));
        let _ = match end {
            Some(end) => write!(what, "{} left; wait until {}", view.left(end), whole(end)),
            None => what.write_str("and that never ends; wait"),
        };
        what.push_str(", or have an admin expedite it");
        let reason = speech.reason(ReasonCode::Soaking, said.origin, "minAge", &what);
        reasons.push(Reason { until: end.map(whole), ..reason });
    }
}

/// `rollout`: the host's turn in the version's wave, by each policy's clock.
pub(super) fn wave(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let Some(first_seen) = first_seen(view) else { return };
    let mut place = None;
    let parts = LazyCell::new(|| (view.subject(), view.take()));
    let mut what = String::new();
    for speech in view.speeches {
        let Some(rollout) = rollout(view, speech) else { continue };
        let own_age = speech.setting(|s| s.min_age).map(|said| said.value).unwrap_or_default();
        let since = speech.policy.wave(view.case.component, view.case.version).and_then(|wave| wave.since);
        let wave = Wave::new(first_seen, own_age, since, rollout.over);
        // One for all policies, and not for nothing: it costs a hash.
        let place = *place.get_or_insert_with(|| WavePosition::Bucket(bucket(view)));
        if wave.permits(place, view.case.now) {
            continue;
        }
        let until = match wave.permitted_from(place) {
            PermittedFrom::Instant(instant) => Some(instant),
            PermittedFrom::Always | PermittedFrom::Never => None,
        };
        let (subject, take) = &*parts;
        what.clear();
        // Writing to a String cannot fail.
        let _ = write!(what, "{subject} spreads over {} and ", FormattedDuration(rollout.over));
        let _ = match until {
            Some(turn) => write!(what, "reaches this host in {}, at {}", view.left(turn), whole(turn)),
            None => what.write_str("does not reach this host before time ends"),
        };
        let _ = write!(what, "; wait, or name it to have it now: `{take}`");
        let reason = speech.reason(ReasonCode::NotInWave, Origin::Spec("rollout"), "", &what);
        reasons.push(Reason { until: until.map(whole), ..reason });
    }
}

fn bucket(view: &View<'_>) -> Bucket {
    let host = &view.case.host;
    if host.new_root { Bucket::LAST } else { Bucket::of(host.id, view.case.component, view.case.version) }
}

/// A halted wave: on canaries, for expedited versions and on the way down too.
pub(super) fn halted(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.has_record_name {
        return;
    }
    for speech in view.speeches.iter().filter(|speech| speech.policy.rollout.is_some()) {
        let wave = speech.policy.wave(view.case.component, view.case.version);
        let Some(wave) = wave.filter(|wave| wave.halted) else { continue };
        let hosts = match wave.failed {
            0 => String::new(),
            1 => " after 1 host failed".to_owned(),
            failed => format!(" after {failed} hosts failed"),
        };
        let policy = &speech.policy.name;
        let (when, resume) = match wave.halted_at {
            Some(at) => (
                format!(" at {at:.0}"),
                format!("`{}`", resume_command(policy, view.case.version, &format_args!("{at:.0}"))),
            ),
            None => (String::new(), format!("an edit of the policy: `kubectl edit pluginpolicy {policy}`")),
        };
        let what = format!(
            "the wave of {} was halted{when}{hosts}; have an admin block the version, or resume the wave with {resume}",
            view.subject()
        );
        reasons.push(speech.reason(ReasonCode::WaveHalted, Origin::Spec("rollout"), "maxFailed", &what));
    }
}

/// `windows`: all policies' must be open, but for those that expedite the version.
pub(super) fn windows(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.has_record_name {
        return;
    }
    let has_windows = |speech: &&Speech<'_>| speech.policy.windows.is_some();
    if !view.speeches.iter().any(|speech| has_windows(&speech)) {
        return;
    }
    let now = view.case.now;
    let openings = view.policies.openings(now);
    let bound: Vec<&Speech<'_>> =
        view.speeches.iter().filter(has_windows).filter(|speech| !view.is_expedited(speech)).collect();
    if bound.iter().all(|speech| openings.is_open(speech.place)) {
        return;
    }
    let opening = if bound.len() == openings.with_windows {
        openings.together
    } else {
        let windows = bound.iter().filter_map(|speech| speech.policy.windows.as_ref());
        windows.collect::<MergedWindows<'_>>().next_opening(now)
    };
    let Some(opening) = opening else {
        let names: Vec<_> = bound.iter().map(|speech| speech.policy.name.as_str()).collect();
        let message = format!(
            "the windows of {} are never open together within 400 days; have an admin make them overlap, or run `{}`",
            match names.as_slice() {
                [one] => format!("policy {one}"),
                names => format!("policies {}", names.join(", ")),
            },
            view.update()
        );
        reasons.push(View::own_reason(ReasonCode::WindowsNeverMeet, message));
        return;
    };
    let together = if bound.len() > 1 { "all windows for this host are open together" } else { "the next opens" };
    let what = format!(
        "no window is open; {together} in {}, at {}; wait, or run `{}` yourself",
        view.left(opening),
        whole(opening),
        view.update()
    );
    for speech in bound.into_iter().filter(|speech| !openings.is_open(speech.place)) {
        let reason = speech.reason(ReasonCode::OutsideWindow, Origin::Spec("windows"), "", &what);
        reasons.push(Reason { until: Some(whole(opening)), ..reason });
    }
}

/// A view of the policies that was not confirmed in the last ten minutes.
pub(super) fn policy_stale(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let now = view.case.now;
    let seen = match view.case.confirmed {
        Some(confirmed) if now.duration_since(confirmed) <= CONFIRMED => return,
        Some(confirmed) => format!("last confirmed {} ago, at {confirmed:.0}", how_long(confirmed, now)),
        None => "never confirmed".to_owned(),
    };
    let message = format!(
        "the policies were {seen}, and the agent changes nothing by a view older than 10m; see \
         `d8 agent status` for why the API server does not answer"
    );
    reasons.push(View::own_reason(ReasonCode::PolicyStale, message));
}

/// A policy with a rollout whose last edit the operator has not seen: what its status says of waves is
/// about another spec.
pub(super) fn not_observed(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let rolling = |speech: &&Speech<'_>| view.has_record_name && speech.policy.rollout.is_some();
    for speech in view.speeches.iter().filter(rolling) {
        let Some(lag) = speech.policy.generation_lag else { continue };
        let generation = lag.generation;
        let seen = match lag.observed {
            Some(observed) => format!("generation {observed} of this policy and not yet generation {generation}"),
            None => format!("nothing of this policy yet, which is at generation {generation}"),
        };
        let what = format!("the operator has seen {seen}; wait a minute, then have an admin look after d8-operator");
        reasons.push(speech.reason(ReasonCode::PolicyNotObserved, Origin::Spec("rollout"), "", &what));
    }
}

fn first_seen(view: &View<'_>) -> Option<Timestamp> {
    view.entry?.first_seen.as_ref().map(|time| time.0)
}
