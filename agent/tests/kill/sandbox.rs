//! SIGKILL at a random instant, 200 times, on one store that is never cleaned in between.
use crate::Case;
pub const CASES: &[Case] = &[];
