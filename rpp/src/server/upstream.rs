//! Images of a registry, as it has them now: tags and manifests are asked for each time, once for all who
//! ask at the same time; layers are kept on disk.

use std::{io, sync::Arc};

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use futures::{FutureExt as _, StreamExt as _};

use crate::{
    client::{MAX_LAYER, MAX_MANIFEST, MAX_TAGS},
    oci::{Document, MANIFEST_TYPES},
    registry::{Access, RegistryError},
    server::{
        cache::{Blob, Cache, Incoming},
        images::{self, LayerOf, Manifest, Selected},
        metrics::Metrics,
        singleflight::Flights,
    },
};

/// Tags asked for at a time.
const PAGE: usize = 1000;
/// Pages read of one list.
const MAX_PAGES: usize = 100;

/// What was asked of the registry and not answered. Cloned to all who asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum UpstreamError {
    /// Its address or credentials cannot be used.
    #[error("{0}")]
    Config(Arc<str>),
    /// It failed.
    #[error("{0}")]
    Failed(Arc<str>),
}

type Answer<T> = Result<Option<T>, UpstreamError>;

/// The registry.
pub(super) struct Upstream {
    access: Arc<Access>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    lists: Flights<Component, Answer<Vec<String>>>,
    manifests: Flights<(Component, String), Answer<Manifest>>,
}

impl Upstream {
    /// Asks nothing yet.
    pub(super) fn new(access: Access, cache: Arc<Cache>, metrics: Arc<Metrics>) -> Self {
        let access = Arc::new(access);
        Self { access, cache, metrics, lists: Flights::default(), manifests: Flights::default() }
    }

    /// The tags of an image; nothing if there is no such image.
    pub(super) async fn tags(&self, component: &Component) -> Answer<Vec<String>> {
        let (access, asked) = (Arc::clone(&self.access), component.clone());
        let ask = || async move { answer(tags(&access, &asked).await) }.boxed();
        self.counted("tags", self.lists.join(component.clone(), ask).await)
    }

    /// The manifest behind a tag or digest.
    pub(super) async fn manifest(&self, component: &Component, reference: &str) -> Answer<Manifest> {
        let (access, asked, named) = (Arc::clone(&self.access), component.clone(), reference.to_owned());
        let ask = || async move { answer(manifest(&access, &asked, &named).await) }.boxed();
        self.counted("manifest", self.manifests.join((component.clone(), reference.to_owned()), ask).await)
    }

    /// The last layer of what a tag has for a platform.
    pub(super) async fn layer(&self, component: &Component, tag: &Tag, platform: Option<&Platform>) -> Answer<LayerOf> {
        let Some(top) = self.manifest(component, tag.as_str()).await? else { return Ok(None) };
        let document = read(&top)?;
        let layer = match images::selected(&document, platform) {
            Selected::Itself => images::last_layer(top.digest, &document),
            Selected::Nothing => return Ok(None),
            Selected::Child(child) => {
                let digest: Digest = child.digest.parse().map_err(|error| failed(&error))?;
                let Some(own) = self.manifest(component, digest.as_str()).await? else {
                    return Err(failed(&format!("{component} {tag}: the index names {digest}, which is not there")));
                };
                images::last_layer(own.digest.clone(), &read(&own)?)
            }
        };
        let layer = layer.map_err(|error| failed(&error))?;
        if layer.size > MAX_LAYER {
            return Err(failed(&format!("{component} {tag}: the layer is larger than {MAX_LAYER} bytes")));
        }
        Ok(Some(layer))
    }

    /// The bytes of a layer, from the cache or on their way into it.
    pub(super) fn open(&self, component: &Component, layer: &LayerOf) -> io::Result<Blob> {
        let (access, component) = (Arc::clone(&self.access), component.clone());
        let digest = layer.digest.clone();
        let metrics = Arc::clone(&self.metrics);
        let fetch = move || {
            async move {
                let incoming = blob(&access, &component, &digest).await;
                metrics.upstream("blob", incoming.is_ok());
                incoming
            }
            .boxed()
        };
        self.cache.get(&layer.digest, layer.size, fetch)
    }

    fn counted<T>(&self, kind: &'static str, answer: Answer<T>) -> Answer<T> {
        self.metrics.upstream(kind, answer.is_ok());
        if let Err(error) = &answer {
            tracing::error!(kind, %error, "the registry was asked in vain");
        }
        answer
    }
}

fn failed(why: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::Failed(why.to_string().into())
}

fn answer<T>(result: Result<T, RegistryError>) -> Answer<T> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::Absent) => Ok(None),
        Err(error @ RegistryError::Config { .. }) => Err(UpstreamError::Config(error.to_string().into())),
        Err(error @ RegistryError::Failed(_)) => Err(failed(&error)),
    }
}

fn read(manifest: &Manifest) -> Result<Document, UpstreamError> {
    serde_json::from_slice(&manifest.bytes).map_err(|error| failed(&format!("manifest {}: {error}", manifest.digest)))
}

async fn tags(access: &Access, component: &Component) -> Result<Vec<String>, RegistryError> {
    let session = access.session()?;
    let reference = access.address().reference(component, "latest");
    let mut tags: Vec<String> = Vec::new();
    let mut bytes = 0;
    for _ in 0..MAX_PAGES {
        let last = tags.last().cloned();
        let page = session.client.list_tags(&reference, &session.auth, Some(PAGE), last.as_deref()).await;
        let page = page.map_err(|error| RegistryError::from(&error))?.tags;
        // A registry may give fewer than were asked for; one that does not know pages gives the same again.
        if page.is_empty() || (last.is_some() && page.first() == tags.first()) {
            return Ok(tags);
        }
        bytes += page.iter().map(|tag| tag.len() + 3).sum::<usize>();
        tags.extend(page);
        if bytes > MAX_TAGS {
            return Err(RegistryError::Failed(format!("the tags of {component} are more than {MAX_TAGS} bytes")));
        }
    }
    Err(RegistryError::Failed(format!("the tags of {component} are more than {MAX_PAGES} pages")))
}

async fn manifest(access: &Access, component: &Component, reference: &str) -> Result<Manifest, RegistryError> {
    let session = access.session()?;
    let named = access.address().reference(component, reference);
    let types: Vec<&str> = MANIFEST_TYPES.split(", ").collect();
    let pulled = session.client.pull_manifest_raw(&named, &session.auth, &types).await;
    let (bytes, _) = pulled.map_err(|error| RegistryError::from(&error))?;
    if bytes.len() > MAX_MANIFEST {
        return Err(RegistryError::Failed(format!("{component} {reference}: the manifest is larger than 1 MiB")));
    }
    let digest = Digest::of(&bytes);
    Ok(Manifest::new(bytes, digest))
}

async fn blob(access: &Access, component: &Component, digest: &Digest) -> io::Result<Incoming> {
    let session = access.session().map_err(io::Error::other)?;
    let reference = access.address().reference(component, digest.as_str());
    session.client.store_auth_if_needed(reference.resolve_registry(), &session.auth).await;
    let opened = session.client.pull_blob_stream(&reference, digest.as_str()).await;
    let stream = opened.map_err(|error| io::Error::other(RegistryError::from(&error)))?;
    Ok(stream.stream.boxed())
}
