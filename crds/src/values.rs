//! CheckedPolicy values that records and decisions are built from. They know nothing of records.

pub mod channel;
pub mod constraint;
pub mod digest;
pub mod duration;
pub(crate) mod instant;
pub mod limits;
pub mod name;
pub mod platform;
pub mod text;
pub mod version;
