//! How components are called at the proxy: image names and the paths of its routes.

use d8_crds::values::{
    name::{Component, PluginName, Tag},
    platform::Platform,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The image of d8 itself.
pub const CLI_IMAGE: &str = "deckhouse-cli";
/// What precedes a plugin's name in its image.
pub const PLUGIN_PREFIX: &str = "deckhouse-cli/plugins/";

/// The file in a plugin's image of generation 1 that holds its contract.
pub(crate) const CONTRACT_FILE: &str = "contract.yaml";

/// What may stand unescaped in a path segment or a query value (RFC 3986, "unreserved"), and `:` as
/// it stands in digests.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The component's image: `deckhouse-cli` or `deckhouse-cli/plugins/<name>`.
pub fn name(component: &Component) -> String {
    match component {
        Component::D8 => CLI_IMAGE.to_owned(),
        Component::Plugin(name) => format!("{PLUGIN_PREFIX}{name}"),
    }
}

/// The component an image belongs to; nothing for images that the proxy does not serve.
pub fn component(image: &str) -> Option<Component> {
    if image == CLI_IMAGE {
        return Some(Component::D8);
    }
    image.strip_prefix(PLUGIN_PREFIX)?.parse::<PluginName>().ok().map(Component::Plugin)
}

/// Where the component's tags are listed.
pub(crate) fn tags_path(component: &Component) -> String {
    format!("v1/images/{}/tags", name(component))
}

/// Where a manifest is read, by tag or digest (generation 3).
pub(crate) fn manifest_path(component: &Component, reference: &str) -> String {
    format!("v1/images/{}/manifests/{}", name(component), utf8_percent_encode(reference, SEGMENT))
}

/// Where a platform's layer is pulled (generation 2 and later).
pub(crate) fn layer_path(component: &Component, tag: &Tag, platform: &Platform) -> String {
    format!("v1/images/{}/images/{tag}?platform={platform}", name(component))
}

/// Where the layer of a tag is pulled (generation 1).
pub(crate) fn old_layer_path(component: &Component, tag: &Tag) -> String {
    format!("v1/images/{}/tags/{tag}", name(component))
}

/// The tag that people know a version by, and the platform that a tag of generation 1 is for.
pub fn split_tag(tag: &Tag) -> (Tag, Option<Platform>) {
    match Platform::split_suffix(tag.as_str()) {
        Some((bare, platform)) => (bare.parse().unwrap_or_else(|_| tag.clone()), Some(platform)),
        None => (tag.clone(), None),
    }
}

/// Under which tags a version may be pulled for a platform by the route of generation 1, the likeliest
/// first; never under another platform's.
pub(crate) fn old_tags(tag: &Tag, platform: &Platform) -> Vec<Tag> {
    let (bare, of) = split_tag(tag);
    if of.as_ref().is_some_and(|of| of != platform) {
        return Vec::new();
    }
    let own = format!("{bare}-{platform}").parse().ok();
    own.into_iter().chain([bare]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_components_name_each_other() {
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
            let tags = old_tags(&tag.parse().unwrap(), &platform);
            assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), expected, "{tag}");
        }
        let longest: Tag = "v".repeat(128).parse().unwrap();
        let tags = old_tags(&longest, &platform);
        assert_eq!(tags, std::slice::from_ref(&longest), "what is no tag with the suffix");
    }

    #[test]
    fn references_cannot_leave_their_segment() {
        let hello = component("deckhouse-cli/plugins/hello").unwrap();
        let path = manifest_path(&hello, "../../x?y#z");
        assert_eq!(path, "v1/images/deckhouse-cli/plugins/hello/manifests/..%2F..%2Fx%3Fy%23z");
    }
}
