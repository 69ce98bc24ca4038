//! Decisions made from the records. In this order, each module uses only those before it: `intent`,
//! `clock`, `wave`, `window`, `validation`, `requirements`, `selection`, `verdict`, `plan`, `impact`.

pub mod clock;
pub mod impact;
pub mod intent;
pub mod plan;
pub mod requirements;
pub mod selection;
pub mod validation;
pub mod verdict;
pub mod wave;
pub mod window;
