//! The state of a record that this process keeps in memory, and the task that polls for the record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use d8_crds::{
    records::release::{CliRelease, CliReleaseStatus},
    values::name::{Component, Tag},
};
use kube::ResourceExt as _;
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    super::state_cache::{Entry, Failures, StateCache, WrittenStatus},
    desired::DesiredState,
};
use crate::{
    adapters::ledger_store::StoredLedger,
    decisions::release::{ledger::ReleaseLedger, observed::Observed},
};

/// The state of one record.
pub(crate) struct ReleaseEntry {
    /// The component of the record.
    pub(super) component: Component,
    /// Wakes the poller: versions are pending.
    pub(super) wake: Notify,
    /// Wakes the poller: a person changed the record and so requests a poll.
    pub(super) requested: Notify,
    /// What is known of the component's versions.
    pub(super) observed: Mutex<Observed>,
    state: Mutex<ReleaseState>,
    uid: Option<String>,
    poller: Mutex<Option<AbortHandle>>,
}

/// The part of a [`ReleaseEntry`] that reconciler and poller share.
pub(super) struct ReleaseState {
    /// The desired state of the record.
    pub(super) desired: DesiredState,
    /// The last status; before the first write, the status that the record had.
    pub(super) written: WrittenStatus<CliReleaseStatus>,
    /// The ledger; absent: it must be read.
    pub(super) ledger: Option<StoredLedger<ReleaseLedger>>,
    /// The tag that the last poll verified last.
    pub(super) cursor: Option<Tag>,
    pub(super) failures: Failures,
}

impl ReleaseEntry {
    fn new(record: &CliRelease, component: Component) -> Self {
        let status = record.status.clone().unwrap_or_default();
        let is_current = status.observed_generation == record.metadata.generation;
        let observed = Observed::from_status(&status, is_current);
        let state = ReleaseState {
            desired: DesiredState::of(record),
            written: WrittenStatus { status, base: None },
            ledger: None,
            cursor: None,
            failures: Failures::default(),
        };
        Self {
            component,
            wake: Notify::new(),
            requested: Notify::new(),
            observed: Mutex::new(observed),
            state: Mutex::new(state),
            uid: record.uid(),
            poller: Mutex::default(),
        }
    }

    /// Locks the part that reconciler and poller share. Lock it before [`Self::observed`].
    pub(super) fn state(&self) -> MutexGuard<'_, ReleaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what is known of the component's versions.
    pub(super) fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poller(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.poller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a changed record. Wakes the poller if the change requests a poll.
    fn update(&self, record: &CliRelease) {
        let desired = DesiredState::of(record);
        let mut state = self.state();
        if state.desired.requests_poll(&desired) {
            if state.desired.generation != desired.generation {
                self.observed().spec_changed();
            }
            state.desired = desired;
            self.requested.notify_one();
        }
    }
}

impl Entry for ReleaseEntry {
    fn close(&self) {
        if let Some(poller) = self.poller().take() {
            poller.abort();
        }
    }
}

/// Returns the up-to-date entry of a record. Makes a new entry, and starts its poller, if there is none or if the
/// record was deleted and created again.
pub(super) fn entry(
    states: &StateCache<ReleaseEntry>,
    record: &CliRelease,
    component: &Component,
    start_poller: impl FnOnce(&Arc<ReleaseEntry>) -> AbortHandle,
) -> Arc<ReleaseEntry> {
    let is_current = |entry: &ReleaseEntry| entry.uid == record.uid();
    let entry = states.get_or_insert_with(&record.name_any(), is_current, || {
        let entry = Arc::new(ReleaseEntry::new(record, component.clone()));
        *entry.poller() = Some(start_poller(&entry));
        entry
    });
    entry.update(record);
    entry
}
