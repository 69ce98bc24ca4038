//! Where the bytes of a version come from. A trait, so that tests bring their own faults.

use std::future::Future;

use bytes::Bytes;
use d8_crds::values::name::Tag;
use futures::{StreamExt as _, stream::BoxStream};

use crate::request::Artifact;

/// The compressed layer of a version, as it is in the registry.
pub struct LayerStream {
    /// The bytes, or why there are no more.
    pub chunks: BoxStream<'static, Result<Bytes, d8_rpp::Error>>,
    /// How many bytes there will be, if the source says so.
    pub size: Option<u64>,
    /// The manifest that names the layer, if the source says so.
    pub manifest: Option<d8_crds::values::digest::Digest>,
    /// Whether the stream itself fails at its end unless the bytes have [`Artifact::expect_layer`]; they
    /// are hashed here otherwise.
    pub checked: bool,
}

/// Gives the bytes of what was ordered.
pub trait LayerSource: Send + Sync {
    /// Begins a download.
    fn open(&self, artifact: &Artifact) -> impl Future<Output = Result<LayerStream, d8_rpp::Error>> + Send;
}

/// A version that the proxy publishes.
#[derive(Debug, Clone)]
pub enum ProxySource {
    /// Still there; length and digest are checked as it streams.
    Remote {
        /// The proxy.
        proxy: d8_rpp::Proxy,
        /// What it calls the version: the tag with its platform if it has one.
        tag: Tag,
    },
    /// Here already: its contract had to be read out of it.
    Spooled(d8_rpp::SpooledLayer),
}

impl LayerSource for ProxySource {
    async fn open(&self, artifact: &Artifact) -> Result<LayerStream, d8_rpp::Error> {
        match self {
            Self::Remote { proxy, tag } => {
                let Artifact { component, platform, expect_layer, .. } = artifact;
                let download = proxy.download(component, tag, platform, expect_layer.as_ref()).await?;
                Ok(LayerStream {
                    size: download.size,
                    manifest: download.manifest.clone(),
                    checked: download.expected.is_some(),
                    chunks: download.into_body().boxed(),
                })
            }
            Self::Spooled(fetched) => Ok(LayerStream {
                size: Some(fetched.size),
                manifest: fetched.manifest.clone(),
                checked: false,
                chunks: fetched.bytes().boxed(),
            }),
        }
    }
}
