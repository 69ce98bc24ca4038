//! `docs/policies.md` agrees with the code: its examples, its tables and its list of fields.
#![allow(clippy::expect_used, clippy::panic, reason = "a page that cannot be read fails the test")]

mod examples;
mod matrix;
mod reasons;
mod samples;
mod unique_keys;

const PAGE: &str = include_str!("../../../docs/policies.md");
