//! The images of a registry. Tags and manifests are requested each time, once for all clients that need them at
//! the same time. Layers are cached on disk.

use std::{io, sync::Arc};

use d8_crds::values::{
    digest::Digest,
    limits::{LAYER_BYTES, MANIFEST_BYTES},
    name::{Component, Tag},
    platform::Platform,
};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::{
    cache::{BlobStream, Cache, CachedBlob},
    image::{LayerDescriptor, Manifest, PlatformMatch, last_layer, match_platform},
    metrics::Metrics,
    singleflight::Singleflight,
};
use crate::{
    oci::{Document, MANIFEST_TYPES},
    registry::{self, RegistryAccess, RegistryError},
    text::{error_chain, json_error},
};

/// Why the registry gave no answer. Cloned for all clients that wait for it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum UpstreamError {
    /// The configuration of the registry is not usable.
    #[error("{0}")]
    Config(Arc<str>),
    /// The registry has the image, and its content cannot be used.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// The registry was not reachable, or its answer was an error.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// The result of a request, `None` for something that does not exist.
type UpstreamResult<T> = Result<Option<T>, UpstreamError>;

/// A registry, and the cache for its layers.
pub(super) struct Upstream {
    access: Arc<RegistryAccess>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    lists: Singleflight<Component, UpstreamResult<Vec<String>>>,
    manifests: Singleflight<(Component, String), UpstreamResult<Manifest>>,
}

impl Upstream {
    /// Creates the reader of a registry without a request.
    pub(super) fn new(access: RegistryAccess, cache: Arc<Cache>, metrics: Arc<Metrics>) -> Self {
        let access = Arc::new(access);
        Self { access, cache, metrics, lists: Singleflight::default(), manifests: Singleflight::default() }
    }

    /// Lists the tags of an image, `None` if there is no such image.
    pub(super) async fn tags(&self, component: &Component) -> UpstreamResult<Vec<String>> {
        let (access, owned) = (Arc::clone(&self.access), component.clone());
        let list = || async move { existing(registry::tags::list(&access, &owned).await) }.boxed();
        self.count("tags", self.lists.run(component.clone(), list).await)
    }

    /// Reads the manifest of a tag or digest.
    pub(super) async fn manifest(&self, component: &Component, reference: &str) -> UpstreamResult<Manifest> {
        let key = (component.clone(), reference.to_owned());
        let (access, owned) = (Arc::clone(&self.access), key.clone());
        let read = || async move { existing(manifest(&access, &owned.0, &owned.1).await) }.boxed();
        self.count("manifest", self.manifests.run(key, read).await)
    }

    /// Returns the last layer of a tag for a platform.
    pub(super) async fn layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: Option<&Platform>,
    ) -> UpstreamResult<LayerDescriptor> {
        let Some(top) = self.manifest(component, tag.as_str()).await? else { return Ok(None) };
        let document = parse(&top)?;
        let layer = match match_platform(&document, platform).map_err(|error| unusable(&error))? {
            PlatformMatch::Itself => last_layer(top.digest, &document),
            PlatformMatch::None => return Ok(None),
            PlatformMatch::Child(digest) => {
                let Some(own) = self.manifest(component, digest.as_str()).await? else {
                    return Err(unusable(&format!(
                        "{component} {tag}: the registry lacks manifest {digest} of the index"
                    )));
                };
                last_layer(own.digest.clone(), &parse(&own)?)
            }
        };
        let layer = layer.map_err(|error| unusable(&error))?;
        if layer.size > LAYER_BYTES {
            return Err(unusable(&format!("{component} {tag}: the layer is larger than {LAYER_BYTES} bytes")));
        }
        Ok(Some(layer))
    }

    /// Opens a layer, in the cache or while it is being fetched.
    pub(super) fn open(&self, component: &Component, layer: &LayerDescriptor) -> io::Result<CachedBlob> {
        let (access, component) = (Arc::clone(&self.access), component.clone());
        let digest = layer.digest.clone();
        let metrics = Arc::clone(&self.metrics);
        let fetch = move || {
            async move {
                let bytes = blob(&access, &component, &digest).await;
                metrics.count_upstream("blob", bytes.is_ok());
                bytes
            }
            .boxed()
        };
        self.cache.get(&layer.digest, layer.size, fetch)
    }

    /// Counts a request and logs its failure.
    fn count<T>(&self, kind: &'static str, result: UpstreamResult<T>) -> UpstreamResult<T> {
        self.metrics.count_upstream(kind, result.is_ok());
        if let Err(error) = &result {
            tracing::error!(kind, %error, "a request to the registry failed");
        }
        result
    }
}

fn unusable(why: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::Unusable(why.to_string().into())
}

/// Turns "not found" into `None`.
fn existing<T>(result: Result<T, RegistryError>) -> UpstreamResult<T> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound) => Ok(None),
        Err(error @ RegistryError::Config { .. }) => Err(UpstreamError::Config(error.to_string().into())),
        Err(error @ RegistryError::Unusable(_)) => Err(unusable(&error)),
        Err(error @ RegistryError::Failed(_)) => Err(UpstreamError::Failed(error.to_string().into())),
    }
}

fn parse(manifest: &Manifest) -> Result<Document, UpstreamError> {
    serde_json::from_slice(&manifest.bytes)
        .map_err(|error| unusable(&format!("manifest {}: {}", manifest.digest, json_error(&error))))
}

async fn manifest(access: &RegistryAccess, component: &Component, reference: &str) -> Result<Manifest, RegistryError> {
    let url = access.url(component, &format!("manifests/{reference}"))?;
    let what = format!("the manifest of {component} {reference}");
    let response = access.get(component, &url, MANIFEST_TYPES, &what, MANIFEST_BYTES).await?;
    let digest = Digest::of(&response.body);
    match reference.parse::<Digest>() {
        Ok(wanted) if wanted != digest => {
            Err(RegistryError::Failed(format!("manifest {wanted} of {component} has digest {digest}")))
        }
        _ => Ok(Manifest::new(response.body, digest)),
    }
}

/// Opens a blob. Its bytes are not verified.
async fn blob(access: &RegistryAccess, component: &Component, digest: &Digest) -> io::Result<BlobStream> {
    let url = access.url(component, &format!("blobs/{digest}")).map_err(io::Error::other)?;
    let response = access.open(component, &url, "*/*").await.map_err(io::Error::other)?;
    let bytes = response.bytes_stream().map_err(|error| io::Error::other(error_chain(&error.without_url())));
    Ok(bytes.boxed())
}
