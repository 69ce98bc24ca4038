//! The client of the proxy.
//!
//! [`discovery`] finds the proxy through the Kubernetes API, [`PinnedEndpoints`] are those that the pin permits, [`Identity`] carries the caller's Bearer token,
//! and [`Proxy`] reads tags and manifests and opens downloads.

mod api_server;
pub mod discovery;
mod download;
mod endpoint;
mod generations;
mod identity;
mod options;
mod pinned;
mod platform_image;
mod proxy;
mod resolve;
mod retry;
mod spool;
mod transport;

pub use self::{
    api_server::{UnverifiedApiServer, verify_api_server},
    download::{Body, Download, LayerChecksum},
    endpoint::{Endpoint, Prefer, Trust},
    identity::Identity,
    options::{ClientOptions, Timeouts},
    pinned::PinnedEndpoints,
    platform_image::{LayerLocation, PlatformImage},
    proxy::{Proxy, RawManifest},
    resolve::{Artifact, ResolvedImage},
    retry::{AttemptError, retry},
    spool::{InspectedLayer, SpooledLayer},
};
