//! The harness of this project's tests: a real control plane on this machine, the lab on top of it,
//! and the ways to run the shipped binaries against both.
//!
//! Whatever is started here ends with its owner, even when the owner is killed, and leaves no file:
//! see [`process`] for how. Nothing here is shipped.
#![warn(missing_docs)]

pub mod catalog;
pub mod cluster;
pub mod command;
pub mod control_plane;
pub mod demo;
mod error;
pub mod lab;
pub mod liar;
mod listener;
pub mod oci;
pub mod other_clock;
mod pki;
pub mod process;
pub mod registry;
pub mod release;
pub mod story;
pub mod supervisor;
pub mod tools;
pub mod workstation;

pub use command::{Finished, run};
pub use control_plane::{ADMIN, ControlPlane, Identity};
pub use error::{Error, Result};
pub use lab::Lab;
pub use pki::Pair;
pub use registry::Registry;
pub use workstation::Workstation;

/// Standard base64, as kubeconfigs and manifests hold it.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
