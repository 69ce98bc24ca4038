//! `d8 agent …`: makes this machine a managed host.

pub(crate) mod join;
