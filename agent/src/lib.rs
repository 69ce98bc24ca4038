//! The local store and the install pipeline; later the loop that runs on top of them.
//!
//! The promise this crate keeps: at every instant `current` of a plugin names a complete, verified
//! binary, the old one or the new one, after a kill and after a power loss too.
//!
//! [`Roots`] says where stores are, [`Store`] reads one and never runs a plugin to do so,
//! [`Store::lock`] gives a [`Locked`] that changes it. Bytes come through a [`Source`]; the time is an
//! argument. What to install and whether it may be installed is decided elsewhere (`d8-crds`).
#![warn(missing_docs)]

pub mod d8_store;
pub mod error;
pub mod host_id;
pub mod order;
pub mod progress;
pub mod receipt;
pub mod roots;
pub mod smoke;
pub mod source;
pub mod store;
pub mod view;

mod disk;
mod failpoint;

pub use error::{Advice, Holder, StoreError, StoreErrorKind};
pub use order::{Artifact, Change, Kept, Order, Outcome};
pub use progress::{Event, Quiet, Watch};
pub use receipt::{Receipt, Verified};
pub use roots::Roots;
pub use source::{Body, FromProxy, Source};
pub use store::{Active, Entry, Installed, Locked, Staged, Store};

#[cfg(feature = "testing")]
pub mod testing {
    //! Failpoints and the record of barriers, for tests only. A shipped binary has neither.
    pub use crate::{
        disk::{take_trace, trace},
        failpoint::{ALL, on},
    };
}
