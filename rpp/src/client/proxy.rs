//! The client: tags and manifests of components, and the way to downloads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::Deserialize;

use crate::{
    client::{
        discovery,
        endpoint::Endpoint,
        identity::Identity,
        options::ClientOptions,
        transport::{Question, Transport, check_trust},
    },
    endpoint_pin::{EndpointIdentity, PinCheck, judge},
    error::{Error, ImageReference},
    oci::MANIFEST_TYPES,
    protocol::{generation::Generation, image},
    text::{error_chain, one_line},
};

/// The largest tag list accepted, in bytes.
pub(crate) const MAX_TAGS: usize = 4 << 20;
/// The largest manifest accepted, in bytes.
pub(crate) const MAX_MANIFEST: usize = 1 << 20;

/// A client of the proxy. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) transport: Arc<Transport>,
    listed: Arc<Lists>,
}

/// The tags of each component as last listed.
type Lists = Mutex<BTreeMap<Component, Arc<BTreeSet<String>>>>;

/// A manifest or an index as the registry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// Computed from the bytes, not taken from a header.
    pub digest: Digest,
    /// The media type the proxy named.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl Proxy {
    /// Finds the proxy and takes the identity from a kubeconfig. What is wrong with the options is
    /// found before any request; with an explicit endpoint the Kubernetes API is not asked at all.
    pub async fn connect(config: &kube::Config, options: &ClientOptions) -> Result<Self, Error> {
        let client = || {
            kube::Client::try_from(config.clone()).map_err(|error| match error {
                kube::Error::Auth(error) => Error::Identity { why: error_chain(&error) },
                error => {
                    Error::Discovery { server: config.cluster_url.to_string(), denied: false, why: error_chain(&error) }
                }
            })
        };
        Self::connect_with(client, config, options).await
    }

    /// As [`Self::connect`], with a Kubernetes client of the caller's own making, made only if needed.
    pub async fn connect_with(
        client: impl FnOnce() -> Result<kube::Client, Error>,
        config: &kube::Config,
        options: &ClientOptions,
    ) -> Result<Self, Error> {
        let (endpoints, _) = Self::look_up(client, config, options).await?;
        Self::identified(endpoints, config, options).await
    }

    /// As [`Self::connect_with`], held against what is remembered of this cluster's proxy: what was
    /// changed since by somebody is an error before any token is sent. Beside the client comes what is to
    /// be remembered from now on; nothing where nothing is new.
    pub async fn connect_remembering(
        client: impl FnOnce() -> Result<kube::Client, Error>,
        config: &kube::Config,
        options: &ClientOptions,
        remembered: Option<&EndpointIdentity>,
    ) -> Result<(Self, Option<EndpointIdentity>), Error> {
        let (endpoints, announced) = Self::look_up(client, config, options).await?;
        let verdict = announced.as_ref().map_or(PinCheck::Trusted, |announced| judge(remembered, announced));
        let remember = match verdict {
            PinCheck::Trusted => None,
            // Without verification nobody has shown the keys.
            PinCheck::Remember(_) if options.insecure => None,
            PinCheck::Remember(announced) => Some(announced),
            PinCheck::Changed => {
                return Err(Error::EndpointChanged {
                    server: config.cluster_url.to_string(),
                    remembered: Box::new(remembered.cloned().unwrap_or_default()),
                    announced: Box::new(announced.unwrap_or_default()),
                });
            }
        };
        Ok((Self::identified(endpoints, config, options).await?, remember))
    }

    /// Where the proxy is, and what the cluster says of it; an endpoint given by hand is nobody's word.
    async fn look_up(
        client: impl FnOnce() -> Result<kube::Client, Error>,
        config: &kube::Config,
        options: &ClientOptions,
    ) -> Result<(Vec<Endpoint>, Option<EndpointIdentity>), Error> {
        check_trust(options)?;
        if let Some(given) = &options.endpoint {
            return Ok((vec![Endpoint::explicit(given)?], None));
        }
        let found = discovery::find(&client()?, &config.cluster_url.to_string(), options).await?;
        Ok((found.endpoints, Some(found.announced)))
    }

    async fn identified(
        endpoints: Vec<Endpoint>,
        config: &kube::Config,
        options: &ClientOptions,
    ) -> Result<Self, Error> {
        let identity = Identity::of(config).await?;
        let forward = forward_proxy(config);
        Ok(Self::over(Transport::new(endpoints, identity, options, forward.as_deref())?))
    }

    /// A client of these endpoints, in this order, with this identity. Makes no request.
    pub fn new(endpoints: Vec<Endpoint>, identity: Identity, options: &ClientOptions) -> Result<Self, Error> {
        Ok(Self::over(Transport::new(endpoints, identity, options, None)?))
    }

    fn over(transport: Transport) -> Self {
        Self { transport: Arc::new(transport), listed: Arc::default() }
    }

    /// The host that answered last, or is tried first: for messages.
    pub fn host(&self) -> String {
        self.transport.host()
    }

    /// The component's tags as the proxy lists them, in no order. What is no tag by the OCI grammar is
    /// still in it; nothing that comes from here may be shown unescaped or made part of a path before
    /// it has passed [`d8_crds::values::name::Tag`].
    pub async fn tags(&self, component: &Component) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Tags {
            /// A repository without tags may be listed with `null`.
            tags: Option<Vec<String>>,
        }
        let subject = ImageReference::tags(component);
        let path = image::tags_path(component);
        let question = Question { path: &path, accept: "application/json", subject: &subject, head: false };
        let answer = self.transport.read(question, "the tag list", MAX_TAGS).await?;
        let tags: Tags = serde_json::from_slice(&answer.body).map_err(|error| Error::Malformed {
            subject,
            why: format!("the tag list can't be read: {}", one_line(error.to_string().as_bytes(), 256)),
        })?;
        let tags = tags.tags.unwrap_or_default();
        let listed = Arc::new(tags.iter().cloned().collect());
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(component.clone(), listed);
        Ok(tags)
    }

    /// The tags of a component as last listed; asks if they never were.
    pub(crate) async fn listed(&self, component: &Component) -> Result<Arc<BTreeSet<String>>, Error> {
        let known = || self.listed.lock().unwrap_or_else(PoisonError::into_inner).get(component).cloned();
        if let Some(listed) = known() {
            return Ok(listed);
        }
        let tags = self.tags(component).await?;
        Ok(known().unwrap_or_else(|| Arc::new(tags.into_iter().collect())))
    }

    /// The manifest or index behind a tag or a digest (generation 3). If a digest was asked for, the
    /// bytes have it.
    pub async fn manifest(&self, component: &Component, reference: &str) -> Result<RawManifest, Error> {
        let subject = ImageReference::reference(component, reference);
        let path = image::manifest_path(component, reference);
        let question = Question { path: &path, accept: MANIFEST_TYPES, subject: &subject, head: false };
        let answer = self.transport.read(question, "the manifest", MAX_MANIFEST).await?;
        self.transport.memory().prove(Generation::Three);
        let digest = Digest::of(&answer.body);
        if let Ok(expected) = reference.parse::<Digest>()
            && expected != digest
        {
            return Err(Error::Digest { subject, expected, got: digest });
        }
        Ok(RawManifest { digest, media_type: media_type(&answer.headers), bytes: answer.body })
    }

    /// As [`Self::manifest`] by tag; nothing where the tag is listed and the proxy has no manifest of
    /// it: it is of an older generation.
    pub async fn manifest_if_any(&self, component: &Component, tag: &Tag) -> Result<Option<RawManifest>, Error> {
        if self.transport.memory().lacks(Generation::Three) {
            return Ok(None);
        }
        match self.manifest(component, tag.as_str()).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error @ Error::NotFound { .. }) => {
                let of_old_proxy = !self.transport.memory().has(Generation::Three)
                    && self.listed(component).await?.contains(tag.as_str());
                if of_old_proxy { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

/// The media type without its parameters; empty when there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The proxy on the way that the kubeconfig itself names. What comes from the environment is left to
/// the HTTP client, which judges `NO_PROXY` by the host it asks, not by the API server's.
fn forward_proxy(config: &kube::Config) -> Option<String> {
    let url = config.proxy_url.as_ref()?;
    let from_environment = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|value| value.parse::<http::Uri>().is_ok_and(|value| value == *url));
    (!from_environment).then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever runs many questions at once spawns them.
    #[test]
    fn questions_can_be_spawned() {
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
