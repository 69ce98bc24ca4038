//! `d8 policy …`: what policies say, without changing anything.

pub(crate) mod check;
pub(crate) mod diff;
mod effective;
pub(crate) mod get;
mod schema;
