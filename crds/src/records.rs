//! The data that decisions use: the custom resources and their schema, the contracts of plugins, the facts of
//! a cluster. This layer reads and writes them; [`crate::decisions`] evaluates them.

pub mod cluster;
pub mod contract;
pub mod host;
pub mod policy;
pub mod release;
pub mod requirements;
pub mod schema;
