//! The state of a policy that this process keeps in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use d8_crds::records::policy::{PluginPolicyStatus, WaveState};
use tokio::time::Instant;

use super::super::state_cache::{Entry, Failures, StateCache, WrittenStatus};
use crate::{
    adapters::ledger_store::StoredLedger,
    decisions::policy::{evidence::KeptCanaryCounts, ledger::WaveLedger},
};

/// The state of one policy.
#[derive(Default)]
pub(crate) struct PolicyEntry(Mutex<PolicyState>);

/// The part of a [`PolicyEntry`] that changes.
#[derive(Default)]
pub(in crate::controllers) struct PolicyState {
    /// The last status; absent: this process neither wrote nor confirmed one.
    pub(super) last: Option<LastStatus>,
    /// The wave ledger; absent: it must be read.
    pub(super) ledger: Option<StoredLedger<WaveLedger>>,
    pub(super) failures: Failures,
    pub(super) canary_counts: KeptCanaryCounts,
}

/// The last status of a policy.
#[derive(Debug, Clone)]
pub(super) struct LastStatus {
    pub(super) written: WrittenStatus<PluginPolicyStatus>,
    /// When the status was written.
    pub(super) at: Instant,
    /// Whether the policy was rejected.
    pub(super) rejected: bool,
}

impl Entry for PolicyEntry {}

impl PolicyEntry {
    pub(in crate::controllers) fn state(&self) -> MutexGuard<'_, PolicyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PolicyState {
    /// Notes that the ConfigMap of the ledger was deleted. Returns whether there was one.
    pub(in crate::controllers) fn forget_config_map(&mut self) -> bool {
        self.ledger.as_mut().is_some_and(|stored| stored.resource_version.take().is_some())
    }
}

/// Counts the rejected policies and the halted waves.
pub(super) fn count(states: &StateCache<PolicyEntry>) -> (usize, usize) {
    let (mut rejected, mut halted) = (0, 0);
    for (_, entry) in states.all() {
        let state = entry.state();
        let Some(last) = &state.last else { continue };
        rejected += usize::from(last.rejected);
        let waves = last.written.status.components.iter().flat_map(|component| &component.waves);
        halted += waves.filter(|wave| wave.state == Some(WaveState::Halted)).count();
    }
    (rejected, halted)
}
