//! The reconciler of `PluginPolicy`: writes whether a policy is valid, which version of each component it leads to, and
//! the state of its waves. It halts a wave on which too many hosts fail. It never writes the spec of a policy.

pub(super) mod state;

use std::{sync::Arc, time::Duration};

use d8_crds::{
    decisions::validation::{CheckedPolicy, InvalidPolicy},
    records::policy::{PluginPolicy, PluginPolicyStatus},
};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _, runtime::controller::Action};
use tokio::time::Instant;

use self::state::{LastStatus, PolicyEntry, count};
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
        metrics::KindLabel,
    },
    decisions::policy::{
        evaluation::{PolicyEvaluation, PolicyInputs},
        events,
        evidence::CanaryCounts,
        ledger::WaveLedger,
        matched::matched_hosts,
        status::{WriteTime, unreadable_ledger_status, write_time},
        waves::WaveEvent,
    },
};

/// Label of the metrics.
const KIND: &str = "PluginPolicy";
/// Longest time until a policy is reconciled again, if its status changes without an event.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// Reads ledger and hosts, evaluates the policy, and writes ledger, status and events.
pub(super) async fn reconcile<R>(policy: Arc<PluginPolicy>, ctx: Arc<Context<R>>) -> Result<Action, ReconcileError> {
    let name = policy.name_any();
    let entry = ctx.policy_states.get_or_insert_with(&name, |_| true, Arc::default);
    let last = entry.state().last.clone();
    let shown = match &last {
        Some(last) => last.written.current(&*policy).cloned(),
        None => policy.status.clone(),
    };
    let before = shown.clone().unwrap_or_default();
    let checked = CheckedPolicy::new(&policy);
    // A policy that lost its rollout keeps its halts, so that the ledger of every policy is read.
    let has_rollout = checked.as_ref().is_ok_and(|checked| checked.rollout.is_some());
    let stored = ledger(&policy, &entry, &before, &ctx).await?;

    let now = now();
    let canary_counts = entry.state().canary_counts.of(ctx.hosts().labels_revision(), &policy);
    let (new_ledger, wave_events, evaluation) =
        evaluate(&policy, &checked, &before, &stored.ledger, canary_counts, now, &ctx);
    save_ledger(&entry, &name, stored, new_ledger, has_rollout, &ctx).await?;
    let drafts = wave_events.iter().map(|event| events::wave(&name, event)).collect();
    ctx.events.publish(&policy.object_ref(&()), drafts).await;

    let PolicyEvaluation { status, next } = evaluation;
    let next = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok()).map(|wait| wait.min(MAX_WAIT));
    let age = last.as_ref().map(|last| last.at.elapsed());
    let wait = match write_time(shown.as_ref(), &status, age) {
        WriteTime::Now => {
            write(&policy, &ctx, &status).await?;
            let drafts = [events::acceptance(&before, &status), events::conflict(&before, &status)];
            remember(&policy, &entry, status, checked.is_err(), &ctx);
            ctx.events.publish(&policy.object_ref(&()), drafts.into_iter().flatten().collect()).await;
            next
        }
        WriteTime::After(wait) => Some(next.map_or(wait, |next| next.min(wait))),
        WriteTime::Never => {
            if last.is_none() {
                remember(&policy, &entry, status, checked.is_err(), &ctx);
            }
            next
        }
    };
    entry.state().failures.reset();
    Ok(wait.map_or_else(Action::await_change, Action::requeue))
}

/// Evaluates a policy. Returns the new ledger if it changes, the events of its waves, and its status.
fn evaluate<R>(
    policy: &PluginPolicy,
    checked: &Result<CheckedPolicy, InvalidPolicy>,
    before: &PluginPolicyStatus,
    ledger: &WaveLedger,
    canary_counts: Arc<CanaryCounts>,
    now: Timestamp,
    ctx: &Context<R>,
) -> (Option<WaveLedger>, Vec<WaveEvent>, PolicyEvaluation) {
    let releases = ctx.releases.store.state();
    let matched = matched_hosts(checked, &ctx.hosts());
    let Cluster { seen, people_unknown, .. } = ctx.cluster.borrow().clone();
    let inputs = PolicyInputs::new(policy, checked, &releases, &matched, before, seen.uid.as_deref(), now)
        .people_unknown(people_unknown)
        .canary_counts(canary_counts)
        .conflicts(&ctx.conflicts.found())
        .last_seen(ctx.former_policies.last_seen(ledger.uid.as_deref()));
    inputs.decide(ledger)
}

/// Returns the wave ledger, from memory or from its ConfigMap. If it cannot be read, the policy's status reports this.
async fn ledger<R>(
    policy: &PluginPolicy,
    entry: &PolicyEntry,
    before: &PluginPolicyStatus,
    ctx: &Context<R>,
) -> Result<StoredLedger<WaveLedger>, ReconcileError> {
    if let Some(stored) = entry.state().ledger.clone() {
        return Ok(stored);
    }
    let error = match ctx.wave_ledgers.load(&policy.name_any()).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if matches!(error, StoreError::Unreadable { .. }) {
        let status = unreadable_ledger_status(policy, before, &error.to_string(), now());
        if status != *before {
            write(policy, ctx, &status).await?;
            remember(policy, entry, status, false, ctx);
        }
    }
    Err(error.into())
}

/// Writes the ledger if it changed, or has no ConfigMap although it needs one. If that fails, the ledger is read again.
async fn save_ledger<R>(
    entry: &PolicyEntry,
    name: &str,
    stored: StoredLedger<WaveLedger>,
    new_ledger: Option<WaveLedger>,
    has_rollout: bool,
    ctx: &Context<R>,
) -> Result<(), ReconcileError> {
    let stored = if new_ledger.is_some() || (has_rollout && stored.resource_version.is_none()) {
        entry.state().ledger = None;
        let ledger = new_ledger.unwrap_or(stored.ledger);
        ctx.wave_ledgers.save(name, StoredLedger { ledger, ..stored }).await?
    } else {
        stored
    };
    entry.state().ledger = Some(stored);
    Ok(())
}

async fn write<R>(policy: &PluginPolicy, ctx: &Context<R>, status: &PluginPolicyStatus) -> Result<(), ReconcileError> {
    let api: Api<PluginPolicy> = Api::all(ctx.client.clone());
    let written = apply::status(&api, &policy.name_any(), status).await;
    written.map_err(|error| ReconcileError::Status(Box::new(error)))?;
    ctx.metrics.status_writes.get_or_create(&KindLabel { kind: KIND }).inc();
    Ok(())
}

/// Keeps the status that the API server has now in memory.
fn remember<R>(
    policy: &PluginPolicy,
    entry: &PolicyEntry,
    status: PluginPolicyStatus,
    rejected: bool,
    ctx: &Context<R>,
) {
    let written = WrittenStatus { status, base: policy.resource_version() };
    entry.state().last = Some(LastStatus { written, at: Instant::now(), rejected });
    update_metrics(ctx);
}

fn update_metrics<R>(ctx: &Context<R>) {
    let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let (rejected, halted) = count(&ctx.policy_states);
    ctx.metrics.policies_rejected.set(gauge(rejected));
    ctx.metrics.waves_halted.set(gauge(halted));
}

/// Retries a failed reconciliation later. The ledger is read again.
#[allow(clippy::needless_pass_by_value)] // the signature that kube calls
pub(super) fn failed<R>(policy: Arc<PluginPolicy>, error: &ReconcileError, ctx: Arc<Context<R>>) -> Action {
    let name = policy.name_any();
    let entry = ctx.policy_states.get_or_insert_with(&name, |_| true, Arc::default);
    let failure = {
        let mut state = entry.state();
        state.ledger = None;
        state.failures.add()
    };
    retry_after(&ctx.metrics, KIND, &name, error, failure)
}

/// Forgets a deleted policy.
pub(super) fn deleted<R>(name: &str, ctx: &Context<R>) {
    ctx.policy_states.remove(name);
    update_metrics(ctx);
    ctx.policy_deleted.notify_one();
}
