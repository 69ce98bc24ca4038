//! Parts of an image: manifests, layers, and which manifest of an index a platform gets.

use std::io;

use bytes::Bytes;
use d8_crds::values::{digest::Digest, platform::Platform};
use http::HeaderValue;

use crate::oci::{Document, INDEX, MANIFEST, platforms::choose};

/// Platform of a request that names none: the default of the registries' own libraries.
const DEFAULT_PLATFORM: (&str, &str) = ("linux", "amd64");

/// A manifest or index as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) bytes: Bytes,
    pub(super) media_type: HeaderValue,
    pub(super) digest: Digest,
}

impl Manifest {
    /// Takes the media type from the document, if it can be a header.
    pub(super) fn new(bytes: Bytes, digest: Digest) -> Self {
        let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
        let default = HeaderValue::from_static(if document.manifests.is_some() { INDEX } else { MANIFEST });
        let given = Some(document.media_type).filter(|media_type| !media_type.is_empty());
        let media_type = given.and_then(|media_type| HeaderValue::try_from(media_type).ok()).unwrap_or(default);
        Self { bytes, media_type, digest }
    }
}

/// The last layer of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerDescriptor {
    /// Digest of the manifest.
    pub(super) manifest: Digest,
    /// Digest of the layer.
    pub(super) digest: Digest,
    /// Size in bytes, compressed.
    pub(super) size: u64,
}

/// The manifest that a platform gets.
pub(super) enum PlatformMatch {
    /// The document itself: an image for one platform fits every platform, as in the registries' libraries.
    Itself,
    /// A manifest in the index.
    Child(Digest),
    /// None: the image is not for this platform.
    None,
}

/// Returns the manifest that a platform gets.
///
/// # Errors
/// The image has an entry for the platform that cannot be used.
pub(super) fn match_platform(document: &Document, platform: Option<&Platform>) -> io::Result<PlatformMatch> {
    let Some(listed) = &document.manifests else { return Ok(PlatformMatch::Itself) };
    let is_wanted = |found: &Platform| match platform {
        Some(platform) => found == platform,
        None => (found.os(), found.arch()) == DEFAULT_PLATFORM,
    };
    let contents = choose(listed);
    if let Some(chosen) = contents.manifests.into_iter().find(|manifest| is_wanted(&manifest.platform)) {
        return Ok(PlatformMatch::Child(chosen.digest));
    }
    match contents.left_out.into_iter().find(|left_out| left_out.platform.as_ref().is_some_and(is_wanted)) {
        Some(left_out) => Err(invalid(left_out.why)),
        None => Ok(PlatformMatch::None),
    }
}

/// Returns the last layer of a manifest.
pub(super) fn last_layer(manifest: Digest, document: &Document) -> io::Result<LayerDescriptor> {
    let layer = document.layers.as_ref().and_then(|layers| layers.last());
    let layer = layer.ok_or_else(|| invalid(format!("manifest {manifest} has no layers")))?;
    let digest = layer.digest.parse().map_err(invalid)?;
    let size = u64::try_from(layer.size).map_err(invalid)?;
    Ok(LayerDescriptor { manifest, digest, size })
}

/// Turns an error into an IO error with kind `InvalidData`.
pub(super) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
