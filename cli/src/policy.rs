//! `d8 policy …`: what policies say, without changing anything.

pub(crate) mod check;
mod schema;
