//! The local store and the install pipeline; later the loop that runs on top of them.
//!
//! The promise this crate keeps: at every instant `current` of a plugin names a complete, verified
//! binary, the old one or the new one, after a kill and after a power loss too.
//!
//! [`Roots`] says where stores are, [`Store`] reads one and never runs a plugin to do so,
//! [`Store::lock`] gives a [`LockedStore`] that changes it. Bytes come through a [`LayerSource`]; the time is an
//! argument. What to install and whether it may be installed is decided elsewhere (`d8-crds`).
#![warn(missing_docs)]

pub mod cluster;
pub mod d8_store;
pub mod error;
pub mod progress;
pub mod receipt;
pub mod request;
pub mod roots;
pub mod smoke;
pub mod store;

mod disk;
mod download;
mod install_root;

pub use download::source::{LayerSource, LayerStream, ProxySource};
pub use error::{Advice, LockHolder, StoreError, StoreErrorKind};
pub use install_root::host_id;
pub use progress::{ProgressEvent, ProgressReporter, SilentReporter};
pub use receipt::{Receipt, Verified};
pub use request::{Activation, Artifact, InstallRequest, Retention, StoreChange};
pub use roots::Roots;
pub use store::{ActiveVersion, InstalledVersion, LockedStore, PluginEntry, StagedVersion, Store};

#[cfg(feature = "testing")]
pub mod testing {
    //! Failpoints and the record of barriers, for tests only. A shipped binary has neither.
    pub use crate::disk::{
        failpoint::{ALL, on},
        take_trace, trace,
    };
}
