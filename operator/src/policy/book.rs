//! What this process knows of each policy: the status it wrote last and the ledger of its waves.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use d8_crds::records::policy::{PluginPolicyStatus, WaveState};
use tokio::time::Instant;

use super::ledger::Ledger;

/// A ledger and the version of the ConfigMap it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// What it says.
    pub(super) ledger: Ledger,
    /// Absent: there is no ConfigMap.
    pub(super) resource_version: Option<String>,
}

/// The last write to one policy.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) status: PluginPolicyStatus,
    /// The resourceVersion of the policy that it was made from.
    pub(super) from: Option<String>,
    pub(super) at: Instant,
    pub(super) rejected: bool,
}

#[derive(Default)]
struct Page {
    last: Option<Last>,
    /// Absent: to be read.
    ledger: Option<Stored>,
    failures: u32,
}

/// What is known of all policies.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<String, Page>>);

impl Book {
    pub(super) fn last(&self, name: &str) -> Option<Last> {
        self.pages().get(name)?.last.clone()
    }

    /// Notes a write.
    pub(super) fn wrote(&self, name: &str, last: Last) {
        self.pages().entry(name.to_owned()).or_default().last = Some(last);
    }

    /// Notes that a reconciliation went through; what failed before is over.
    pub(super) fn succeeded(&self, name: &str) {
        if let Some(page) = self.pages().get_mut(name) {
            page.failures = 0;
        }
    }

    pub(super) fn ledger(&self, name: &str) -> Option<Stored> {
        self.pages().get(name)?.ledger.clone()
    }

    /// Keeps the ledger, or forgets what it says, so that it is read again.
    pub(super) fn set_ledger(&self, name: &str, ledger: Option<Stored>) {
        self.pages().entry(name.to_owned()).or_default().ledger = ledger;
    }

    /// Counts a reconciliation that failed; returns how many did in a row. The ledger is read again.
    pub(super) fn failed(&self, name: &str) -> u32 {
        let mut pages = self.pages();
        let page = pages.entry(name.to_owned()).or_default();
        page.ledger = None;
        page.failures = page.failures.saturating_add(1);
        page.failures
    }

    /// Policies whose ConfigMap is not among these although they have a ledger: it was deleted. It is
    /// written again from what is known.
    pub(super) fn lost(&self, kept: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lost = Vec::new();
        for (name, page) in self.pages().iter_mut() {
            let Some(ledger) = page.ledger.as_mut().filter(|ledger| ledger.resource_version.is_some()) else {
                continue;
            };
            if !kept(name) {
                ledger.resource_version = None;
                lost.push(name.clone());
            }
        }
        lost
    }

    /// Forgets a policy that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.pages().remove(name);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.pages().clear();
    }

    /// Policies that are not accepted.
    pub(super) fn rejected(&self) -> i64 {
        let pages = self.pages();
        count(pages.values().filter(|page| page.last.as_ref().is_some_and(|last| last.rejected)).count())
    }

    /// Waves that are halted.
    pub(super) fn halted(&self) -> i64 {
        let pages = self.pages();
        let components = pages.values().filter_map(|page| page.last.as_ref()).flat_map(|last| &last.status.components);
        count(components.flat_map(|c| &c.waves).filter(|wave| wave.state == Some(WaveState::Halted)).count())
    }

    fn pages(&self) -> MutexGuard<'_, HashMap<String, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
