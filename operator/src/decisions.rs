//! Decisions without IO and without a clock: every input is an argument, so that a table of cases covers them.
//!
//! Uses only `d8-crds`, and of `d8-rpp` the reader of platform tags and the pin of a proxy.

pub(crate) mod conditions;
pub(crate) mod event_draft;
pub(crate) mod hosts;
pub(crate) mod labels;
pub(crate) mod ledger;
pub(crate) mod managed_releases;
pub(crate) mod policy;
pub(crate) mod proxy_pin;
pub(crate) mod release;
pub(crate) mod retention;
