//! The client of the proxy.
//!
//! [`discovery`] finds the proxy through the Kubernetes API, [`identity`] brings the caller's Bearer token,
//! [`Proxy`] reads tags and manifests and opens downloads.

pub mod discovery;
mod download;
mod endpoint;
mod generations;
pub mod identity;
mod options;
mod platform_image;
mod proxy;
mod resolve;
mod retry;
mod spool;
mod transport;

#[cfg(feature = "server")]
pub(crate) use self::proxy::{MAX_MANIFEST, MAX_TAGS};
pub use self::{
    download::{Body, Download, MAX_LAYER},
    endpoint::{Endpoint, Prefer, Trust},
    identity::Identity,
    options::{ClientOptions, Timeouts},
    platform_image::{LayerLocation, PlatformImage},
    proxy::{Proxy, RawManifest},
    resolve::{Artifact, ResolvedImage},
    retry::Retry,
    spool::{InspectedLayer, SpooledLayer},
};
