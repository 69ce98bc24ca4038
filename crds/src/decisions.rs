//! The decisions that are made from the records. Each module uses only modules before it in this order:
//! `intent`, `person`, `clock`, `wave`, `host_report`, `window`, `validation`, `requirements`, `reason`, `explain`,
//! `selection`, `verdict`, `plan`, `impact`, `agent_report`, `fleet`.

pub mod agent_report;
pub mod clock;
pub mod explain;
pub mod fleet;
pub mod host_report;
pub mod impact;
pub mod intent;
pub mod person;
pub mod plan;
pub mod reason;
pub mod requirements;
pub mod selection;
pub mod validation;
pub mod verdict;
pub mod wave;
pub mod window;
