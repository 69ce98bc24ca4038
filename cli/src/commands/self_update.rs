//! `d8 cli …`: shows and changes the version of d8 itself.

pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod fallback;
pub(crate) mod select;
pub(crate) mod switch;
pub(crate) mod versions;
