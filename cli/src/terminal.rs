//! Output to the terminal: results, notes, progress and failures.

pub(crate) mod failure;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod table;
