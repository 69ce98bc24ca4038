//! The harness of this project's tests: a real control plane on this machine, a lab on top of it, and helpers
//! that run the shipped binaries against both.
//!
//! Everything that is started here ends with its owner, also when the owner is killed, and leaves no file:
//! [`process`] explains how. Nothing of this crate is shipped.
#![warn(missing_docs)]

pub mod catalog;
pub mod cluster;
pub mod command;
pub mod control_plane;
pub mod d8_build;
pub mod demo;
mod error;
pub mod faulty_proxy;
pub mod fleet;
pub mod foreign_proxy;
pub mod lab;
mod listener;
pub mod objects;
pub mod oci;
pub mod pack;
pub mod page;
mod pki;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod restricted;
pub mod skewed_clock;
pub mod status;
pub mod supervisor;
pub mod tools;
pub mod tunnel;
pub mod walkthrough;
pub mod workstation;

pub use command::{CommandOutput, run};
pub use control_plane::{ADMIN, CONTRACTORS, ControlPlane, Identity};
pub use error::{Error, Result};
pub use lab::Lab;
pub use pki::{Authority, Pair};
pub use proxy::Proxy;
pub use workstation::Workstation;

/// Encodes as standard base64, as kubeconfigs and manifests need it.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
