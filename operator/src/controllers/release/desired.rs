//! The desired state of a record: its spec and its annotations.

use d8_crds::records::release::CliRelease;
use kube::ResourceExt as _;

use crate::decisions::release::spec::{CheckedSpec, SpecError};

/// Annotation: accepts a list that lost most of its tags, if it has exactly this number of tags.
pub(super) const ACCEPT_SHRINK: &str = "cli.deckhouse.io/accept-shrink";
/// Annotation: each new value requests a poll.
const POLL_REQUESTED: &str = "cli.deckhouse.io/poll-requested";

/// The desired state of a record.
#[derive(Debug, Clone)]
pub(super) struct DesiredState {
    /// Generation of the spec.
    pub(super) generation: i64,
    pub(super) spec: Result<CheckedSpec, SpecError>,
    /// Number of tags that an accepted list may shrink to.
    pub(super) accepted_shrink: Option<usize>,
    /// Value of the annotation that requests a poll.
    poll_requested: Option<String>,
}

impl DesiredState {
    pub(super) fn of(record: &CliRelease) -> Self {
        let annotation = |key: &str| record.annotations().get(key).map(String::as_str);
        Self {
            generation: record.metadata.generation.unwrap_or_default(),
            spec: CheckedSpec::read(&record.spec),
            accepted_shrink: annotation(ACCEPT_SHRINK).and_then(|text| text.parse().ok()),
            poll_requested: annotation(POLL_REQUESTED).map(str::to_owned),
        }
    }

    /// Returns whether the change from `self` to `newer` requests a poll.
    pub(super) fn requests_poll(&self, newer: &Self) -> bool {
        self.generation != newer.generation
            || self.poll_requested != newer.poll_requested
            || self.accepted_shrink != newer.accepted_shrink
    }
}
