//! `PluginPolicy`: what admins allow. The operator says whether it understands a policy, where that leads
//! each component and how far its waves are; it halts a wave on which too many hosts fail. It never
//! changes a policy's spec.

mod book;
mod judge;
mod ledger;
mod ledger_store;
mod notes;
mod progress;
mod status;
mod waves;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use d8_crds::{
    decisions::validation::{CheckedPolicy, Rejection},
    records::policy::{PluginPolicy, PluginPolicyStatus},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::{controller::Action, reflector::ObjectRef},
};
use tokio::time::Instant;

pub(crate) use self::book::Book;
use self::{
    book::{Last, Stored},
    judge::{Outcome, Situation, judge},
    ledger::Ledger,
    status::{Due, due},
};
use crate::{
    apply, backoff,
    context::Context,
    hosts::Matched,
    kept::StoreError,
    metrics::{FailureLabel, KindLabel},
    release::now,
};

/// As the metrics name it.
const KIND: &str = "PluginPolicy";
/// Between tries of a reconciliation that fails.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(2);
/// A policy is looked at again after so long at most, where something will change by itself.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// Why a policy could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The ledger of its waves could not be had or kept.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// The status could not be written.
    #[error("status: {0}")]
    Status(#[source] Box<kube::Error>),
}

impl Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Ledger(StoreError::Conflict(_)) => "LedgerConflict",
            Self::Ledger(StoreError::Unreadable { .. }) => "LedgerUnreadable",
            Self::Ledger(StoreError::Api { .. }) => "LedgerApi",
            Self::Status(_) => "StatusApi",
        }
    }
}

/// Read, judge, apply.
pub(crate) async fn reconcile<R>(policy: Arc<PluginPolicy>, ctx: Arc<Context<R>>) -> Result<Action, Error> {
    let name = policy.name_any();
    let last = ctx.policy_book.last(&name);
    // Until the watch has caught up with our own write, the policy shows what was before it.
    let shown = match &last {
        Some(last) if last.from == policy.resource_version() => Some(last.status.clone()),
        _ => policy.status.clone(),
    };
    let before = shown.clone().unwrap_or_default();
    let checked = CheckedPolicy::new(&policy);
    let ledgers: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    let rolls = checked.as_ref().is_ok_and(|checked| checked.rollout.is_some());
    let stored = if rolls { stored(&ledgers, &policy, &before, &ctx).await? } else { Stored::default() };

    let matched = matched(&checked, &ctx);
    let uid = ctx.cluster.borrow().seen.uid.clone();
    let mut ledger = stored.ledger.clone();
    let now = now();
    let situation = Situation {
        policy: &policy,
        checked: &checked,
        releases: &ctx.releases.store.state(),
        matched: &matched,
        previous: &before,
        cluster_uid: uid.as_deref(),
        now,
    };
    let Outcome { status, news, next } = judge(&situation, &mut ledger);
    if rolls {
        keep(&ledgers, &name, stored, ledger, &ctx).await?;
        let notes = news.iter().map(|news| notes::wave(&name, news)).collect();
        ctx.events.publish(&policy.object_ref(&()), notes).await;
    }

    let again = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok()).map(|wait| wait.min(MAX_WAIT));
    let age = last.as_ref().map(|last| last.at.elapsed());
    let again = match due(shown.as_ref(), &status, age) {
        Due::Now => {
            write(&policy, &ctx, &status).await?;
            let note = notes::acceptance(&before, &status);
            note_write(&policy, &ctx, status, checked.is_err());
            ctx.events.publish(&policy.object_ref(&()), note.into_iter().collect()).await;
            again
        }
        Due::In(wait) => Some(again.map_or(wait, |again| again.min(wait))),
        Due::Never => {
            if last.is_none() {
                note_write(&policy, &ctx, status, checked.is_err());
            }
            again
        }
    };
    ctx.policy_book.succeeded(&name);
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// The hosts it selects; all where its selector is bad.
fn matched<R>(checked: &Result<CheckedPolicy, Rejection>, ctx: &Context<R>) -> Matched {
    let hosts = ctx.hosts.lock().unwrap_or_else(PoisonError::into_inner);
    match checked {
        Ok(checked) => hosts.matched(|labels| checked.selector.matches(labels)),
        Err(rejected) => hosts.matched(|labels| rejected.selector.as_ref().is_none_or(|s| s.matches(labels))),
    }
}

/// The policy's ledger, from memory or as it is kept. One that can't be read is said in the policy.
async fn stored<R>(
    ledgers: &Api<ConfigMap>,
    policy: &PluginPolicy,
    before: &PluginPolicyStatus,
    ctx: &Context<R>,
) -> Result<Stored, Error> {
    let name = policy.name_any();
    if let Some(stored) = ctx.policy_book.ledger(&name) {
        return Ok(stored);
    }
    let error = match ledger_store::load(ledgers, &name).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if matches!(error, StoreError::Unreadable { .. }) {
        let status = status::blocked(policy, before, &error.to_string(), now());
        if status != *before {
            write(policy, ctx, &status).await?;
            note_write(policy, ctx, status, false);
        }
    }
    Err(error.into())
}

/// Writes the ledger where it changed. Until that is done, nobody knows what it says.
async fn keep<R>(
    ledgers: &Api<ConfigMap>,
    name: &str,
    stored: Stored,
    ledger: Ledger,
    ctx: &Context<R>,
) -> Result<(), Error> {
    let stored = if stored.resource_version.is_none() || ledger != stored.ledger {
        ctx.policy_book.set_ledger(name, None);
        ledger_store::store(ledgers, name, ledger, stored.resource_version).await?
    } else {
        stored
    };
    ctx.policy_book.set_ledger(name, Some(stored));
    Ok(())
}

async fn write<R>(policy: &PluginPolicy, ctx: &Context<R>, status: &PluginPolicyStatus) -> Result<(), Error> {
    let api: Api<PluginPolicy> = Api::all(ctx.client.clone());
    apply::status(&api, &policy.name_any(), status).await.map_err(|e| Error::Status(Box::new(e)))?;
    ctx.metrics.status_writes.get_or_create(&KindLabel { kind: KIND }).inc();
    Ok(())
}

/// Notes what the policy shows now, or will in a moment.
fn note_write<R>(policy: &PluginPolicy, ctx: &Context<R>, status: PluginPolicyStatus, rejected: bool) {
    let last = Last { status, from: policy.resource_version(), at: Instant::now(), rejected };
    ctx.policy_book.wrote(&policy.name_any(), last);
    measure(ctx);
}

fn measure<R>(ctx: &Context<R>) {
    ctx.metrics.policies_rejected.set(ctx.policy_book.rejected());
    ctx.metrics.waves_halted.set(ctx.policy_book.halted());
}

/// After a failure: again, later each time.
#[allow(clippy::needless_pass_by_value)] // the signature that kube-runtime calls
pub(crate) fn failed<R>(policy: Arc<PluginPolicy>, error: &Error, ctx: Arc<Context<R>>) -> Action {
    let name = policy.name_any();
    ctx.metrics.reconcile_failures.get_or_create(&FailureLabel { kind: KIND, reason: error.reason() }).inc();
    let failures = ctx.policy_book.failed(&name);
    tracing::warn!(name, %error, failures, "reconciliation failed, trying again");
    Action::requeue(backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random()))
}

/// Forgets a policy that is gone.
pub(crate) fn gone<R>(name: &str, ctx: &Context<R>) {
    ctx.policy_book.forget(name);
    measure(ctx);
    ctx.policies_went.notify_one();
}

/// Removes the ledgers of policies that are gone, and has those written again that were deleted.
pub(crate) async fn sweep<R>(ctx: &Context<R>) -> Result<(), kube::Error> {
    let ledgers: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    // Asked after the listing: a policy is there before its ledger is made.
    let is_there = |policy: &str| ctx.policies.store.get(&ObjectRef::new(policy)).is_some();
    let kept = ledger_store::sweep(&ledgers, is_there).await?;
    ctx.policies.queue.extend(ctx.policy_book.lost(|policy| kept.contains(policy)));
    Ok(())
}
