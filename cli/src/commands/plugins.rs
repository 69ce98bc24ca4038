//! `d8 plugins …`. Commands that change plugins create requests ([`request`]), plan and apply them ([`execute`],
//! [`transaction`], [`repair`]) and report the results ([`report`]).

mod execute;
pub(crate) mod install;
pub(crate) mod list;
mod newer_major;
pub(crate) mod remove;
mod repair;
mod report;
mod request;
mod transaction;
pub(crate) mod update;
pub(crate) mod why;
