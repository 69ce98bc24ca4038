//! The images that are served: those of a layout, or those of a registry.

use std::{io, sync::Arc};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use futures::{StreamExt as _, stream::BoxStream};
use tokio_util::io::ReaderStream;

use super::{
    cache::CachedBlob,
    catalog::Catalog,
    image::Manifest,
    upstream::{Upstream, UpstreamError},
};
use crate::file;

/// Origin of the images.
pub(super) enum Images {
    /// An OCI image layout on disk.
    Layout(Arc<Catalog>),
    /// A registry, read through the cache.
    Registry(Upstream),
}

/// A layer to send.
pub(super) struct Layer {
    /// Digest of the manifest whose last layer it is.
    pub(super) manifest: Digest,
    /// Size in bytes, compressed.
    pub(super) size: u64,
    content: LayerContent,
}

enum LayerContent {
    File(std::fs::File),
    Cached(CachedBlob),
    /// Only the size was requested.
    None,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImagesError {
    /// The layout or the registry failed.
    #[error("{0}")]
    Backend(String),
    /// The image is published, and its content cannot be used. Other images are not affected.
    #[error("{0}")]
    Unusable(String),
    /// The configuration of the registry is not usable.
    #[error("{0}")]
    Config(String),
}

impl From<io::Error> for ImagesError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => Self::Unusable(error.to_string()),
            _ => Self::Backend(error.to_string()),
        }
    }
}

impl From<UpstreamError> for ImagesError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Config(why) => Self::Config(why.to_string()),
            UpstreamError::Unusable(why) => Self::Unusable(why.to_string()),
            UpstreamError::Failed(why) => Self::Backend(why.to_string()),
        }
    }
}

impl Images {
    /// Returns the tags of an image, `None` for an image that is not published.
    pub(super) async fn tags(&self, component: &Component) -> Result<Option<Vec<String>>, ImagesError> {
        match self {
            Self::Registry(upstream) => Ok(upstream.tags(component).await?),
            Self::Layout(catalog) => {
                let component = component.clone();
                let read = move |catalog: &Catalog| {
                    let published = catalog.published()?;
                    Ok(published.tags(&component).map(|tags| tags.keys().map(ToString::to_string).collect()))
                };
                read_blocking(catalog, read).await
            }
        }
    }

    /// Returns the manifest of a tag or digest, `None` if the image does not have it.
    pub(super) async fn manifest(
        &self,
        component: &Component,
        reference: &str,
    ) -> Result<Option<Manifest>, ImagesError> {
        match self {
            Self::Registry(upstream) => {
                let valid = reference.parse::<Digest>().is_ok() || reference.parse::<Tag>().is_ok();
                if valid { Ok(upstream.manifest(component, reference).await?) } else { Ok(None) }
            }
            Self::Layout(catalog) => {
                let (component, reference) = (component.clone(), reference.to_owned());
                read_blocking(catalog, move |catalog| catalog.manifest(&component, &reference)).await
            }
        }
    }

    /// Returns the layer of a tag for a platform, `None` if there is no such tag or platform. `open`: whether
    /// the content is wanted.
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
                let content =
                    if open { LayerContent::Cached(upstream.open(component, &layer)?) } else { LayerContent::None };
                Ok(Some(Layer { manifest: layer.manifest, size: layer.size, content }))
            }
            Self::Layout(catalog) => {
                let (component, tag, platform) = (component.clone(), tag.clone(), platform.cloned());
                let read = move |catalog: &Catalog| {
                    let Some((layer, file)) = catalog.layer(&component, &tag, platform.as_ref())? else {
                        return Ok(None);
                    };
                    let content = LayerContent::File(file);
                    Ok(Some(Layer { manifest: layer.manifest, size: layer.size, content }))
                };
                read_blocking(catalog, read).await
            }
        }
    }

    /// Returns whether images can be read at all.
    pub(super) async fn ready(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Layout(catalog) => read_blocking(catalog, |catalog| catalog.published().map(drop)).await.is_ok(),
        }
    }
}

/// Reads the disk on a blocking thread.
async fn read_blocking<T: Send + 'static>(
    catalog: &Arc<Catalog>,
    read: impl FnOnce(&Catalog) -> io::Result<T> + Send + 'static,
) -> Result<T, ImagesError> {
    let catalog = Arc::clone(catalog);
    let done = tokio::task::spawn_blocking(move || read(&catalog)).await;
    Ok(done.map_err(io::Error::other).and_then(|read| read)?)
}

impl Layer {
    /// Streams the layer in chunks.
    pub(super) fn bytes(self) -> BoxStream<'static, io::Result<Bytes>> {
        match self.content {
            LayerContent::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                file.set_max_buf_size(file::CHUNK);
                ReaderStream::with_capacity(file, file::CHUNK).boxed()
            }
            LayerContent::Cached(blob) => blob.bytes().boxed(),
            LayerContent::None => futures::stream::empty().boxed(),
        }
    }
}
