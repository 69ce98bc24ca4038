//! The registry-packages-proxy ("RPP"): the only way by which bytes come out of the registry.
//!
//! The client finds the proxy ([`discovery`]), brings the caller's own Bearer token ([`identity`]),
//! reads tags and manifests and opens verified downloads ([`Proxy`], [`Download`]), and takes the
//! executable out of a layer ([`layer`]). Behind feature `server` are the server and the packer.
//!
//! It knows nothing of the local store, of policies and of records; what a contract means is said by
//! `d8-crds`. It never follows a redirect and never sends a token over an unverified connection
//! unless the caller says so explicitly.
#![warn(missing_docs)]

mod advice;
pub mod discovery;
mod download;
pub mod endpoint_pin;
mod error;
mod fetch;
mod generation;
pub mod identity;
pub mod image;
pub mod layer;
mod oci;
mod offer;
mod proxy;
mod resolve;
mod retry;
mod text;
mod tls;
mod transport;

#[cfg(feature = "server")]
mod layout;
#[cfg(feature = "server")]
pub mod pack;
#[cfg(feature = "server")]
pub mod registry;
#[cfg(feature = "server")]
pub mod server;

pub use advice::Advice;
pub use discovery::{Endpoint, Found, Prefer, Trust};
pub use download::{Body, Download, MAX_LAYER};
pub use endpoint_pin::EndpointIdentity;
pub use error::{CertificateProblem, Error, ErrorKind, Subject, Waiting};
pub use fetch::{Fetched, Inspected};
pub use identity::Identity;
pub use oci::{CONTRACT_ANNOTATION, CREATED_ANNOTATION};
pub use offer::{Bytes, Offer};
pub use proxy::{Options, Proxy, RawManifest, Timeouts};
pub use resolve::{Artifact, Resolved};
pub use retry::Retry;
