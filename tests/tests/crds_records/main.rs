//! The three kinds on a real API server: what it takes, what it refuses and what it then says.

mod bad;
mod cluster;
mod examples;
mod good;
mod status;
