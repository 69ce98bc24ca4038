//! `d8 policy …`: what policies say, without changing anything; and what is trusted to say it.

pub(crate) mod check;
pub(crate) mod diff;
mod effective;
pub(crate) mod get;
mod schema;
pub(crate) mod trust;
