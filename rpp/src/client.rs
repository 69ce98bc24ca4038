//! The client of the proxy.
//!
//! [`discovery`] finds the proxy through the Kubernetes API, [`Identity`] carries the caller's Bearer token,
//! and [`Proxy`] reads tags and manifests and opens downloads.

pub mod discovery;
mod download;
mod endpoint;
mod generations;
mod identity;
mod options;
mod platform_image;
mod proxy;
mod resolve;
mod retry;
mod spool;
mod transport;

pub use self::{
    download::{Body, Download, LayerChecksum},
    endpoint::{Endpoint, Prefer, Trust},
    identity::Identity,
    options::{ClientOptions, Timeouts},
    platform_image::{LayerLocation, PlatformImage},
    proxy::{Proxy, RawManifest},
    resolve::{Artifact, ResolvedImage},
    retry::{AttemptError, retry},
    spool::{InspectedLayer, SpooledLayer},
};
