//! The images of a registry. Tags and manifests are requested each time, once for all clients that need them at
//! the same time. Layers are cached on disk.

use std::{io, sync::Arc};

use d8_crds::values::{
    digest::Digest,
    limits::{LAYER_BYTES, MANIFEST_BYTES, TAG_LIST_BYTES},
    name::{Component, Tag},
    platform::Platform,
};
use futures::{FutureExt as _, StreamExt as _};

use super::{
    cache::{BlobStream, Cache, CachedBlob},
    image::{LayerDescriptor, Manifest, PlatformMatch, last_layer, match_platform},
    metrics::Metrics,
    singleflight::Singleflight,
};
use crate::{
    oci::{Document, MANIFEST_TYPES},
    registry::{RegistryAccess, RegistryError},
};

/// Tags in one page of a list.
const PAGE: usize = 1000;
/// Pages of one list.
const MAX_PAGES: usize = 100;

/// Why the registry gave no answer. Cloned for all clients that wait for it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum UpstreamError {
    /// The configuration of the registry is not usable.
    #[error("{0}")]
    Config(Arc<str>),
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
        let list = || async move { existing(tags(&access, &owned).await) }.boxed();
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
        let layer = match match_platform(&document, platform) {
            PlatformMatch::Itself => last_layer(top.digest, &document),
            PlatformMatch::None => return Ok(None),
            PlatformMatch::Child(child) => {
                let digest: Digest = child.digest.parse().map_err(|error| failed(&error))?;
                let Some(own) = self.manifest(component, digest.as_str()).await? else {
                    return Err(failed(&format!(
                        "{component} {tag}: the registry lacks manifest {digest} of the index"
                    )));
                };
                last_layer(own.digest.clone(), &parse(&own)?)
            }
        };
        let layer = layer.map_err(|error| failed(&error))?;
        if layer.size > LAYER_BYTES {
            return Err(failed(&format!("{component} {tag}: the layer is larger than {LAYER_BYTES} bytes")));
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

fn failed(why: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::Failed(why.to_string().into())
}

/// Turns "not found" into `None`.
fn existing<T>(result: Result<T, RegistryError>) -> UpstreamResult<T> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound) => Ok(None),
        Err(error @ RegistryError::Config { .. }) => Err(UpstreamError::Config(error.to_string().into())),
        Err(error @ RegistryError::Failed(_)) => Err(failed(&error)),
    }
}

fn parse(manifest: &Manifest) -> Result<Document, UpstreamError> {
    serde_json::from_slice(&manifest.bytes).map_err(|error| failed(&format!("manifest {}: {error}", manifest.digest)))
}

async fn tags(access: &RegistryAccess, component: &Component) -> Result<Vec<String>, RegistryError> {
    let session = access.session()?;
    let reference = access.address().reference(component, "latest");
    let mut tags: Vec<String> = Vec::new();
    let mut bytes = 0;
    for _ in 0..MAX_PAGES {
        let last = tags.last().cloned();
        let page = session.client.list_tags(&reference, &session.auth, Some(PAGE), last.as_deref()).await;
        let page = page.map_err(|error| RegistryError::from(&error))?.tags;
        // A registry may return fewer tags than requested. A registry without paging returns the same page again.
        if page.is_empty() || (last.is_some() && page.first() == tags.first()) {
            return Ok(tags);
        }
        bytes += page.iter().map(|tag| tag.len() + 3).sum::<usize>();
        tags.extend(page);
        if bytes > TAG_LIST_BYTES {
            return Err(RegistryError::Failed(format!(
                "the tag list of {component} is larger than {TAG_LIST_BYTES} bytes"
            )));
        }
    }
    Err(RegistryError::Failed(format!("the tag list of {component} has more than {MAX_PAGES} pages")))
}

async fn manifest(access: &RegistryAccess, component: &Component, reference: &str) -> Result<Manifest, RegistryError> {
    let session = access.session()?;
    let named = access.address().reference(component, reference);
    let types: Vec<&str> = MANIFEST_TYPES.split(", ").collect();
    let pulled = session.client.pull_manifest_raw(&named, &session.auth, &types).await;
    let (bytes, _) = pulled.map_err(|error| RegistryError::from(&error))?;
    if bytes.len() > MANIFEST_BYTES {
        return Err(RegistryError::Failed(format!(
            "{component} {reference}: the manifest is larger than {MANIFEST_BYTES} bytes"
        )));
    }
    let digest = Digest::of(&bytes);
    Ok(Manifest::new(bytes, digest))
}

async fn blob(access: &RegistryAccess, component: &Component, digest: &Digest) -> io::Result<BlobStream> {
    let session = access.session().map_err(io::Error::other)?;
    let reference = access.address().reference(component, digest.as_str());
    session.client.store_auth_if_needed(reference.resolve_registry(), &session.auth).await;
    let opened = session.client.pull_blob_stream(&reference, digest.as_str()).await;
    let stream = opened.map_err(|error| io::Error::other(RegistryError::from(&error)))?;
    Ok(stream.stream.boxed())
}
