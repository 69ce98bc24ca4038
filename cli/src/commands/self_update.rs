//! `d8 cli …`: shows and changes the version of d8 itself. [`choice`] decides, [`switch`] acts.

pub(crate) mod capabilities;
pub(crate) mod check;
pub(in crate::commands) mod choice;
pub(crate) mod fallback;
pub(in crate::commands) mod switch;
pub(crate) mod update;
pub(crate) mod use_version;
pub(crate) mod versions;
