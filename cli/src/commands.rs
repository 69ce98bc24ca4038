//! The commands, one file each.

pub(crate) mod agent;
pub(crate) mod completion;
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod plugins;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod self_update;
