//! The records of d8 delivery and what they mean.
//!
//! Pure: no IO, no clock, no async, no logging. What a decision needs (the records, the cluster's
//! facts, the host, `now`) is an argument, so that operator, agent and command line, given the same
//! facts, decide the same.
#![warn(missing_docs)]

pub mod clock;
pub mod cluster;
pub mod constraint;
pub mod contract;
pub mod digest;
pub mod duration;
pub mod host;
mod instant;
pub mod name;
pub mod outlook;
pub mod plan;
pub mod platform;
pub mod policy;
pub mod release;
pub mod requirements;
pub mod schema;
pub mod select;
pub mod text;
pub mod verdict;
pub mod version;
pub mod wave;
pub mod window;
