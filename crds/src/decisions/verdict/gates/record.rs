//! What a gate can know of a version's bytes and age, and the gate for those that cannot.

use std::cell::LazyCell;

use jiff::SignedDuration;

use super::{View, how_long, time};
use crate::{
    decisions::{
        intent::Intent,
        validation::CheckedPin,
        verdict::{
            reason::{Origin, Reason, ReasonCode},
            speech::Speech,
        },
    },
    records::{
        policy::MovedTags,
        release::{CliRelease, ReleaseVersion},
    },
    values::{digest::Digest, text::printable},
};

/// A record that was not renewed for longer is too old for a time gate: the operator rewrites
/// `lastSyncTime` at least hourly while the proxy answers.
const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// Whether a version's bytes are those of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinned {
    Yes,
    No,
    /// Nothing tells.
    Unknown,
}

pub(super) fn pinned(view: &View<'_>, pin: &CheckedPin) -> Pinned {
    match (bytes_here(view), view.entry) {
        (Some([]), _) | (None, None) => Pinned::Unknown,
        (Some(here), _) if here.contains(&pin.digest) => Pinned::Yes,
        (Some(_), None) => Pinned::Unknown,
        // A receipt need not have the digest of the index. The record may tell, if it is of these bytes.
        (Some(here), Some(entry)) => {
            let of_these = here.iter().any(|digest| names(entry, digest));
            match (of_these, names(entry, &pin.digest)) {
                (true, true) => Pinned::Yes,
                (true, false) | (false, true) => Pinned::No,
                (false, false) => Pinned::Unknown,
            }
        }
        (None, Some(entry)) if names(entry, &pin.digest) => Pinned::Yes,
        // The tag was moved off the pinned bytes, which may be the ones installed here.
        (None, Some(entry)) if view.installed && moved_from(entry, &pin.digest) => Pinned::Unknown,
        (None, Some(_)) => Pinned::No,
    }
}

/// The digests of the version's bytes on this host, where it is those that count.
fn bytes_here<'a>(view: &View<'a>) -> Option<&'a [Digest]> {
    let case = view.case;
    match case.stored {
        Some(digests) => Some(digests),
        None if view.installed && !case.active_digests.is_empty() => Some(case.active_digests),
        None => None,
    }
}

fn names(entry: &ReleaseVersion, digest: &Digest) -> bool {
    let digest = digest.as_str();
    entry.digest == digest || entry.artifacts.iter().any(|a| a.manifest == digest || a.layer == digest)
}

fn moved_from(entry: &ReleaseVersion, digest: &Digest) -> bool {
    entry.moved.as_ref().is_some_and(|moved| moved.from == digest.as_str())
}

/// The pins that policies set on this version.
pub(super) fn pins<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Speech<'a>, Origin, &'a CheckedPin)> {
    let view = *view;
    view.speeches.iter().flat_map(move |speech| pins_of(view, speech).map(move |(origin, pin)| (speech, origin, pin)))
}

/// The pins that one policy sets on this version.
fn pins_of<'a>(view: View<'a>, speech: &Speech<'a>) -> impl Iterator<Item = (Origin, &'a CheckedPin)> {
    let version = view.case.version;
    let rule = speech.rule().filter(|(_, rule)| !rule.pins.is_empty() && view.has_record_name);
    rule.into_iter().flat_map(move |(origin, rule)| {
        rule.pins.iter().filter(move |pin| pin.version == *version).map(move |pin| (origin, pin))
    })
}

/// No record of the version where a policy's time or integrity gate needs one, or one that is too old
/// for a time gate.
pub(super) fn missing_or_stale(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.has_record_name {
        return;
    }
    let known = view.entry.is_some_and(|entry| entry.first_seen.is_some());
    let (no_record, stale) = (LazyCell::new(|| no_record(view)), LazyCell::new(|| stale(view)));
    for speech in view.speeches {
        let by_time = needed_by_time(view, speech);
        if let Some((origin, field)) = by_time.filter(|_| !known).or_else(|| needed_for_bytes(view, speech)) {
            reasons.push(speech.reason(ReasonCode::NoRecord, origin, field, &no_record));
        } else if let Some((origin, field)) = by_time
            && let Some(stale) = &*stale
        {
            reasons.push(speech.reason(ReasonCode::RecordStale, origin, field, stale));
        }
    }
}

/// Where this policy says that the version's age matters to this intent.
fn needed_by_time(view: &View<'_>, speech: &Speech<'_>) -> Option<(Origin, &'static str)> {
    if let Some(said) = time::soak(view, speech) {
        return Some((said.origin, "minAge"));
    }
    // Someone who names a version is only told of waves.
    let waits = view.case.intent != Intent::Explicit && time::rollout(view, speech).is_some();
    waits.then_some((Origin::Spec("rollout"), ""))
}

/// Where this policy says that the version's bytes matter, and nothing tells what they are.
fn needed_for_bytes(view: &View<'_>, speech: &Speech<'_>) -> Option<(Origin, &'static str)> {
    // What is active and has no receipt was not refused when it came.
    let returns = time::is_return(view);
    if let Some((origin, _)) = pins_of(*view, speech).find(|(_, pin)| pinned(view, pin) == Pinned::Unknown)
        && (!returns || view.case.stored.is_some())
    {
        return Some((origin, "pins"));
    }
    let refuses = speech.policy.moved_tags == Some(MovedTags::Refuse);
    (refuses && view.entry.is_none() && !returns).then_some((Origin::Spec("integrity"), "movedTags"))
}

fn no_record(view: &View<'_>) -> String {
    let name = view.case.component;
    let subject = view.subject();
    match (view.case.release, view.entry) {
        (None, _) => format!(
            "{subject} has no record, which this gate needs; have an admin make one: `echo '{}' | kubectl apply -f -`",
            serde_json::json!({
                "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": name.name()},
                "spec": {},
            })
        ),
        (Some(_), None) => format!(
            "{subject} is not in its record, which this gate needs; have an admin widen channel, versions or history: \
             `kubectl edit clirelease {name}`"
        ),
        (Some(_), Some(_)) => format!(
            "the record does not tell enough of {subject} for this gate; see `kubectl describe clirelease {name}`"
        ),
    }
}

/// Why the record is too old, if it is.
fn stale(view: &View<'_>) -> Option<String> {
    let release: &CliRelease = view.case.release?;
    let name = view.case.component;
    let synced = release.status.as_ref().and_then(|status| status.last_sync_time.as_ref()).map(|time| time.0);
    let see = format!("have an admin see `kubectl describe clirelease {name}`");
    let Some(synced) = synced else {
        return Some(format!("the record of {name} was never synced, and this gate needs a fresh one; {see}"));
    };
    let old = view.case.now.duration_since(synced) > FRESH;
    old.then(|| {
        let ago = how_long(synced, view.case.now);
        format!("the record of {name} is {ago} old, and this gate takes 24h at most; {see}")
    })
}

/// What the record says of a move, for a sentence.
pub(super) fn move_seen(entry: &ReleaseVersion) -> Option<String> {
    let moved = entry.moved.as_ref()?;
    let short = |digest: &str| {
        digest.parse::<Digest>().map_or_else(|_| printable(digest).into_owned(), |d| d.short().to_owned())
    };
    Some(format!("from {} to {}", short(&moved.from), short(&entry.digest)))
}
