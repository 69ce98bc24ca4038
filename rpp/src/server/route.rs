//! Parses the paths of requests.

use d8_crds::values::name::{Component, Tag};
use percent_encoding::percent_decode_str;

use crate::protocol::{generation::Generation, image};

/// The resource that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The tag list of an image.
    Tags(Component),
    /// The layer of a tag (generation 1).
    Generation1Layer(Component, Tag),
    /// The layer of a tag for a platform (generation 2).
    Layer(Component, Tag),
    /// The manifest of a tag or digest (generation 3).
    Manifest(Component, String),
}

impl Route {
    /// Parses a path, `None` for one that is not a route. The last action in the path counts, so that a plugin
    /// may be named `images` or `tags`. Only the images of d8 and its plugins have routes.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/images/")?;
        let (image, last) = rest.rsplit_once('/')?;
        if last == "tags"
            && let Some(component) = image::component(image)
        {
            return Some(Self::Tags(component));
        }
        let (image, action) = image.rsplit_once('/')?;
        let component = image::component(image)?;
        let last = percent_decode_str(last).decode_utf8().ok()?;
        match action {
            "tags" => Some(Self::Generation1Layer(component, last.parse().ok()?)),
            "images" => Some(Self::Layer(component, last.parse().ok()?)),
            "manifests" => Some(Self::Manifest(component, last.into_owned())),
            _ => None,
        }
    }

    /// Returns whether a proxy of this generation has the route. Newer generations keep the older routes.
    pub(super) fn is_in(&self, generation: Generation) -> bool {
        match self {
            Self::Tags(_) | Self::Generation1Layer(..) => true,
            Self::Layer(..) => generation >= Generation::Two,
            Self::Manifest(..) => generation >= Generation::Three,
        }
    }

    /// Returns whether the route accepts HEAD.
    pub(super) fn has_head(&self) -> bool {
        matches!(self, Self::Layer(..) | Self::Generation1Layer(..))
    }
}

/// Returns the name of a path's route, for metrics.
pub(super) fn route_name(path: &str) -> &'static str {
    match Route::parse(path) {
        Some(Route::Tags(_)) => "tags",
        Some(Route::Generation1Layer(..)) => "old_layer",
        Some(Route::Layer(..)) => "layer",
        Some(Route::Manifest(..)) => "manifest",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_paths() {
        let plugin = |name: &str| Component::Plugin(name.parse().unwrap());
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        let digest = format!("sha256:{}", "a".repeat(64));
        let by_digest = format!("deckhouse-cli/manifests/{digest}");
        let cases = [
            ("deckhouse-cli/tags", Some(Route::Tags(Component::D8))),
            ("deckhouse-cli/plugins/hello/tags", Some(Route::Tags(plugin("hello")))),
            ("deckhouse-cli/plugins/tags/tags", Some(Route::Tags(plugin("tags")))),
            ("deckhouse-cli/plugins/images/tags", Some(Route::Tags(plugin("images")))),
            ("deckhouse-cli/plugins/tags/images/v1.0.0", Some(Route::Layer(plugin("tags"), tag("v1.0.0")))),
            ("deckhouse-cli/plugins/images/images/tags", Some(Route::Layer(plugin("images"), tag("tags")))),
            ("deckhouse-cli/images/v1.0.0", Some(Route::Layer(Component::D8, tag("v1.0.0")))),
            ("deckhouse-cli/manifests/v1.0.0", Some(Route::Manifest(Component::D8, "v1.0.0".to_owned()))),
            (&by_digest, Some(Route::Manifest(Component::D8, digest.clone()))),
            ("deckhouse-cli/manifests/sha256%3Aab", Some(Route::Manifest(Component::D8, "sha256:ab".to_owned()))),
            ("deckhouse-cli/images/..%2F..", None),
            ("deckhouse-cli/images/v1%20", None),
            ("deckhouse-cli/tags/v1.0.0", Some(Route::Generation1Layer(Component::D8, tag("v1.0.0")))),
            ("deckhouse-cli/plugins/tags/tags/v1.0.0", Some(Route::Generation1Layer(plugin("tags"), tag("v1.0.0")))),
            ("deckhouse-cli/plugins/images/tags/tags", Some(Route::Generation1Layer(plugin("images"), tag("tags")))),
            ("deckhouse-cli/plugins/tags/tags/tags", Some(Route::Generation1Layer(plugin("tags"), tag("tags")))),
            ("deckhouse-cli/tags/..%2F..", None),
            ("deckhouse-cli/plugins/tags", None),
            ("deckhouse-cli/plugins/../tags", None),
            ("deckhouse-controller/tags", None),
            ("deckhouse-cli", None),
            ("", None),
        ];
        for (path, route) in cases {
            assert_eq!(Route::parse(&format!("/v1/images/{path}")), route, "{path}");
        }
        assert_eq!(Route::parse("/v2/images/deckhouse-cli/tags"), None);
    }
}
