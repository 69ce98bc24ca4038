//! The records of d8 delivery and the decisions that are made from them.
//!
//! The crate is pure: no IO, no clock, no async, no logging. Everything that a decision depends on (records,
//! facts of the cluster, the host, `now`) is an argument, so that the operator, the agent and the command
//! line make the same decision from the same facts.
//!
//! The crate has three layers. Each uses only those below it:
//! 1. [`decisions`]: validation, requirements, selection, verdict, plan, impact.
//! 2. [`records`]: custom resources and their schema, contracts, facts of a cluster.
//! 3. [`values`]: names, digests, versions, constraints, durations, limits.
#![warn(missing_docs)]

pub mod decisions;
pub mod records;
pub mod values;
