//! A fleet on a virtual clock: thousands of hosts, the operator, the API server and the proxy, a week in seconds.
//!
//! What decides is the code of the shipped binaries: verdict, planner and report of `d8_crds`, the schedule and the
//! failures of `d8_agent`, the waves and the status of `d8_operator`. This crate has what these programs do between
//! their decisions: who reads what when, and how long it takes. Nothing of it is shipped.
//!
//! Hosts differ only by name, role and chance. [`Scenario`] says what admins do, and what breaks.
#![warn(missing_docs)]

mod cluster;
mod exits;
mod host;
mod queue;
mod report;
mod scenario;
mod shares;
mod simulation;
mod svg;
mod time;
mod traffic;
mod watches;

pub use self::{
    report::{Report, Stop},
    scenario::{Action, Scenario},
    shares::Deviation,
    simulation::{Reaction, Settings, run},
    time::Millis,
    traffic::{Kind, Load},
};
