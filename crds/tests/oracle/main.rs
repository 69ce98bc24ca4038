//! A second reading of `policy.md`, written from the page and not from the library: slow, obvious,
//! one step per rule. It exists to be compared with the first over many random cases; `README.md`
//! beside it lists where the page leaves room and which reading was taken.
//!
//! Of the library it uses the small vocabulary only (versions, constraints); it may not look at
//! `d8_crds::decisions::verdict` but through `first`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod clock;
mod compare;
mod first;
mod generate;
mod page;
mod properties;
mod read;
mod shrink;
mod table;
mod windows;
