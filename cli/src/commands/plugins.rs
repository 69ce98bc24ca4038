//! `d8 plugins …`. Commands that change plugins create requests ([`request`]), plan and apply them ([`execute`],
//! [`transaction`]) and report the results ([`report`]).

mod execute;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod remove;
mod report;
mod request;
mod transaction;
pub(crate) mod update;
pub(crate) mod why;
