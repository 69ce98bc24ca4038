//! The three custom resources on a real API server: which objects it accepts and refuses, and its messages.

mod cluster;
mod examples;
mod invalid;
mod statuses;
mod valid;
