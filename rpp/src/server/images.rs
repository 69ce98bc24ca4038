//! What is served: images of a layout, or of a registry. Here is what both have in common, and which part
//! of an image a platform gets.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use futures::{StreamExt as _, stream::BoxStream};
use tokio_util::io::ReaderStream;

use crate::{
    oci::{Descriptor, Document, INDEX, MANIFEST, PlatformFields},
    server::{
        cache::Blob,
        catalog::Catalog,
        upstream::{Upstream, UpstreamError},
    },
};

/// The platform of whoever names none: the default of the registries' own libraries.
const DEFAULT_PLATFORM: (&str, &str) = ("linux", "amd64");
/// Bytes of a file read at a time.
const CHUNK: usize = 256 << 10;

/// Where images come from.
pub(super) enum Images {
    /// An OCI image layout on disk.
    Layout(Arc<Catalog>),
    /// A registry.
    Registry(Upstream),
}

/// A manifest or index as stored.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) bytes: Bytes,
    pub(super) media_type: String,
    pub(super) digest: Digest,
}

/// The last layer of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerOf {
    /// Of the manifest.
    pub(super) manifest: Digest,
    /// Of the layer.
    pub(super) digest: Digest,
    /// In bytes, as stored.
    pub(super) size: u64,
}

/// A layer to be sent.
pub(super) struct Layer {
    /// Of the manifest it is the last layer of.
    pub(super) manifest: Digest,
    /// In bytes.
    pub(super) size: u64,
    source: Source,
}

enum Source {
    File(std::fs::File),
    Cached(Blob),
    /// Only its size was asked for.
    None,
}

/// Which part of an image a platform gets.
pub(super) enum Selected<'a> {
    /// An image for one platform is given whatever was asked for, as registries' libraries do.
    Itself,
    /// A child of an index.
    Child(&'a Descriptor),
    /// It is not for this platform.
    Nothing,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImagesError {
    /// What is behind the server failed.
    #[error("{0}")]
    Registry(String),
    /// The server lacks what it needs to ask.
    #[error("{0}")]
    Config(String),
}

impl From<io::Error> for ImagesError {
    fn from(error: io::Error) -> Self {
        Self::Registry(error.to_string())
    }
}

impl From<UpstreamError> for ImagesError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Config(why) => Self::Config(why.to_string()),
            UpstreamError::Failed(why) => Self::Registry(why.to_string()),
        }
    }
}

impl Images {
    /// The tags of an image; nothing for one that is not published.
    pub(super) async fn tags(&self, component: &Component) -> Result<Option<Vec<String>>, ImagesError> {
        match self {
            Self::Registry(upstream) => Ok(upstream.tags(component).await?),
            Self::Layout(catalog) => {
                let component = component.clone();
                let read = move |catalog: &Catalog| {
                    let published = catalog.published()?;
                    Ok(published.tags(&component).map(|tags| tags.keys().map(ToString::to_string).collect()))
                };
                off_thread(catalog, read).await
            }
        }
    }

    /// The manifest behind a tag or digest; nothing if the image has none such.
    pub(super) async fn manifest(
        &self,
        component: &Component,
        reference: &str,
    ) -> Result<Option<Manifest>, ImagesError> {
        match self {
            Self::Registry(upstream) => {
                let named = reference.parse::<Digest>().is_ok() || reference.parse::<Tag>().is_ok();
                if named { Ok(upstream.manifest(component, reference).await?) } else { Ok(None) }
            }
            Self::Layout(catalog) => {
                let (component, reference) = (component.clone(), reference.to_owned());
                off_thread(catalog, move |catalog| catalog.manifest(&component, &reference)).await
            }
        }
    }

    /// The layer of a tag for a platform; nothing if there is no such tag or platform. `open`: to be sent.
    pub(super) async fn layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: Option<&Platform>,
        open: bool,
    ) -> Result<Option<Layer>, ImagesError> {
        match self {
            Self::Registry(upstream) => {
                let Some(layer) = upstream.layer(component, tag, platform).await? else { return Ok(None) };
                let source = if open { Source::Cached(upstream.open(component, &layer)?) } else { Source::None };
                Ok(Some(Layer { manifest: layer.manifest, size: layer.size, source }))
            }
            Self::Layout(catalog) => {
                let (component, tag, platform) = (component.clone(), tag.clone(), platform.cloned());
                let read = move |catalog: &Catalog| {
                    let found = catalog.layer(&component, &tag, platform.as_ref())?;
                    found
                        .map(|(layer, path): (LayerOf, PathBuf)| {
                            let file = std::fs::File::open(path)?;
                            let size = file.metadata()?.len();
                            Ok(Layer { manifest: layer.manifest, size, source: Source::File(file) })
                        })
                        .transpose()
                };
                off_thread(catalog, read).await
            }
        }
    }

    /// Whether it can be asked at all.
    pub(super) async fn ready(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Layout(catalog) => off_thread(catalog, |catalog| catalog.published().map(drop)).await.is_ok(),
        }
    }
}

/// Small reads, but reads of a disk.
async fn off_thread<T: Send + 'static>(
    catalog: &Arc<Catalog>,
    read: impl FnOnce(&Catalog) -> io::Result<T> + Send + 'static,
) -> Result<T, ImagesError> {
    let catalog = Arc::clone(catalog);
    let done = tokio::task::spawn_blocking(move || read(&catalog)).await;
    Ok(done.map_err(io::Error::other).and_then(|read| read)?)
}

impl Layer {
    /// Its bytes.
    pub(super) fn bytes(self) -> BoxStream<'static, io::Result<Bytes>> {
        match self.source {
            Source::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                file.set_max_buf_size(CHUNK);
                ReaderStream::with_capacity(file, CHUNK).boxed()
            }
            Source::Cached(blob) => blob.bytes().boxed(),
            Source::None => futures::stream::empty().boxed(),
        }
    }
}

impl Manifest {
    /// Reads from the bytes what they are.
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

/// Which part of an image a platform gets.
pub(super) fn selected<'a>(document: &'a Document, platform: Option<&Platform>) -> Selected<'a> {
    let Some(children) = &document.manifests else { return Selected::Itself };
    let (os, arch) = platform.map_or(DEFAULT_PLATFORM, |platform| (platform.os(), platform.arch()));
    let matching = |fields: &PlatformFields| fields.os == os && fields.architecture == arch;
    let child = children.iter().find(|child| child.platform.as_ref().is_some_and(matching));
    child.map_or(Selected::Nothing, Selected::Child)
}

/// The last layer of a manifest.
pub(super) fn last_layer(manifest: Digest, document: &Document) -> io::Result<LayerOf> {
    let layer = document.layers.as_ref().and_then(|layers| layers.last());
    let layer = layer.ok_or_else(|| invalid(format!("manifest {manifest} has no layers")))?;
    let digest = layer.digest.parse().map_err(invalid)?;
    let size = u64::try_from(layer.size).map_err(invalid)?;
    Ok(LayerOf { manifest, digest, size })
}

pub(super) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
