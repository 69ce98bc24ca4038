//! The shipped binaries against a real control plane: the operator with the chart's `ServiceAccount`,
//! the command line as ordinary users.
//!
//! Tests share one lab and run side by side: each publishes plugins of its own names and has a
//! workstation of its own. A policy here names the test's own plugins, for it speaks for everybody;
//! a test that pauses all or takes a server away starts its own lab.

mod access;
mod away;
mod bare;
mod chain;
mod faults;
mod hostile;
mod input;
mod own;
mod own_places;
mod own_rivals;
mod policy;
mod policy_commands;
mod rights;
mod time;
mod trust;
