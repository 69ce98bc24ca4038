//! `d8 policy …`: shows, validates and compares policies, and trusts a changed proxy.

pub(crate) mod check;
pub(crate) mod diff;
mod effective;
pub(crate) mod get;
pub(crate) mod trust;
