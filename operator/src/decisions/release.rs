//! `CliRelease`: which versions of a component are published, and which of them fit this cluster.

pub(crate) mod evaluation;
pub(crate) mod events;
pub(crate) mod facts;
#[cfg(test)]
mod fixtures;
pub(crate) mod inputs;
pub(crate) mod ledger;
mod limits;
pub(crate) mod observed;
pub(crate) mod platform_tags;
pub(crate) mod poll_rate;
pub(crate) mod reads;
pub(crate) mod selection;
pub(crate) mod sightings;
pub(crate) mod spec;
pub(crate) mod status;
mod trim;
