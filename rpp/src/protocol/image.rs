//! Image names of components, and the paths of the proxy's routes.

use d8_crds::values::{
    name::{Component, PluginName, Tag},
    platform::Platform,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Image of d8 itself.
pub const CLI_IMAGE: &str = "deckhouse-cli";
/// Prefix of the images of plugins.
pub const PLUGIN_PREFIX: &str = "deckhouse-cli/plugins/";

/// The file with the contract, next to the executable in the layer of a plugin.
pub(crate) const CONTRACT_FILE: &str = "contract.yaml";

/// Bytes that are percent-encoded in a path segment: all but the unreserved ones of RFC 3986 and `:`,
/// which digests contain.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Returns the component's image: `deckhouse-cli` or `deckhouse-cli/plugins/<name>`.
pub fn name(component: &Component) -> String {
    match component {
        Component::D8 => CLI_IMAGE.to_owned(),
        Component::Plugin(name) => format!("{PLUGIN_PREFIX}{name}"),
    }
}

/// Returns the component of an image, `None` for an image that the proxy does not serve.
pub fn component(image: &str) -> Option<Component> {
    if image == CLI_IMAGE {
        return Some(Component::D8);
    }
    image.strip_prefix(PLUGIN_PREFIX)?.parse::<PluginName>().ok().map(Component::Plugin)
}

/// Returns the path of the component's tag list.
pub(crate) fn tags_path(component: &Component) -> String {
    format!("v1/images/{}/tags", name(component))
}

/// Returns the path of a manifest, by tag or digest (generation 3).
pub(crate) fn manifest_path(component: &Component, reference: &str) -> String {
    format!("v1/images/{}/manifests/{}", name(component), utf8_percent_encode(reference, SEGMENT))
}

/// Returns the path of the layer of a tag for a platform (generation 2 and later).
pub(crate) fn layer_path(component: &Component, tag: &Tag, platform: &Platform) -> String {
    format!("v1/images/{}/images/{tag}?platform={platform}", name(component))
}

/// Returns the path of the layer of a tag (generation 1).
pub(crate) fn generation_1_layer_path(component: &Component, tag: &Tag) -> String {
    format!("v1/images/{}/tags/{tag}", name(component))
}

/// Splits a tag of generation 1, such as `v1.0.0-linux-amd64`, into the version and the platform. Other
/// tags are returned unchanged, without a platform.
pub fn split_tag(tag: &Tag) -> (Tag, Option<Platform>) {
    match Platform::split_suffix(tag.as_str()) {
        Some((bare, platform)) => (bare.parse().unwrap_or_else(|_| tag.clone()), Some(platform)),
        None => (tag.clone(), None),
    }
}

/// Returns the tags that a version may have for a platform on the route of generation 1, the likeliest
/// first: with the platform as a suffix, then without. Empty for a tag of another platform.
pub(crate) fn generation_1_tags(tag: &Tag, platform: &Platform) -> Vec<Tag> {
    let (bare, suffix) = split_tag(tag);
    if suffix.as_ref().is_some_and(|suffix| suffix != platform) {
        return Vec::new();
    }
    let with_platform = format!("{bare}-{platform}").parse().ok();
    with_platform.into_iter().chain([bare]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_and_components() {
        for (image, component_name) in [
            ("deckhouse-cli", Some("d8")),
            ("deckhouse-cli/plugins/hello", Some("hello")),
            ("deckhouse-cli/plugins/images", Some("images")),
            ("deckhouse-cli/plugins/tags", Some("tags")),
            ("deckhouse-cli/plugins/", None),
            ("deckhouse-cli/plugins/d8", None),
            ("deckhouse-cli/plugins/../x", None),
            ("deckhouse-cli/plugins/a/b", None),
            ("deckhouse-cli/other", None),
            ("deckhouse-controller", None),
            ("", None),
        ] {
            let found = component(image);
            assert_eq!(found.as_ref().map(Component::name), component_name, "{image}");
            if let Some(found) = found {
                assert_eq!(name(&found), image);
            }
        }
    }

    #[test]
    fn tags_of_generation_1() {
        let platform = "linux-amd64".parse().unwrap();
        for (tag, expected) in [
            ("v1.2.3", &["v1.2.3-linux-amd64", "v1.2.3"][..]),
            ("v1.2.3-linux-amd64", &["v1.2.3-linux-amd64", "v1.2.3"]),
            ("v1.2.3-darwin-arm64", &[]),
            ("v1.0.0-rc-1", &["v1.0.0-rc-1-linux-amd64", "v1.0.0-rc-1"]),
        ] {
            let tags = generation_1_tags(&tag.parse().unwrap(), &platform);
            assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), expected, "{tag}");
        }
        let longest: Tag = "v".repeat(128).parse().unwrap();
        let tags = generation_1_tags(&longest, &platform);
        assert_eq!(tags, std::slice::from_ref(&longest), "a tag that is too long with the suffix");
    }

    #[test]
    fn references_cannot_leave_their_segment() {
        let hello = component("deckhouse-cli/plugins/hello").unwrap();
        let path = manifest_path(&hello, "../../x?y#z");
        assert_eq!(path, "v1/images/deckhouse-cli/plugins/hello/manifests/..%2F..%2Fx%3Fy%23z");
    }
}
