//! The client's entry point: finds the proxy, and reads tags and manifests of components.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    limits::{MANIFEST_BYTES, TAG_LIST_BYTES},
    name::{Component, Tag},
};
use http::{
    HeaderMap,
    header::{CONTENT_TYPE, LINK},
};
use serde::Deserialize;
use url::Url;

use super::{
    api_server::{UnverifiedApiServer, verify_api_server},
    discovery::{self, DiscoveredEndpoints},
    endpoint::Endpoint,
    identity::Identity,
    options::ClientOptions,
    pinned::PinnedEndpoints,
    transport::{Request, Transport, extra_authorities},
};
use crate::{
    endpoint_pin::EndpointIdentity,
    error::{Error, ImageReference},
    forward_proxy::ProxyEnvironment,
    kubeconfig::ClusterAccess,
    oci::MANIFEST_TYPES,
    protocol::{generation::Generation, image},
    text::json_error,
};

/// A client of the proxy. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) transport: Arc<Transport>,
    tag_lists: Arc<TagLists>,
}

/// The tags of each component as last listed.
type TagLists = Mutex<BTreeMap<Component, Arc<BTreeSet<String>>>>;

/// A manifest or an index as the registry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// Digest, computed from the bytes.
    pub digest: Digest,
    /// Media type by the response's header.
    pub media_type: String,
    /// The manifest or index as the proxy sent it.
    pub bytes: Bytes,
}

impl Proxy {
    /// Finds the proxy and takes the identity from a kubeconfig, as on a first contact: no pin is compared. Checks the
    /// options before any request. With an explicit endpoint the Kubernetes API is not used at all.
    pub async fn connect(access: &ClusterAccess, options: &ClientOptions) -> Result<Self, Error> {
        let found = Self::find(access.client(), access, options).await?.check(&access.server(), None)?;
        Self::connect_to(found, access, options)
    }

    /// Finds the endpoints of the proxy. An explicit endpoint has no identity to compare with a pin. `client` is
    /// awaited only if the Kubernetes API is needed.
    pub async fn find(
        client: impl Future<Output = Result<kube::Client, Error>>,
        access: &ClusterAccess,
        options: &ClientOptions,
    ) -> Result<DiscoveredEndpoints, Error> {
        extra_authorities(options)?;
        if let Some(given) = &options.endpoint {
            let (endpoints, identity) = (vec![Endpoint::explicit(given)?], EndpointIdentity::default());
            return Ok(DiscoveredEndpoints { endpoints, identity });
        }
        let found = discovery::find(&client.await?, &access.server(), options).await;
        found.map_err(|error| access.explain(error))
    }

    /// Returns a client of these endpoints with the identity of a kubeconfig. Sends nothing to the proxy.
    pub fn connect_to(pinned: PinnedEndpoints, access: &ClusterAccess, options: &ClientOptions) -> Result<Self, Error> {
        let forward_proxy = |endpoint: &Url| access.forward_proxy(endpoint);
        // An attacker can answer for an API server over http, and name a proxy that collects tokens.
        let found_over_http = options.endpoint.is_none()
            && matches!(verify_api_server(&access.config), Err(UnverifiedApiServer::PlainHttp));
        let identity = if found_over_http { Identity::anonymous() } else { Identity::of(access) };
        let transport = Transport::new(pinned.endpoints, identity, options, forward_proxy)?;
        Ok(Self::over(transport.with_untrusted_keys(pinned.untrusted)))
    }

    /// Returns a client of these endpoints, tried in this order, with this identity. Makes no request.
    pub fn new(endpoints: Vec<Endpoint>, identity: Identity, options: &ClientOptions) -> Result<Self, Error> {
        let environment = ProxyEnvironment::of_process();
        let forward_proxy = |endpoint: &Url| environment.for_url(endpoint);
        Ok(Self::over(Transport::new(endpoints, identity, options, forward_proxy)?))
    }

    fn over(transport: Transport) -> Self {
        Self { transport: Arc::new(transport), tag_lists: Arc::default() }
    }

    /// Host of the endpoint that answered last, or that is tried first. For messages.
    pub fn host(&self) -> String {
        self.transport.host()
    }

    /// Lists the component's tags, unordered. The list may contain names that are not tags by the OCI grammar.
    /// Parse a name as [`d8_crds::values::name::Tag`] before it becomes part of a path or a message.
    pub async fn tags(&self, component: &Component) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct TagList {
            /// Some registries send `null` for a repository without tags.
            tags: Option<Vec<String>>,
        }
        let reference = ImageReference::repository(component);
        let path = image::tags_path(component);
        let request = Request { path: &path, accept: "application/json", reference: &reference, head: false };
        let response = self.transport.read(request, "the tag list", TAG_LIST_BYTES).await?;
        // The protocol has no pages. A part of the list would look like versions that were withdrawn.
        if response.headers.get_all(LINK).iter().any(|link| contains_next(link.as_bytes())) {
            let why = "the answer is one page of the tag list, expected the whole list".to_owned();
            return Err(Error::Malformed { reference, why });
        }
        let list: TagList = serde_json::from_slice(&response.body).map_err(|error| Error::Malformed {
            reference,
            why: format!("the tag list cannot be read: {}", json_error(&error)),
        })?;
        let tags = list.tags.unwrap_or_default();
        let set = Arc::new(tags.iter().cloned().collect());
        self.tag_lists.lock().unwrap_or_else(PoisonError::into_inner).insert(component.clone(), set);
        Ok(tags)
    }

    /// Returns the tags of a component as last listed. Lists them if they never were.
    pub(crate) async fn cached_tags(&self, component: &Component) -> Result<Arc<BTreeSet<String>>, Error> {
        let cached = || self.tag_lists.lock().unwrap_or_else(PoisonError::into_inner).get(component).cloned();
        if let Some(tags) = cached() {
            return Ok(tags);
        }
        let tags = self.tags(component).await?;
        Ok(cached().unwrap_or_else(|| Arc::new(tags.into_iter().collect())))
    }

    /// Reads the manifest or index of a tag or a digest (generation 3). Verifies a digest that is given.
    pub async fn manifest(&self, component: &Component, reference: &str) -> Result<RawManifest, Error> {
        let image = ImageReference::new(component, reference);
        let path = image::manifest_path(component, reference);
        let request = Request { path: &path, accept: MANIFEST_TYPES, reference: &image, head: false };
        let response = self.transport.read(request, "the manifest", MANIFEST_BYTES).await?;
        self.transport.generations().record_supported(Generation::Three);
        let digest = Digest::of(&response.body);
        if let Ok(expected) = reference.parse::<Digest>()
            && expected != digest
        {
            return Err(Error::Digest { reference: image, expected, got: digest });
        }
        Ok(RawManifest { digest, media_type: media_type(&response.headers), bytes: response.body })
    }

    /// As [`Self::manifest`] by tag. `None` if the tag is listed and has no manifest: the proxy is of an
    /// older generation.
    pub async fn manifest_if_any(&self, component: &Component, tag: &Tag) -> Result<Option<RawManifest>, Error> {
        if self.transport.generations().lacks(Generation::Three) {
            return Ok(None);
        }
        match self.manifest(component, tag.as_str()).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error @ Error::NotFound { .. }) => {
                let older_proxy = !self.transport.generations().supports(Generation::Three)
                    && self.cached_tags(component).await?.contains(tag.as_str());
                if older_proxy { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns whether a `Link` header names a next page.
fn contains_next(link: &[u8]) -> bool {
    let link = link.to_ascii_lowercase();
    link.windows(4).any(|word| word == b"next")
}

/// Returns the media type without its parameters, empty if there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The futures are `Send`, so that a caller can spawn many requests.
    #[test]
    fn futures_can_be_spawned() {
        fn spawnable<T: Send>(_: impl FnOnce(&Proxy, &Component) -> T) {}
        spawnable(|proxy, component| {
            let (proxy, component) = (proxy.clone(), component.clone());
            async move {
                let tag = "v1.0.0".parse().ok()?;
                let platform = "linux-amd64".parse().ok()?;
                proxy.tags(&component).await.ok()?;
                proxy.resolve(&component, &tag).await.ok()?;
                proxy.platform_image(&component, &tag, &platform, &[]).await.ok()?;
                let reader = proxy.download(&component, &tag, &platform, None).await.ok()?.into_reader();
                let mut sink = Vec::new();
                crate::layer::unpack(reader, "plugin", &crate::layer::Limits::default(), &mut sink).await.ok()
            }
        });
    }
}
