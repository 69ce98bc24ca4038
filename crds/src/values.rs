//! Checked values that records and decisions are built from: names, versions, constraints, durations, and
//! the limits and errors of their texts. This layer does not know records or decisions.

pub mod channel;
pub mod constraint;
pub mod correction;
pub mod digest;
pub mod duration;
pub mod encoding;
pub mod field_error;
pub mod host_name;
pub(crate) mod instant;
pub mod limits;
pub mod name;
pub mod platform;
pub mod spelling;
pub mod text;
pub mod version;
pub mod version_set;
