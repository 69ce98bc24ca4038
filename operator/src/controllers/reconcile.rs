//! What the reconcilers of both kinds have in common: their error, and the retry after it.

use std::time::Duration;

use kube::runtime::controller::Action;

use crate::adapters::{
    ledger_store::StoreError,
    metrics::{FailureLabel, Metrics},
};

/// Why an object could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// The status could not be written.
    #[error("status: {0}")]
    Status(#[source] Box<kube::Error>),
}

impl ReconcileError {
    /// Returns the reason, as a label of a metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::Ledger(StoreError::Conflict(_)) => "LedgerConflict",
            Self::Ledger(StoreError::Unreadable { .. }) => "LedgerUnreadable",
            Self::Ledger(StoreError::Api { .. }) => "LedgerApi",
            Self::Status(_) => "StatusApi",
        }
    }
}

/// Logs and counts a failed reconciliation. Returns when to retry it. `failures`: consecutive failures of the object.
pub(super) fn retry_after(
    metrics: &Metrics,
    kind: &'static str,
    name: &str,
    error: &ReconcileError,
    (failures, delay): (u32, Duration),
) -> Action {
    metrics.reconcile_failures.get_or_create(&FailureLabel { kind, reason: error.reason() }).inc();
    // One failure is expected now and then: a conflict with another writer.
    if failures == 1 {
        tracing::info!(kind, name, %error, "the reconciliation failed and is retried");
    } else {
        tracing::warn!(kind, name, %error, failures, "the reconciliation failed and is retried");
    }
    Action::requeue(delay)
}
