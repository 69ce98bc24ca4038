//! What a layout publishes: tags of images, manifests, layers. Read again whenever `index.json` was
//! replaced; what is served of an image is only what its own tags lead to. Reads the disk, and waits for it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};

use crate::{
    client::MAX_MANIFEST,
    oci::{
        Document,
        layout::{Layout, Stamp},
    },
    protocol::image,
    server::images::{self, LayerOf, Manifest, Selected, invalid},
};

/// The layout, and what it last published.
pub(super) struct Catalog {
    layout: Layout,
    last: RwLock<(Option<Stamp>, Arc<Published>)>,
}

/// What is published: of each image its tags.
#[derive(Default)]
pub(super) struct Published {
    images: BTreeMap<String, BTreeMap<Tag, Digest>>,
}

impl Catalog {
    /// Reads the layout once, so that a wrong folder is an error at start.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let catalog = Self { layout: Layout::at(root), last: RwLock::default() };
        catalog.published()?;
        Ok(catalog)
    }

    /// What is published now.
    pub(super) fn published(&self) -> io::Result<Arc<Published>> {
        // Before the reading: what changes meanwhile is read next time.
        let stamp = self.layout.stamp()?;
        {
            let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
            if last.0 == Some(stamp) {
                return Ok(Arc::clone(&last.1));
            }
        }
        let published = Arc::new(Published::read(&self.layout)?);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = (Some(stamp), Arc::clone(&published));
        Ok(published)
    }

    /// The manifest behind a tag or digest; nothing if the image has none such.
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

    /// The layer of a tag for a platform; nothing if there is no such tag or platform.
    pub(super) fn layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: Option<&Platform>,
    ) -> io::Result<Option<(LayerOf, PathBuf)>> {
        let published = self.published()?;
        let Some(top) = published.tags(component).and_then(|tags| tags.get(tag)) else { return Ok(None) };
        let (_, document) = self.document(top)?;
        let layer = match images::selected(&document, platform) {
            Selected::Itself => images::last_layer(top.clone(), &document)?,
            Selected::Child(child) => {
                let digest: Digest = child.digest.parse().map_err(invalid)?;
                let (_, document) = self.document(&digest)?;
                images::last_layer(digest, &document)?
            }
            Selected::Nothing => return Ok(None),
        };
        let path = self.layout.blob(&layer.digest);
        Ok(Some((layer, path)))
    }

    /// Whether a digest is a tag's of this image, or that of a child of one of its indexes. Without this
    /// one image would give away the blobs of all.
    fn leads_to(&self, tags: &BTreeMap<Tag, Digest>, digest: &Digest) -> bool {
        // A broken neighbour is no reason to hide what is whole.
        let is_child = |top: &Digest| {
            let document = self.document(top).map(|(_, document)| document).unwrap_or_default();
            document.manifests.iter().flatten().any(|child| child.digest == digest.as_str())
        };
        tags.values().any(|top| top == digest) || tags.values().any(is_child)
    }

    fn document(&self, digest: &Digest) -> io::Result<(Vec<u8>, Document)> {
        let bytes = self.layout.read(digest, MAX_MANIFEST)?;
        let document = serde_json::from_slice(&bytes)?;
        Ok((bytes, document))
    }
}

impl Published {
    fn read(layout: &Layout) -> io::Result<Self> {
        let mut published = Self::default();
        for (name, descriptor) in layout.names()? {
            let (image, tag) = name.rsplit_once(':').unwrap_or_default();
            match (tag.parse::<Tag>(), descriptor.digest.parse::<Digest>()) {
                (Ok(tag), Ok(digest)) if image::component(image).is_some() => {
                    published.images.entry(image.to_owned()).or_default().insert(tag, digest);
                }
                _ => tracing::warn!(?name, "left out: not <image>:<tag> of a known image with a sha256 digest"),
            }
        }
        Ok(published)
    }

    /// The tags of an image and what they point at; nothing for an image that is not published.
    pub(super) fn tags(&self, component: &Component) -> Option<&BTreeMap<Tag, Digest>> {
        self.images.get(&image::name(component))
    }
}
