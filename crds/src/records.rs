//! The records as they are stored: the custom resources and their schema, a plugin's contract, the
//! facts of a cluster. Reading and writing only; what a record leads to is in [`crate::decisions`].

pub mod cluster;
pub mod contract;
pub mod host;
pub mod policy;
pub mod release;
pub mod requirements;
pub mod schema;
