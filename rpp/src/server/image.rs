//! Parts of an image: manifests, layers, and which manifest of an index a platform gets.

use std::io;

use bytes::Bytes;
use d8_crds::values::{digest::Digest, platform::Platform};

use crate::oci::{Descriptor, Document, INDEX, MANIFEST, PlatformFields};

/// Platform of a request that names none: the default of the registries' own libraries.
const DEFAULT_PLATFORM: (&str, &str) = ("linux", "amd64");

/// A manifest or index as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) bytes: Bytes,
    pub(super) media_type: String,
    pub(super) digest: Digest,
}

impl Manifest {
    /// Takes the media type from the document.
    pub(super) fn new(bytes: Bytes, digest: Digest) -> Self {
        let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
        let media_type = match (document.media_type.is_empty(), document.manifests.is_some()) {
            (false, _) => document.media_type,
            (true, true) => INDEX.to_owned(),
            (true, false) => MANIFEST.to_owned(),
        };
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
pub(super) enum PlatformMatch<'a> {
    /// The document itself: an image for one platform fits every platform, as in the registries' libraries.
    Itself,
    /// A manifest in the index.
    Child(&'a Descriptor),
    /// None: the image is not for this platform.
    None,
}

/// Returns the manifest that a platform gets.
pub(super) fn match_platform<'a>(document: &'a Document, platform: Option<&Platform>) -> PlatformMatch<'a> {
    let Some(children) = &document.manifests else { return PlatformMatch::Itself };
    let (os, arch) = platform.map_or(DEFAULT_PLATFORM, |platform| (platform.os(), platform.arch()));
    let matching = |fields: &PlatformFields| fields.os == os && fields.architecture == arch;
    let child = children.iter().find(|child| child.platform.as_ref().is_some_and(matching));
    child.map_or(PlatformMatch::None, PlatformMatch::Child)
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
