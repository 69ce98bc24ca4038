//! What the choice of a version needs to know of the policies before it evaluates the first candidate.

use crate::{decisions::reason::Reason, records::policy::MajorUpdates, values::channel::Channel};

/// What the choice of a version needs to know of the policies before it evaluates the first candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guidance {
    /// Versions to consider where a person names none; Stable if no policy sets it.
    pub channel: Channel,
    /// Whether to consider another major version; Stay if no policy sets it.
    pub major_updates: MajorUpdates,
    /// Why a policy forbids the installed version. It is then left, for an older one or another major version, too.
    pub active_forbidden: Option<Reason>,
}
