//! Sources of layers: the proxy, or a layer that was downloaded already. A trait, so that tests can inject faults.

use std::future::Future;

use bytes::Bytes;
use d8_crds::values::{digest::Digest, name::Tag};
use d8_rpp::LayerChecksum;
use futures::{StreamExt as _, stream::BoxStream};

use crate::request::Artifact;

/// A compressed layer that is being read.
pub struct LayerStream {
    /// The bytes as the registry stores them, or why there are no more.
    pub chunks: BoxStream<'static, Result<Bytes, d8_rpp::Error>>,
    /// Size in bytes, if the source knows it.
    pub size: Option<u64>,
    /// Digest of the manifest that names the layer, if the source knows it.
    pub manifest: Option<Digest>,
    /// The checksum that the source computes itself, set at the end of the stream. With `None` the reader of the
    /// stream hashes the bytes.
    pub checksum: Option<LayerChecksum>,
}

/// A source of layers.
pub trait LayerSource: Send + Sync {
    /// Opens the layer of an artifact.
    fn open(&self, artifact: &Artifact) -> impl Future<Output = Result<LayerStream, d8_rpp::Error>> + Send;

    /// Returns how many layers a manifest of an artifact has, for a message. `None`: the source does not know it.
    fn count_layers(&self, _: &Artifact, _: &Digest) -> impl Future<Output = Option<usize>> + Send {
        std::future::ready(None)
    }
}

/// A version that the proxy publishes.
#[derive(Debug, Clone)]
pub enum ProxySource {
    /// A layer at the proxy. Length and digest are verified while it is read.
    Remote {
        /// Client of the proxy.
        proxy: d8_rpp::Proxy,
        /// The tag as the proxy lists it, with the platform if it has one.
        tag: Tag,
    },
    /// A layer that was downloaded already, because its contract had to be read.
    Spooled(d8_rpp::SpooledLayer),
}

impl LayerSource for ProxySource {
    async fn count_layers(&self, artifact: &Artifact, manifest: &Digest) -> Option<usize> {
        match self {
            Self::Remote { proxy, .. } => proxy.count_layers(&artifact.component, manifest).await.ok(),
            Self::Spooled(_) => None,
        }
    }

    async fn open(&self, artifact: &Artifact) -> Result<LayerStream, d8_rpp::Error> {
        match self {
            Self::Remote { proxy, tag } => {
                let Artifact { component, platform, expect_layer, .. } = artifact;
                let download = proxy.download(component, tag, platform, expect_layer.as_ref()).await?;
                Ok(LayerStream {
                    size: download.size,
                    manifest: download.manifest.clone(),
                    checksum: Some(download.checksum.clone()),
                    chunks: download.into_body().boxed(),
                })
            }
            Self::Spooled(layer) => Ok(LayerStream {
                size: Some(layer.size),
                manifest: layer.manifest.clone(),
                checksum: Some(layer.checksum()),
                chunks: layer.bytes().boxed(),
            }),
        }
    }
}
