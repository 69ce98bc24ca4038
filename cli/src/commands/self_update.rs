//! `d8 cli …`: shows and changes the version of d8 itself. [`choice`] decides, [`switch`] acts.

pub(crate) mod capabilities;
pub(crate) mod check;
mod choice;
pub(crate) mod fallback;
mod switch;
pub(crate) mod update;
pub(crate) mod use_version;
pub(crate) mod versions;
