//! The records of d8 delivery and the decisions made from them.
//!
//! Pure: no IO, no clock, no async, no logging. Everything a decision depends on (the records, the
//! cluster's facts, the host, `now`) is an argument, so that operator, agent and command line make the
//! same decision from the same facts.
//!
//! Three layers, each using only those below it:
//! 1. [`decisions`]: requirements, validation, selection, verdict, plan, impact.
//! 2. [`records`]: the custom resources, their schema, contracts, cluster facts.
//! 3. [`values`]: names, digests, versions, constraints, durations.
#![warn(missing_docs)]

pub mod decisions;
pub mod records;
pub mod values;
