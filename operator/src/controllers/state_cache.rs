//! The state of each object that this process keeps in memory between two reconciliations.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{
    Resource, ResourceExt as _,
    core::object::HasStatus,
    runtime::{utils::Backoff as _, watcher::ExponentialBackoff},
};

use crate::adapters::retry;

/// Delay before the first retry of a failed reconciliation.
const RETRY: Duration = Duration::from_secs(1);
/// Longest delay before a retry.
const MAX_RETRY: Duration = Duration::from_mins(2);

/// An entry of a [`StateCache`].
pub(crate) trait Entry {
    /// Stops what runs for the entry. Called when the cache drops it.
    fn close(&self) {}
}

/// One entry for each object of a kind, by name.
pub(crate) struct StateCache<E: Entry>(Mutex<HashMap<String, Arc<E>>>);

impl<E: Entry> Default for StateCache<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Entry> StateCache<E> {
    /// Returns the entry of an object.
    pub(super) fn get(&self, name: &str) -> Option<Arc<E>> {
        self.lock().get(name).cloned()
    }

    /// Returns the entry of an object. Makes a new one if there is none, or if `is_current` rejects it.
    pub(super) fn get_or_insert_with(
        &self,
        name: &str,
        is_current: impl FnOnce(&E) -> bool,
        make: impl FnOnce() -> Arc<E>,
    ) -> Arc<E> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(name)
            && is_current(entry)
        {
            return entry.clone();
        }
        let entry = make();
        if let Some(old) = entries.insert(name.to_owned(), entry.clone()) {
            old.close();
        }
        entry
    }

    /// Returns all entries with their names.
    pub(super) fn all(&self) -> Vec<(String, Arc<E>)> {
        self.lock().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Drops the entry of an object that was deleted.
    pub(super) fn remove(&self, name: &str) {
        if let Some(entry) = self.lock().remove(name) {
            entry.close();
        }
    }

    /// Closes all entries and drops them.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut *self.lock());
        for entry in entries.values() {
            entry.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last status that this process wrote to an object.
#[derive(Debug, Clone)]
pub(super) struct WrittenStatus<S> {
    pub(super) status: S,
    /// resourceVersion of the object from which the status was made; absent: this process wrote none yet.
    pub(super) base: Option<String>,
}

impl<S> WrittenStatus<S> {
    /// Returns the status that the API server has. Until the watch delivers our own write, the object still shows the
    /// status before it.
    pub(super) fn current<'a, K>(&'a self, object: &'a K) -> Option<&'a S>
    where
        K: Resource + HasStatus<Status = S>,
    {
        if self.base.is_some() && self.base == object.resource_version() { Some(&self.status) } else { object.status() }
    }
}

/// Consecutive failures of one object, and the delay before the next retry.
pub(super) struct Failures {
    count: u32,
    delays: ExponentialBackoff,
}

impl Default for Failures {
    fn default() -> Self {
        Self { count: 0, delays: retry::backoff(RETRY, MAX_RETRY) }
    }
}

impl Failures {
    /// Counts a failure. Returns the number of consecutive failures, and the delay before the retry.
    pub(super) fn add(&mut self) -> (u32, Duration) {
        self.count = self.count.saturating_add(1);
        (self.count, self.delays.next().unwrap_or(MAX_RETRY))
    }

    /// Ends a series of failures.
    pub(super) fn reset(&mut self) {
        self.count = 0;
        self.delays.reset();
    }
}
