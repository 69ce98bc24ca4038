//! Gates on the version's digests.

use super::{Causes, GateInput};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Field, Origin},
        validation::CheckedPin,
        verdict::{applicable::ApplicableRule, merge::MOVED_TAGS},
    },
    records::{
        policy::MovedTags,
        release::{Artifact, MovedTag, ReleaseVersion},
    },
    values::{digest::Digest, platform::Platform, text::printable, version::Version},
};

/// Whether a version has the digest of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    Unknown,
}

/// `pins` of this version; a pin does not bind other versions.
pub(super) fn pinned(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    for applicable in input.rules.iter().filter(|_| input.policies.features().pins) {
        let mut seen = Vec::new();
        for (origin, pin) in pins_of(*input, applicable) {
            let is_new = !seen.contains(&&pin.digest);
            seen.push(&pin.digest);
            if is_new && compare(input, pin) == Match::No {
                let by = applicable.source(origin, Some(Field::Pins));
                causes.push(Cause::NotPinned { by, digest: pin.digest.clone(), message: applicable.message() });
            }
        }
    }
}

/// A moved tag under `movedTags: Refuse`, also where no policy sets it. A pin to the new digest acknowledges the
/// move; a version that was installed before it is not affected.
pub(super) fn moved(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let installed_before = input.candidate.intent == Intent::Explicit && input.candidate.stored.is_some();
    let Some((entry, moved)) = unacknowledged_move(input) else { return };
    if !input.policies.is_governed() || installed_before {
        return;
    }
    let moved_tags = MOVED_TAGS.merge(input.rules);
    if moved_tags.value == MovedTags::Refuse {
        let (from, to) = (printable(&moved.from).into(), printable(&entry.digest).into());
        let cause = |by| Cause::TagMoved { by, from: std::sync::Arc::clone(&from), to: std::sync::Arc::clone(&to) };
        causes.extend(moved_tags.sources_or_unset().map(cause));
    }
}

/// Returns the move of the version's tag if no pin acknowledges it.
pub(super) fn unacknowledged_move<'a>(input: &GateInput<'a>) -> Option<(&'a ReleaseVersion, &'a MovedTag)> {
    let entry = input.entry.filter(|_| input.has_record_name)?;
    let moved = entry.moved.as_ref()?;
    let acknowledged =
        input.policies.features().pins && pins(*input).any(|(.., pin)| compare(input, pin) == Match::Yes);
    (!acknowledged).then_some((entry, moved))
}

/// Returns the pins that all policies set on this version.
fn pins(input: GateInput<'_>) -> impl Iterator<Item = (&ApplicableRule<'_>, Origin, &CheckedPin)> {
    input.rules.iter().flat_map(move |rule| pins_of(input, rule).map(move |(origin, pin)| (rule, origin, pin)))
}

/// Returns the pins that one policy sets on this version.
pub(super) fn pins_of<'a>(
    input: GateInput<'a>,
    applicable: &ApplicableRule<'a>,
) -> impl Iterator<Item = (Origin, &'a CheckedPin)> + use<'a> {
    let version = input.candidate.version;
    let (origin, pins) = match applicable.rule() {
        Some((origin, rule)) if input.has_record_name => (origin, rule.pins.as_slice()),
        _ => (Origin::Defaults, [].as_slice()),
    };
    pins.iter().filter(move |pin| pin.version == *version).map(move |pin| (origin, pin))
}

/// Returns whether the version has the digest of the pin.
pub(super) fn compare(input: &GateInput<'_>, pin: &CheckedPin) -> Match {
    match (local_digests(input), input.entry) {
        (Some([]), _) | (None, None) => Match::Unknown,
        (Some(local), _) if local.contains(&pin.digest) => Match::Yes,
        (Some(_), None) => Match::Unknown,
        // A receipt may lack the digest of the index. The record has it, if it is about the same image.
        (Some(local), Some(entry)) => {
            let is_same = local.iter().any(|digest| has_digest(entry, digest));
            match (is_same, has_digest(entry, &pin.digest)) {
                (true, true) => Match::Yes,
                (true, false) | (false, true) => Match::No,
                (false, false) => Match::Unknown,
            }
        }
        (None, Some(entry)) if has_digest(entry, &pin.digest) => Match::Yes,
        // The tag moved away from the pinned digest, which may be the installed one.
        (None, Some(entry)) if input.installed && moved_from(entry, &pin.digest) => Match::Unknown,
        (None, Some(_)) => Match::No,
    }
}

/// Returns the digests of the version on this host, if those decide.
fn local_digests<'a>(input: &GateInput<'a>) -> Option<&'a [Digest]> {
    let candidate = input.candidate;
    match candidate.stored {
        Some(digests) => Some(digests),
        None if input.installed && !candidate.active_digests.is_empty() => Some(candidate.active_digests),
        None => None,
    }
}

/// Returns the other recorded versions that have the same layer on the host's platform, in the order of the record.
/// Moved tags are not compared: their layers are not those that were blocked.
pub(super) fn versions_with_same_layer(input: &GateInput<'_>) -> Vec<Version> {
    let recorded = input.candidate.release.and_then(|release| release.status.as_ref());
    let others = recorded.into_iter().flat_map(|status| &status.versions).filter(|other| has_layer_of(input, other));
    let versions = others.filter_map(|other| Version::parse_full(&other.version).ok());
    versions.filter(|version| version != input.candidate.version).collect()
}

/// Returns whether the candidate has the same layer as a recorded version.
fn has_layer_of(input: &GateInput<'_>, other: &ReleaseVersion) -> bool {
    let platform = input.candidate.host.platform;
    let is_unmoved = |entry: &&ReleaseVersion| entry.moved.is_none();
    let Some(other) = Some(other).filter(is_unmoved).map(|other| layers(other, platform)) else { return false };
    let local = local_digests(input).unwrap_or_default();
    if local.iter().any(|digest| other.iter().any(|(_, layer)| *layer == digest.as_str())) {
        return true;
    }
    // A receipt may lack the digest of the layer. The record has it, if it is about the same image.
    let is_same = |entry: &&ReleaseVersion| local.is_empty() || local.iter().any(|digest| has_digest(entry, digest));
    let entry = input.entry.filter(is_unmoved).filter(is_same);
    let own = entry.map(|entry| layers(entry, platform)).unwrap_or_default();
    !own.is_empty() && own.iter().all(|layer| other.contains(layer))
}

/// Returns the layers of a version for a platform, or for all platforms if it is `None`, each with its platform.
fn layers<'e>(entry: &'e ReleaseVersion, platform: Option<&Platform>) -> Vec<(Option<&'e str>, &'e str)> {
    let known = |artifact: &&Artifact| !artifact.layer.is_empty();
    match platform {
        Some(platform) => {
            entry.artifact_for(platform).filter(known).map(|a| (None, a.layer.as_str())).into_iter().collect()
        }
        None => entry.artifacts.iter().filter(known).map(|a| (a.platform.as_deref(), a.layer.as_str())).collect(),
    }
}

fn has_digest(entry: &ReleaseVersion, digest: &Digest) -> bool {
    let digest = digest.as_str();
    entry.digest == digest || entry.artifacts.iter().any(|a| a.manifest == digest || a.layer == digest)
}

fn moved_from(entry: &ReleaseVersion, digest: &Digest) -> bool {
    entry.moved.as_ref().is_some_and(|moved| moved.from == digest.as_str())
}
