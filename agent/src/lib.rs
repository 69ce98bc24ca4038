//! The stores of plugins and of d8 itself on a host, and the view of the cluster.
//!
//! At every instant `current` of a plugin leads to a complete, verified executable, the old one or the new one. That
//! holds after a kill and after a power loss, too.
//!
//! [`Roots`] finds the install roots. [`Store`] reads one without running a plugin, and [`Store::lock`] returns a
//! [`LockedStore`], which changes it. Layers come from a [`LayerSource`]. The current time is always an argument.
//! `d8-crds` decides which version to install and whether it may be installed.
//!
//! Each module uses only those above it in the list below.
#![warn(missing_docs)]

mod disk;

pub mod smoke;

pub mod error;
pub mod progress;
pub mod receipt;
pub mod request;

mod install_root;

mod download;

pub mod d8_store;
pub mod store;

pub mod roots;

pub mod cluster;
pub mod enrolment;
pub mod failed_changes;
pub mod machine_identity;
pub mod tick_schedule;
pub mod watched_policies;

pub mod agent_config;
pub mod agent_state;
pub mod agent_status;
pub mod enrolled_host;

pub use disk::{is_same_file, noexec_mount, replace_file};
pub use download::source::{LayerSource, LayerStream, ProxySource};
pub use error::{Advice, LockHolder, StoreError, StoreErrorKind};
pub use install_root::host_id;
pub use progress::{ProgressEvent, ProgressReporter, SilentReporter};
pub use receipt::{Receipt, Verified};
pub use request::{Activation, Artifact, InstallRequest, Retention};
pub use roots::Roots;
pub use store::{ActiveVersion, InstalledVersion, LockedStore, PluginEntry, StagedVersion, Store, StoreChange};

#[cfg(feature = "testing")]
pub mod testing {
    //! Failpoints and the trace of barriers, for tests only. Never in a shipped binary.
    pub use crate::disk::{
        failpoint::{ALL, on},
        take_trace, trace,
    };
}
