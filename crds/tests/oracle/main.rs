//! A second implementation of the policy verdict, from the rules of `docs/policies.md`: slow and simple, one step
//! for each rule. Tests compare it with the library on many random cases. `README.md` in this directory lists how
//! ambiguous rules are read.
//!
//! It uses versions and constraints of the library and nothing else of it; ranges in `block` have their own code. Only
//! `subject` uses `d8_crds::decisions::verdict`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod clock;
mod compare;
mod coverage;
mod evaluate;
mod generate;
mod next;
mod properties;
mod range;
mod read;
mod schema;
mod shrink;
mod subject;
mod table;
mod windows;
