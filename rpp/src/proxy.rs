//! The client: tags and manifests of components, and the way to downloads.

use std::sync::Arc;

use bytes::Bytes;
use d8_crds::{digest::Digest, name::Component};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::Deserialize;

use crate::{
    discovery::{self, Endpoint},
    error::{Error, Subject},
    identity::{Identity, explain},
    image,
    oci::MANIFEST_TYPES,
    text::one_line,
    transport::{Question, Transport, check_trust},
};

pub use crate::transport::{Options, Patience};

/// The largest tag list accepted, in bytes.
pub(crate) const MAX_TAGS: usize = 4 << 20;
/// The largest manifest accepted, in bytes.
pub(crate) const MAX_MANIFEST: usize = 1 << 20;

/// A client of the proxy. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) transport: Arc<Transport>,
}

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
    pub async fn connect(config: &kube::Config, options: &Options) -> Result<Self, Error> {
        let client = || {
            kube::Client::try_from(config.clone()).map_err(|error| match error {
                kube::Error::Auth(error) => Error::Identity { why: explain(&error) },
                error => Error::Discovery { server: config.cluster_url.to_string(), why: explain(&error) },
            })
        };
        Self::connect_with(client, config, options).await
    }

    /// As [`Self::connect`], with a Kubernetes client of the caller's own making, made only if needed.
    pub async fn connect_with(
        client: impl FnOnce() -> Result<kube::Client, Error>,
        config: &kube::Config,
        options: &Options,
    ) -> Result<Self, Error> {
        check_trust(options)?;
        let endpoints = match &options.endpoint {
            Some(given) => vec![Endpoint::explicit(given)?],
            None => discovery::find(&client()?, &config.cluster_url.to_string(), options.prefer).await?,
        };
        let identity = Identity::of(config).await?;
        let forward = forward_proxy(config);
        Ok(Self { transport: Arc::new(Transport::new(endpoints, identity, options, forward.as_deref())?) })
    }

    /// A client of these endpoints, in this order, with this identity. Makes no request.
    pub fn new(endpoints: Vec<Endpoint>, identity: Identity, options: &Options) -> Result<Self, Error> {
        Ok(Self { transport: Arc::new(Transport::new(endpoints, identity, options, None)?) })
    }

    /// The host that answered last, or is tried first: for messages.
    pub fn host(&self) -> String {
        self.transport.host()
    }

    /// The component's tags as the proxy lists them, in no order. What is no tag by the OCI grammar is
    /// still in it; nothing that comes from here may be shown unescaped or made part of a path before
    /// it has passed [`d8_crds::name::Tag`].
    pub async fn tags(&self, component: &Component) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Tags {
            /// A repository without tags may be listed with `null`.
            tags: Option<Vec<String>>,
        }
        let subject = Subject::tags(component);
        let path = image::tags_path(component);
        let question = Question { path: &path, accept: "application/json", subject: &subject };
        let answer = self.transport.read(question, "the tag list", MAX_TAGS).await?;
        let tags: Tags = serde_json::from_slice(&answer.body).map_err(|error| Error::Malformed {
            subject,
            why: format!("the tag list can't be read: {}", one_line(error.to_string().as_bytes(), 256)),
        })?;
        Ok(tags.tags.unwrap_or_default())
    }

    /// The manifest or index behind a tag or a digest. If a digest was asked for, the bytes have it.
    pub async fn manifest(&self, component: &Component, reference: &str) -> Result<RawManifest, Error> {
        let subject = Subject::reference(component, reference);
        let path = image::manifest_path(component, reference);
        let question = Question { path: &path, accept: MANIFEST_TYPES, subject: &subject };
        let answer = self.transport.read(question, "the manifest", MAX_MANIFEST).await?;
        let digest = Digest::of(&answer.body);
        if let Ok(expected) = reference.parse::<Digest>()
            && expected != digest
        {
            return Err(Error::Digest { subject, expected, got: digest });
        }
        Ok(RawManifest { digest, media_type: media_type(&answer.headers), bytes: answer.body })
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
                let reader = proxy.download(&component, &tag, &platform, None).await.ok()?.into_reader();
                let mut sink = Vec::new();
                crate::layer::unpack(reader, "plugin", &crate::layer::Limits::default(), &mut sink).await.ok()
            }
        });
    }
}
