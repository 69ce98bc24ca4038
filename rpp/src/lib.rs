//! The registry-packages-proxy: its client, and behind feature `server` the server and the packer.
//!
//! The client ([`client`]) finds the proxy, sends the caller's own Bearer token, reads tags and manifests,
//! and opens verified downloads. [`layer`] takes the executable out of a layer. Nothing else in the project
//! reads bytes from the registry.
//!
//! This crate uses no stores, policies or records; `d8-crds` defines what a contract means. It never follows a
//! redirect. It sends no token over an unverified connection unless the caller asks for that explicitly.
//!
//! Each module uses only those above it in the list below. `client` and `registry` do not use each
//! other.
#![warn(missing_docs)]

pub mod text;

mod content;
pub mod file;
mod oci;
pub mod protocol;

mod certificate;
pub mod endpoint_pin;
pub mod forward_proxy;

mod error;
pub mod kubeconfig;
pub mod layer;
mod tls;

pub mod client;
#[cfg(feature = "connections")]
pub mod connections;
#[cfg(feature = "server")]
pub mod registry;

#[cfg(feature = "server")]
pub mod pack;
#[cfg(feature = "server")]
pub mod server;

pub use certificate::CertificateProblem;
pub use client::{
    Artifact, AttemptError, Body, ClientOptions, Download, Endpoint, Identity, InspectedLayer, LayerChecksum,
    LayerLocation, PinnedEndpoints, PlatformImage, Prefer, Proxy, RawManifest, ResolvedImage, SpooledLayer, Timeouts,
    Trust, UnverifiedApiServer, retry, verify_api_server,
};
pub use content::Content;
pub use endpoint_pin::EndpointIdentity;
pub use error::{
    Advice, ArchiveNames, CredentialError, Error, ErrorKind, ForwardProxyError, ImageReference, KubeconfigError,
    NoIdentity, OtherEntry, PluginOutput, TimeoutPhase,
};
pub use kubeconfig::{ClusterAccess, KubeconfigSource};
pub use oci::{
    CONTRACT_ANNOTATION, CREATED_ANNOTATION,
    platforms::{LeftOut, LeftOutEffect},
};
