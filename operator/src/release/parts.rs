//! Versions of a proxy that shows no index of them: by which tags they are listed, and what tells one
//! content from another. No IO.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::release::Artifact,
    values::{digest::Digest, name::Tag, platform::Platform, version::Version},
};

/// The platforms that d8 runs on: those asked for where nothing lists a version's own. The first is the
/// default of registries.
pub(crate) const PLATFORMS: [&str; 4] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];

/// Tags as versions are known by; those that are listed as `v1.2.3-<os>-<arch>` only (generation 1), with the
/// platforms they are listed for.
pub(crate) type Names = BTreeMap<Tag, BTreeSet<Platform>>;

/// Reads a tag list. A version that is listed as a whole is read as a whole.
pub(crate) fn names(tags: &BTreeSet<Tag>) -> Names {
    let mut names = Names::new();
    for tag in tags {
        match d8_rpp::protocol::image::split_tag(tag) {
            (name, Some(platform)) if Version::parse(name.as_str()).is_ok() => {
                if !tags.contains(&name) {
                    names.entry(name).or_default().insert(platform);
                }
            }
            _ => drop(names.entry(tag.clone()).or_default()),
        }
    }
    names
}

/// What a version points at that has no digest of its own: its manifest, if all platforms have the same one;
/// else the digest of the list of them. Nothing if there are none.
pub(crate) fn pointer<'a>(manifests: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Digest> {
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

/// Whether a version with these artifacts points at the digest as far as an old proxy could tell: the
/// proxy was updated, and not the version.
pub(crate) fn points_at(artifacts: &[Artifact], digest: &Digest) -> bool {
    let all = || artifacts.iter().map(|a| (a.platform.as_deref().unwrap_or_default(), a.manifest.as_str()));
    let usual = all().filter(|(platform, _)| PLATFORMS.contains(platform));
    pointer(all()).as_ref() == Some(digest) || pointer(usual).as_ref() == Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_by_platform_are_one_version() {
        for (tags, expected) in [
            ("v1.0.0 latest", "latest: v1.0.0:"),
            ("v1.0.0-linux-amd64 v1.0.0-darwin-arm64", "v1.0.0:darwin-arm64,linux-amd64"),
            ("v1.0.0 v1.0.0-linux-amd64", "v1.0.0:"),
            ("latest-linux-amd64", "latest-linux-amd64:"),
            ("1.0.0-linux-amd64 v1.0.0-linux-amd64", "1.0.0:linux-amd64 v1.0.0:linux-amd64"),
            ("v1.0.0-rc.1-linux-arm64", "v1.0.0-rc.1:linux-arm64"),
        ] {
            let listed = tags.split(' ').map(|tag| tag.parse().unwrap()).collect();
            let found: Vec<String> = names(&listed)
                .iter()
                .map(|(name, of)| format!("{name}:{}", of.iter().map(Platform::as_str).collect::<Vec<_>>().join(",")))
                .collect();
            assert_eq!(found.join(" "), expected, "{tags}");
        }
    }

    #[test]
    fn what_tells_one_content_from_another() {
        let (a, b, c) = (Digest::of(b"a").to_string(), Digest::of(b"b").to_string(), Digest::of(b"c").to_string());
        let two = pointer([("linux-amd64", a.as_str()), ("linux-arm64", b.as_str())]);
        assert_eq!(pointer([]), None);
        assert_eq!(pointer([("linux-amd64", a.as_str())]), a.parse().ok());
        assert_eq!(pointer([("linux-amd64", a.as_str()), ("linux-arm64", a.as_str())]), a.parse().ok(), "all the same");
        assert_eq!(pointer([("linux-arm64", b.as_str()), ("linux-amd64", a.as_str())]), two, "in any order");
        assert_ne!(pointer([("linux-amd64", b.as_str()), ("linux-arm64", a.as_str())]), two, "exchanged");
        let artifact = |platform: &str, manifest: &str| Artifact {
            platform: Some(platform.to_owned()),
            manifest: manifest.to_owned(),
            layer: manifest.to_owned(),
            size_bytes: 1,
        };
        let two = two.unwrap();
        let index = [artifact("linux-amd64", &a), artifact("linux-arm64", &b), artifact("windows-amd64", &c)];
        assert!(points_at(&index, &two), "a platform that is not asked for does not count");
        assert!(points_at(&index[..2], &two));
        assert!(!points_at(&index[..1], &two));
    }
}
