//! The images of a layout. Reads `index.json` again after it was replaced. Serves only content of
//! an image that its own tags lead to. Functions here block on the disk.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use d8_crds::values::{
    digest::Digest,
    limits::MANIFEST_BYTES,
    name::{Component, Tag},
    platform::Platform,
};

use super::image::{LayerDescriptor, Manifest, PlatformMatch, invalid, last_layer, match_platform};
use crate::{
    file::FileVersion,
    oci::{Document, layout::Layout},
    protocol::image,
    text::json_error,
};

/// Ignored names that are logged.
const SHOWN_NAMES: usize = 5;

/// A layout, and its tags as last read.
pub(super) struct Catalog {
    layout: Layout,
    last: RwLock<(Option<FileVersion>, Arc<Published>)>,
}

/// The tags of each image, and the digests that they point to.
#[derive(Default)]
pub(super) struct Published {
    images: BTreeMap<String, BTreeMap<Tag, Digest>>,
}

impl Catalog {
    /// Opens a layout and reads it once, so that a wrong directory is an error at the start.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let catalog = Self { layout: Layout::at(root), last: RwLock::default() };
        catalog.published()?;
        Ok(catalog)
    }

    /// Returns the tags as they are now.
    pub(super) fn published(&self) -> io::Result<Arc<Published>> {
        self.read_published().map_err(|error| {
            // Not the fault of one image.
            if error.kind() == io::ErrorKind::NotFound {
                error
            } else {
                io::Error::other(format!("index.json: {error}"))
            }
        })
    }

    fn read_published(&self) -> io::Result<Arc<Published>> {
        // Taken before the file is read: a change in between is then read next time.
        let version = self.layout.index_version()?;
        {
            let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
            if last.0 == Some(version) {
                return Ok(Arc::clone(&last.1));
            }
        }
        let published = Arc::new(Published::read(&self.layout)?);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = (Some(version), Arc::clone(&published));
        Ok(published)
    }

    /// Returns the manifest of a tag or digest, `None` if the image does not have it.
    pub(super) fn manifest(&self, component: &Component, reference: &str) -> io::Result<Option<Manifest>> {
        let published = self.published()?;
        let Some(tags) = published.tags(component) else { return Ok(None) };
        let digest = match (reference.parse::<Digest>(), reference.parse::<Tag>()) {
            (Ok(digest), _) if self.leads_to(tags, &digest) => digest,
            (Err(_), Ok(tag)) => match tags.get(&tag) {
                Some(digest) => digest.clone(),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (bytes, _) = self.document(&digest)?;
        Ok(Some(Manifest::new(bytes.into(), digest)))
    }

    /// Returns the layer of a tag for a platform and its file, `None` if there is no such tag or platform.
    pub(super) fn layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: Option<&Platform>,
    ) -> io::Result<Option<(LayerDescriptor, File)>> {
        let published = self.published()?;
        let Some(top) = published.tags(component).and_then(|tags| tags.get(tag)) else { return Ok(None) };
        let (_, document) = self.document(top)?;
        let layer = match match_platform(&document, platform)? {
            PlatformMatch::Itself => last_layer(top.clone(), &document)?,
            PlatformMatch::Child(digest) => {
                let (_, document) = self.document(&digest)?;
                last_layer(digest, &document)?
            }
            PlatformMatch::None => return Ok(None),
        };
        let file = self.layout.open_blob(&layer.digest).map_err(broken)?;
        let found = file.metadata()?.len();
        if found != layer.size {
            return Err(invalid(format!("layer {} has {found} bytes, its manifest says {}", layer.digest, layer.size)));
        }
        Ok(Some((layer, file)))
    }

    /// Returns whether one of the image's tags leads to a digest, directly or through an index. Without this check the
    /// blobs of all images could be read through one image.
    fn leads_to(&self, tags: &BTreeMap<Tag, Digest>, digest: &Digest) -> bool {
        // A broken manifest does not hide the other ones.
        let is_child = |top: &Digest| {
            let document = self.document(top).map(|(_, document)| document).unwrap_or_default();
            document.manifests.iter().flatten().any(|child| child.digest == digest.as_str())
        };
        tags.values().any(|top| top == digest) || tags.values().any(is_child)
    }

    fn document(&self, digest: &Digest) -> io::Result<(Vec<u8>, Document)> {
        let bytes = self.layout.read(digest, MANIFEST_BYTES).map_err(broken)?;
        let document = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("manifest {digest}: {}", json_error(&error))))?;
        Ok((bytes, document))
    }
}

/// Turns the absence of a blob into broken content: the image is named, and lacks a part.
fn broken(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound { invalid(error) } else { error }
}

impl Published {
    fn read(layout: &Layout) -> io::Result<Self> {
        let mut published = Self::default();
        let mut ignored = Vec::new();
        for (name, descriptor) in layout.names()? {
            let (image, tag) = name.rsplit_once(':').unwrap_or_default();
            match (tag.parse::<Tag>(), descriptor.digest.parse::<Digest>()) {
                (Ok(tag), Ok(digest)) if image::component(image).is_some() => {
                    published.images.entry(image.to_owned()).or_default().insert(tag, digest);
                }
                _ => ignored.push(name),
            }
        }
        if !ignored.is_empty() {
            let first: Vec<&String> = ignored.iter().take(SHOWN_NAMES).collect();
            tracing::warn!(
                count = ignored.len(),
                ?first,
                "entries of index.json are ignored: their name is not an image and a tag, such as \
                 deckhouse-cli/plugins/hello:v1.0.0, or their digest is not sha256"
            );
        }
        if published.images.is_empty() {
            tracing::warn!("index.json names no image: nothing is published");
        }
        Ok(published)
    }

    /// Returns the tags of an image and their digests, `None` for an image that is not published.
    pub(super) fn tags(&self, component: &Component) -> Option<&BTreeMap<Tag, Digest>> {
        self.images.get(&image::name(component))
    }
}
