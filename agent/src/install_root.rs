//! An install root: its paths, who may change it, its locks and its staging directories. Both stores in a root
//! ([`crate::store`] and [`crate::d8_store`]) use this.

pub mod host_id;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod lockfile;
pub(crate) mod staging;
pub(crate) mod state_dir;
pub(crate) mod trust;
pub(crate) mod version_dir;
