//! The reconciler of `CliRelease`: writes which versions of a component are published, and which of them fit this
//! cluster.
//!
//! Each record has two loops. The poller asks the proxy and keeps the answers in memory. The reconciler evaluates what
//! is in memory and writes. So a change in the cluster is evaluated at once, even if the proxy is slow.

mod desired;
mod poll;
mod poller;
pub(super) mod state;

use std::sync::Arc;

use d8_crds::{
    decisions::{explain, requirements::check},
    records::{
        release::{CliRelease, CliReleaseStatus, Fit},
        requirements::Requirements,
    },
    values::name::Component,
};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _, runtime::controller::Action};

use self::state::ReleaseEntry;
use super::{
    clock::now,
    context::Context,
    reconcile::{ReconcileError, retry_after},
    state_cache::WrittenStatus,
};
use crate::{
    adapters::{
        apply,
        cluster::Cluster,
        ledger_store::{StoreError, StoredLedger},
        metrics::{ComponentLabel, KindLabel},
        proxy::Registry,
    },
    decisions::{
        conditions,
        release::{
            evaluation::{ReleaseEvaluation, evaluate},
            events::events,
            inputs::ReleaseInputs,
            ledger::ReleaseLedger,
            sightings::ledger_changes,
            status::stalled_status,
        },
        retention::RetainedVersions,
    },
};

/// Label of the metrics.
const KIND: &str = "CliRelease";

/// Reads the ledger, evaluates the record, and writes ledger, status and events.
pub(super) async fn reconcile<R: Registry>(
    record: Arc<CliRelease>,
    ctx: Arc<Context<R>>,
) -> Result<Action, ReconcileError> {
    let name = record.name_any();
    let Ok(component) = name.parse::<Component>() else {
        // The API server rejects such names.
        return Ok(Action::await_change());
    };
    let entry = state::entry(&ctx.release_states, &record, &component, |entry| poller::start(&ctx, entry));
    let stored = ledger(&record, &entry, &ctx).await?;

    let cluster = ctx.cluster.borrow().clone();
    let (new_ledger, evaluation) =
        evaluate_entry(&entry, &ctx.retention.versions(&name), &cluster, &stored.ledger, now());
    let stored = match new_ledger {
        None => stored,
        Some(ledger) => {
            // If the write fails, the ledger is read again.
            entry.state().ledger = None;
            ctx.release_ledgers.save(&name, StoredLedger { ledger, ..stored }).await?
        }
    };
    entry.state().ledger = Some(stored);
    if let Some(before) = write(&record, &entry, &evaluation.status, &ctx).await? {
        ctx.events.publish(&record.object_ref(&()), events(&before, &evaluation.status)).await;
    }
    finish(&entry, &evaluation, &ctx);
    Ok(evaluation.recheck_after.map_or_else(Action::await_change, Action::requeue))
}

/// Returns the ledger, from memory or from its ConfigMap. If it cannot be read, the record's status reports this.
async fn ledger<R: Registry>(
    record: &CliRelease,
    entry: &ReleaseEntry,
    ctx: &Context<R>,
) -> Result<StoredLedger<ReleaseLedger>, ReconcileError> {
    if let Some(stored) = entry.state().ledger.clone() {
        return Ok(stored);
    }
    let error = match ctx.release_ledgers.load(entry.component.name()).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if matches!(error, StoreError::Unreadable { .. }) {
        let status = {
            let state = entry.state();
            let generation = state.desired.generation;
            stalled_status(&state.written.status, generation, now(), "LedgerUnreadable", &error.to_string())
        };
        write(record, entry, &status, ctx).await?;
    }
    Err(error.into())
}

/// Evaluates a record from memory. Returns the new ledger if it changes, and the evaluation.
fn evaluate_entry(
    entry: &ReleaseEntry,
    retained: &RetainedVersions,
    cluster: &Cluster,
    ledger: &ReleaseLedger,
    now: Timestamp,
) -> (Option<ReleaseLedger>, ReleaseEvaluation) {
    let state = entry.state();
    let mut observed = entry.observed();
    let (component, desired) = (&entry.component, &state.desired);
    let spec = desired.spec.as_ref();
    let spec = spec.map(|spec| (spec, observed.selected(component, desired.generation, spec, retained)));
    let check = |requirements: &Requirements| {
        let findings = check(requirements, &cluster.facts);
        let (unmet, unchecked) = (findings.unmet.iter(), findings.unchecked.iter());
        let reasons = unmet.map(explain::unmet).chain(unchecked.map(explain::unchecked)).collect();
        (findings.fit(), reasons)
    };
    let inputs = ReleaseInputs {
        component,
        generation: desired.generation,
        spec: spec.as_ref().map(|(spec, selected)| (*spec, &**selected)).map_err(|error| *error),
        previous: &state.written.status,
        observed: &observed,
        retained,
        cluster: &cluster.seen,
        check: &check,
        now,
    };
    let changes = ledger_changes(&inputs, ledger);
    let new_ledger = (!changes.is_empty()).then(|| {
        let mut ledger = ledger.clone();
        ledger.apply(changes);
        ledger
    });
    let evaluation = evaluate(&inputs, new_ledger.as_ref().unwrap_or(ledger));
    (new_ledger, evaluation)
}

/// Writes the status if it changed. Returns the previous status if it did.
async fn write<R: Registry>(
    record: &CliRelease,
    entry: &ReleaseEntry,
    status: &CliReleaseStatus,
    ctx: &Context<R>,
) -> Result<Option<CliReleaseStatus>, ReconcileError> {
    {
        let written = &entry.state().written;
        if written.current(record) == Some(status) && written.status == *status {
            return Ok(None);
        }
    }
    let api: Api<CliRelease> = Api::all(ctx.client.clone());
    let applied = apply::status(&api, &record.name_any(), status).await;
    applied.map_err(|error| ReconcileError::Status(Box::new(error)))?;
    ctx.metrics.status_writes.get_or_create(&KindLabel { kind: KIND }).inc();
    let written = WrittenStatus { status: status.clone(), base: record.resource_version() };
    let before = std::mem::replace(&mut entry.state().written, written);
    Ok(Some(before.status))
}

/// Ends a successful reconciliation: wakes the poller if versions are pending, and updates the metrics.
fn finish<R: Registry>(entry: &ReleaseEntry, evaluation: &ReleaseEvaluation, ctx: &Context<R>) {
    let status = &evaluation.status;
    let mut observed = entry.observed();
    observed.prune(status);
    let is_idle = observed.is_listed() && !observed.reading && observed.poll_error.is_none();
    let last_sync = observed.last_sync;
    drop(observed);
    entry.state().failures.reset();
    if evaluation.pending > 0 && is_idle {
        entry.wake.notify_one();
    }
    let label = ComponentLabel { component: entry.component.name().to_owned() };
    let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let synced = conditions::find(&status.conditions, "Synced").is_some_and(|(status, _)| status == "True");
    ctx.metrics.synced.get_or_create(&label).set(synced.into());
    ctx.metrics.versions.get_or_create(&label).set(gauge(status.versions.len()));
    let fitting = status.versions.iter().filter(|v| v.fit == Fit::Fits && v.withdrawn.is_none()).count();
    ctx.metrics.fitting.get_or_create(&label).set(gauge(fitting));
    if let Some(at) = last_sync {
        ctx.metrics.last_sync.get_or_create(&label).set(at.as_second());
    }
}

/// Retries a failed reconciliation later. The ledger is read again.
#[allow(clippy::needless_pass_by_value)] // the signature that kube calls
pub(super) fn failed<R: Registry>(record: Arc<CliRelease>, error: &ReconcileError, ctx: Arc<Context<R>>) -> Action {
    let name = record.name_any();
    let Some(entry) = ctx.release_states.get(&name) else {
        // The record was deleted meanwhile.
        return Action::await_change();
    };
    let failure = {
        let mut state = entry.state();
        state.ledger = None;
        state.failures.add()
    };
    retry_after(&ctx.metrics, KIND, &name, error, failure)
}

/// Forgets a deleted record.
pub(super) fn deleted<R: Registry>(name: &str, ctx: &Context<R>) {
    ctx.release_states.remove(name);
    ctx.metrics.remove_component(name);
}
