//! Versions that are listed by one tag for each platform, and their digests. Proxies of generations 1 and 2 have such
//! versions, or show no index of a version at all.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::release::Artifact,
    values::{digest::Digest, name::Tag, platform::Platform, version::Version},
};

/// The platforms that d8 supports. They are requested where no list names a version's own platforms. The first one is
/// the default of registries.
pub(crate) const PLATFORMS: [&str; 4] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];

/// Tags as versions are known by them, each with the platforms it is listed for. The platforms are empty if the tag
/// itself is listed; otherwise the registry lists `<tag>-<os>-<arch>` only, as generation 1 does.
pub(crate) type PlatformTags = BTreeMap<Tag, BTreeSet<Platform>>;

/// Groups a list of tags by version. A tag for all platforms wins over tags for single platforms.
pub(crate) fn group(tags: &BTreeSet<Tag>) -> PlatformTags {
    let mut groups = PlatformTags::new();
    for tag in tags {
        match d8_rpp::protocol::image::split_tag(tag) {
            (name, Some(platform)) if Version::parse_full(name.as_str()).is_ok() => {
                if !tags.contains(&name) {
                    groups.entry(name).or_default().insert(platform);
                }
            }
            _ => drop(groups.entry(tag.clone()).or_default()),
        }
    }
    groups
}

/// Derives the digest of a version that has no index, from pairs of platform and manifest: the manifest if all
/// platforms have the same one, otherwise the digest of the list of pairs. Returns `None` without a manifest.
pub(crate) fn content_digest<'a>(manifests: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Digest> {
    let manifests: BTreeSet<(&str, &str)> = manifests.into_iter().collect();
    let distinct: BTreeSet<&str> = manifests.iter().map(|(_, manifest)| *manifest).collect();
    match distinct.into_iter().collect::<Vec<_>>()[..] {
        [] => None,
        [one] => one.parse().ok(),
        _ => {
            let line = |(platform, manifest): &(&str, &str)| format!("{platform} {manifest}\n");
            Some(Digest::of(manifests.iter().map(line).collect::<String>().as_bytes()))
        }
    }
}

/// Returns whether these artifacts have the content digest `digest`, over all platforms or over [`PLATFORMS`]. If so,
/// the proxy changed and not the version.
pub(super) fn has_content_digest(artifacts: &[Artifact], digest: &Digest) -> bool {
    let all = || artifacts.iter().map(|a| (a.platform.as_deref().unwrap_or_default(), a.manifest.as_str()));
    let supported = all().filter(|(platform, _)| PLATFORMS.contains(platform));
    content_digest(all()).as_ref() == Some(digest) || content_digest(supported).as_ref() == Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_single_platforms_form_one_version() {
        for (tags, expected) in [
            ("v1.0.0 latest", "latest: v1.0.0:"),
            ("v1.0.0-linux-amd64 v1.0.0-darwin-arm64", "v1.0.0:darwin-arm64,linux-amd64"),
            ("v1.0.0 v1.0.0-linux-amd64", "v1.0.0:"),
            ("latest-linux-amd64", "latest-linux-amd64:"),
            ("v1-linux-amd64 v1.2-linux-amd64", "v1-linux-amd64: v1.2-linux-amd64:"),
            ("1.0.0-linux-amd64 v1.0.0-linux-amd64", "1.0.0:linux-amd64 v1.0.0:linux-amd64"),
            ("v1.0.0-rc.1-linux-arm64", "v1.0.0-rc.1:linux-arm64"),
        ] {
            let listed = tags.split(' ').map(|tag| tag.parse().unwrap()).collect();
            let found: Vec<String> = group(&listed)
                .iter()
                .map(|(name, of)| format!("{name}:{}", of.iter().map(Platform::as_str).collect::<Vec<_>>().join(",")))
                .collect();
            assert_eq!(found.join(" "), expected, "{tags}");
        }
    }

    #[test]
    fn content_digests() {
        let (a, b, c) = (Digest::of(b"a").to_string(), Digest::of(b"b").to_string(), Digest::of(b"c").to_string());
        let two = content_digest([("linux-amd64", a.as_str()), ("linux-arm64", b.as_str())]);
        assert_eq!(content_digest([]), None);
        assert_eq!(content_digest([("linux-amd64", a.as_str())]), a.parse().ok());
        assert_eq!(
            content_digest([("linux-amd64", a.as_str()), ("linux-arm64", a.as_str())]),
            a.parse().ok(),
            "the same manifest for all"
        );
        assert_eq!(content_digest([("linux-arm64", b.as_str()), ("linux-amd64", a.as_str())]), two, "in any order");
        assert_ne!(content_digest([("linux-amd64", b.as_str()), ("linux-arm64", a.as_str())]), two, "swapped");
        let artifact = |platform: &str, manifest: &str| Artifact {
            platform: Some(platform.to_owned()),
            manifest: manifest.to_owned(),
            layer: manifest.to_owned(),
            size_bytes: 1,
        };
        let two = two.unwrap();
        let index = [artifact("linux-amd64", &a), artifact("linux-arm64", &b), artifact("windows-amd64", &c)];
        assert!(has_content_digest(&index, &two), "an unsupported platform does not count");
        assert!(has_content_digest(&index[..2], &two));
        assert!(!has_content_digest(&index[..1], &two));
    }
}
