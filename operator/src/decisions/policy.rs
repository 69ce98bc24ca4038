//! `PluginPolicy`: whether it is valid, which version of each component it leads to, and the state of its waves.

pub(crate) mod conflicts;
pub(crate) mod evaluation;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod ledger;
pub(crate) mod matched;
mod progress;
pub(crate) mod status;
mod wave_limit;
pub(crate) mod waves;
