//! Which manifest of an index each platform gets. The proxy and its client choose by the same rule: the manifest that
//! runs on the most CPUs of a platform.

use std::collections::BTreeMap;

use d8_crds::values::{digest::Digest, platform::Platform};

use super::{DOCKER_INDEX, Descriptor, INDEX, PlatformFields};
use crate::text::one_line;

/// Annotation of a manifest that describes another one, such as an attestation.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Bytes of a text from an index that are shown.
const SHOWN: usize = 80;

/// A part of an image that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The platform of the part, if it has a valid one.
    pub platform: Option<Platform>,
    /// Why it is left out, with what the publisher can change.
    pub why: String,
    /// What that means for the platform.
    pub effect: LeftOutEffect,
}

/// What it means for a platform that a part of an image is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutEffect {
    /// Another part is used.
    Replaced,
    /// Nothing is published for it.
    Unusable,
    /// Nothing is published for it now: the registry lacks a part.
    Missing,
}

/// The manifest of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformManifest {
    pub(crate) platform: Platform,
    pub(crate) digest: Digest,
}

/// The manifests of an index by platform, and what is left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexContents {
    /// In the order of the index.
    pub(crate) manifests: Vec<PlatformManifest>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// An entry that may be chosen.
struct Candidate {
    platform: Platform,
    digest: Digest,
    variant: String,
}

/// Chooses a manifest for each platform. Attestations and other descriptions are no part of the image.
pub(crate) fn choose(listed: &[Descriptor]) -> IndexContents {
    let mut contents = IndexContents::default();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut first_of = BTreeMap::new();
    for descriptor in listed.iter().filter(|descriptor| !is_description(descriptor)) {
        match candidate(descriptor) {
            Err(left_out) => contents.left_out.push(left_out),
            Ok(new) => match first_of.get(&new.platform).map(|at: &usize| &mut candidates[*at]) {
                None => {
                    first_of.insert(new.platform.clone(), candidates.len());
                    candidates.push(new);
                }
                Some(chosen) => contents.left_out.push(replace(chosen, new)),
            },
        }
    }
    contents.manifests = candidates
        .into_iter()
        .map(|Candidate { platform, digest, .. }| PlatformManifest { platform, digest })
        .collect();
    for left_out in &mut contents.left_out {
        if left_out.platform.as_ref().is_some_and(|platform| first_of.contains_key(platform)) {
            left_out.effect = LeftOutEffect::Replaced;
        }
    }
    contents
}

/// Keeps the better one of two entries of a platform in `chosen`. Returns the other one.
fn replace(chosen: &mut Candidate, mut new: Candidate) -> LeftOut {
    if rank(&new.variant) < rank(&chosen.variant) {
        std::mem::swap(chosen, &mut new);
    }
    let baseline = if chosen.variant.is_empty() { "the entry without a variant" } else { &chosen.variant };
    let why = match new.variant.as_str() {
        variant if variant == chosen.variant => {
            format!("another entry, {}, is left out: the first one is used", new.digest)
        }
        "" => format!("the entry without a variant is left out: {baseline} is used"),
        variant => format!("variant {variant} is left out: {baseline} is used, which runs on more CPUs"),
    };
    LeftOut { platform: Some(new.platform), why, effect: LeftOutEffect::Replaced }
}

/// Returns an order of variants. The first one runs on the most CPUs: no variant, then `v1`, `v2` and so on.
fn rank(variant: &str) -> (u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    match variant.strip_prefix('v') {
        _ if variant.is_empty() => (0, 0),
        None => (u32::MAX, 0),
        Some(text) => text.split_once('.').map_or((number(text), 0), |(major, minor)| (number(major), number(minor))),
    }
}

/// Returns whether an entry describes another one. `BuildKit` lists attestations with platform `unknown`.
fn is_description(descriptor: &Descriptor) -> bool {
    let is_unknown = |fields: &PlatformFields| fields.os == "unknown" || fields.architecture == "unknown";
    descriptor.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(REFERENCE_TYPE))
        || descriptor.platform.as_ref().is_some_and(is_unknown)
}

/// Returns the entry as a candidate for its platform, or why it cannot be one.
fn candidate(descriptor: &Descriptor) -> Result<Candidate, LeftOut> {
    let shown = |text: &str| one_line(text.as_bytes(), SHOWN);
    let digest = shown(&descriptor.digest);
    let left_out = |platform, why| LeftOut { platform, why, effect: LeftOutEffect::Unusable };
    let Some(fields) = &descriptor.platform else {
        let is_index = is_index(descriptor);
        let why = if is_index {
            nested(&digest)
        } else {
            format!("manifest {digest} names no platform; add it to its entry in the index")
        };
        return Err(left_out(None, why));
    };
    let text = format!("{}-{}", fields.os, fields.architecture);
    let Ok(platform) = text.parse::<Platform>() else {
        let why =
            format!("manifest {digest} has platform `{}`, which is not valid; write `linux` and `amd64`", shown(&text));
        return Err(left_out(None, why));
    };
    if is_index(descriptor) {
        return Err(left_out(Some(platform), nested(&digest)));
    }
    match descriptor.digest.parse() {
        Ok(digest) => Ok(Candidate { platform, digest, variant: shown(&fields.variant) }),
        Err(error) => Err(left_out(Some(platform), format!("its entry in the index has no valid digest: {error}"))),
    }
}

fn is_index(descriptor: &Descriptor) -> bool {
    [INDEX, DOCKER_INDEX].contains(&descriptor.media_type.as_str())
}

/// Explains why an index inside of an index is left out.
pub(crate) fn nested(digest: &str) -> String {
    format!(
        "{digest} is an index inside of the index; list the manifest of each platform in the index of the tag itself"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn entry(name: &str, os: &str, arch: &str, variant: &str) -> Descriptor {
        let json = json!({"digest": digest(name), "size": 1, "platform": {"os": os, "architecture": arch, "variant": variant}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_manifest_that_runs_on_the_most_cpus_is_chosen() {
        let amd = |name: &str, variant: &str| entry(name, "linux", "amd64", variant);
        let arm = |name: &str, variant: &str| entry(name, "linux", "arm", variant);
        let cases: [(Vec<Descriptor>, &[&str]); 10] = [
            (vec![amd("a", "v3"), amd("b", "")], &["b"]),
            (vec![amd("a", ""), amd("b", "v3")], &["a"]),
            (vec![amd("a", "v3"), amd("b", "v1"), amd("c", "v2")], &["b"]),
            (vec![amd("a", "v10"), amd("b", "v9")], &["b"]),
            (vec![amd("a", "v3")], &["a"]),
            (vec![amd("a", "zen"), amd("b", "v4")], &["b"]),
            (vec![amd("a", "zen"), amd("b", "zen")], &["a"]),
            (vec![arm("a", "v7"), arm("b", "v5"), amd("c", ""), arm("d", "v6")], &["b", "c"]),
            (vec![entry("a", "linux", "arm64", "v8.2"), entry("b", "linux", "arm64", "v8")], &["b"]),
            (vec![entry("a", "unknown", "unknown", ""), amd("b", "")], &["b"]),
        ];
        for (listed, expected) in cases {
            let contents = choose(&listed);
            let chosen: Vec<_> = contents.manifests.iter().map(|manifest| manifest.digest.clone()).collect();
            let expected: Vec<_> = expected.iter().map(|name| digest(name)).collect();
            assert_eq!(chosen, expected, "{listed:?}");
            let descriptions = listed.iter().filter(|listed| is_description(listed)).count();
            assert_eq!(contents.left_out.len() + chosen.len() + descriptions, listed.len(), "{listed:?}");
            assert!(
                contents.left_out.iter().all(|left_out| left_out.effect == LeftOutEffect::Replaced),
                "{contents:?}"
            );
        }
    }

    #[test]
    fn what_can_not_be_chosen_is_told() {
        let base = json!({"digest": digest("a"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}});
        let with = |key: &str, value: serde_json::Value| {
            let mut json = base.clone();
            json[key] = value;
            serde_json::from_value::<Descriptor>(json).unwrap()
        };
        let platform = Some("linux-amd64");
        for (descriptor, platform, why) in [
            (with("mediaType", json!(INDEX)), platform, "is an index inside of the index"),
            (with("mediaType", json!(DOCKER_INDEX)), platform, "is an index inside of the index"),
            (with("platform", json!(null)), None, "names no platform"),
            (with("platform", json!({"os": "Linux", "architecture": "x86_64"})), None, "has platform `Linux-x86_64`"),
            (with("platform", json!({"os": "a\nb", "architecture": ""})), None, "has platform `a b-`"),
            (with("digest", json!("sha512:1")), platform, "has no valid digest"),
        ] {
            let contents = choose(std::slice::from_ref(&descriptor));
            assert_eq!(contents.manifests, [], "{descriptor:?}");
            let left_out = &contents.left_out[0];
            assert!(left_out.why.contains(why), "{left_out:?}");
            assert_eq!(left_out.platform.as_ref().map(Platform::as_str), platform, "{left_out:?}");
            assert_eq!(left_out.effect, LeftOutEffect::Unusable, "{left_out:?}");
        }
    }
}
