//! What this process knows of each record: one entry each, with the task that polls for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use d8_crds::{
    records::release::{CliRelease, CliReleaseStatus},
    values::name::{Component, Tag},
};
use kube::ResourceExt as _;
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    ACCEPT_SHRINK, POLL_REQUEST,
    facts::Observed,
    ledger::Ledger,
    rules::{RuleError, Rules},
};

/// A ledger and the version of the ConfigMap it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What it says.
    pub(crate) ledger: Ledger,
    /// Absent: there is no ConfigMap yet.
    pub(crate) resource_version: Option<String>,
}

/// What the record asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Of the spec.
    pub(crate) generation: i64,
    /// The spec, checked.
    pub(crate) rules: Result<Rules, RuleError>,
    /// Value of the annotation that asks for a poll; a new value is a new wish.
    pub(crate) poll_request: Option<String>,
    /// How many tags a shrunken list may have to be believed.
    pub(crate) accepted_shrink: Option<usize>,
}

impl Wish {
    /// Reads it off a record.
    pub(crate) fn of(record: &CliRelease) -> Self {
        let annotation = |key: &str| record.annotations().get(key).map(String::as_str);
        Self {
            generation: record.metadata.generation.unwrap_or_default(),
            rules: Rules::read(&record.spec),
            poll_request: annotation(POLL_REQUEST).map(str::to_owned),
            accepted_shrink: annotation(ACCEPT_SHRINK).and_then(|text| text.parse().ok()),
        }
    }

    /// Whether `newer` wants a poll at once.
    fn is_stirred_by(&self, newer: &Self) -> bool {
        self.generation != newer.generation
            || self.poll_request != newer.poll_request
            || self.accepted_shrink != newer.accepted_shrink
    }
}

/// What is known of one record.
pub(crate) struct Entry {
    /// Its component.
    pub(crate) component: Component,
    /// Wakes its poller.
    pub(crate) wake: Notify,
    /// What the proxy told.
    pub(crate) observed: Mutex<Observed>,
    /// What the record asks for and what was written to it.
    pub(crate) state: Mutex<State>,
    uid: Option<String>,
    poller: Mutex<Option<AbortHandle>>,
}

/// The changing part that reconciler and poller share.
pub(crate) struct State {
    /// What the record asks for.
    pub(crate) wish: Wish,
    /// The status written last, or found at the start.
    pub(crate) status: CliReleaseStatus,
    /// The resourceVersion of the record that the last written status was made from.
    pub(crate) written_from: Option<String>,
    /// The ledger; absent: to be read.
    pub(crate) ledger: Option<Stored>,
    /// Where the next poll goes on reading known manifests again.
    pub(crate) cursor: Option<Tag>,
    /// Reconciliations that failed in a row.
    pub(crate) failures: u32,
}

impl Entry {
    fn new(record: &CliRelease, component: Component) -> Self {
        let wish = Wish::of(record);
        let status = record.status.clone().unwrap_or_default();
        let current = status.observed_generation == record.metadata.generation;
        Self {
            component,
            wake: Notify::new(),
            observed: Mutex::new(Observed::from_status(&status, current)),
            state: Mutex::new(State { wish, status, written_from: None, ledger: None, cursor: None, failures: 0 }),
            uid: record.uid(),
            poller: Mutex::new(None),
        }
    }

    /// The part that reconciler and poller share.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the proxy told.
    pub(crate) fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        if let Some(poller) = self.poller.lock().unwrap_or_else(PoisonError::into_inner).take() {
            poller.abort();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All entries.
#[derive(Default)]
pub(crate) struct Book {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

impl Book {
    /// The entry of a record, made if there is none or if the record was made anew; `start` then
    /// starts its poller. A changed wish wakes the poller.
    pub(crate) fn entry(
        &self,
        record: &CliRelease,
        component: &Component,
        start: impl FnOnce(&Arc<Entry>) -> AbortHandle,
    ) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let name = record.name_any();
        if let Some(entry) = entries.get(&name)
            && entry.uid == record.uid()
        {
            let wish = Wish::of(record);
            let mut state = entry.state();
            if state.wish.is_stirred_by(&wish) {
                if state.wish.generation != wish.generation {
                    entry.observed().spec_changed();
                }
                state.wish = wish;
                entry.wake.notify_one();
            }
            drop(state);
            return entry.clone();
        }
        let entry = Arc::new(Entry::new(record, component.clone()));
        *entry.poller.lock().unwrap_or_else(PoisonError::into_inner) = Some(start(&entry));
        if let Some(old) = entries.insert(name, entry.clone()) {
            old.stop();
        }
        entry
    }

    /// Counts a reconciliation that failed; returns how many did in a row. What is known of the ledger
    /// is read again.
    pub(crate) fn failed(&self, name: &str) -> u32 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get(name) else { return 1 };
        let mut state = entry.state();
        state.ledger = None;
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// Forgets everything and stops every poller.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        for entry in entries.values() {
            entry.stop();
        }
    }

    /// Forgets a record that is gone.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(entry) = self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(name) {
            entry.stop();
        }
    }
}
