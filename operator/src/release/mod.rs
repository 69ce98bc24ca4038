//! `CliRelease`: what one component has published, and what of it fits this cluster.
//!
//! Two loops a record: a poller that asks the proxy and keeps what it learns in memory, and the
//! reconciler, which judges from memory and writes. So a change in the cluster is judged at once,
//! however slow the proxy is.

pub(crate) mod book;
mod bounds;
pub(crate) mod conditions;
pub(crate) mod facts;
pub(crate) mod judge;
pub(crate) mod ledger;
mod ledger_store;
mod notes;
pub(crate) mod parts;
pub(crate) mod poll;
pub(crate) mod poller;
pub(crate) mod rules;
pub(crate) mod survey;
pub(crate) mod trim;
pub(crate) mod verdict;

use std::{sync::Arc, time::Duration};

use d8_crds::{
    decisions::requirements::check,
    records::{
        release::{CliRelease, CliReleaseStatus, Fit},
        requirements::Requirements,
    },
    values::name::Component,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Resource as _, ResourceExt as _, runtime::controller::Action};

use self::{
    book::{Entry, Stored},
    judge::{Case, Outcome, judge},
};
use crate::{
    apply, backoff,
    cluster::Cluster,
    context::Context,
    kept::StoreError,
    metrics::{ComponentLabel, FailureLabel, KindLabel},
    proxy::Registry,
};

/// Annotation on a record: a shrunken tag list of exactly so many tags is meant.
pub(crate) const ACCEPT_SHRINK: &str = "cli.deckhouse.io/accept-shrink";
/// Annotation on a record: any new value asks for a poll at once.
pub(crate) const POLL_REQUEST: &str = "cli.deckhouse.io/poll-requested";

/// As the metrics name it.
const KIND: &str = "CliRelease";
/// Between tries of a reconciliation that fails.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(2);

/// Why a record could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The ledger could not be had or kept.
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
pub(crate) async fn reconcile<R: Registry>(record: Arc<CliRelease>, ctx: Arc<Context<R>>) -> Result<Action, Error> {
    let name = record.name_any();
    let Ok(component) = name.parse::<Component>() else {
        // The API server refuses such names.
        return Ok(Action::await_change());
    };
    let entry = ctx.book.entry(&record, &component, |entry| poller::start(&ctx, entry));
    let ledgers: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    let stored = stored(&ledgers, &record, &entry, &ctx).await?;

    let mut ledger = stored.ledger.clone();
    let cluster = ctx.cluster.borrow().clone();
    let wanted = ctx.demand.wanted(&name);
    let outcome = decide(&entry, &wanted, &cluster, &mut ledger, now());

    let stored = if ledger == stored.ledger {
        stored
    } else {
        entry.state().ledger = None;
        ledger_store::store(&ledgers, &name, ledger, stored.resource_version).await?
    };
    entry.state().ledger = Some(stored);
    let before = write(&record, &entry, &outcome.status, &ctx).await?;
    if let Some(before) = before {
        ctx.events.publish(&record.object_ref(&()), notes::notes(&before, &outcome.status)).await;
    }
    settle(&entry, &outcome, &ctx);
    Ok(outcome.again.map_or_else(Action::await_change, Action::requeue))
}

/// The component's ledger, from memory or as it is kept. One that can't be read is said in the record.
async fn stored<R: Registry>(
    ledgers: &Api<ConfigMap>,
    record: &CliRelease,
    entry: &Entry,
    ctx: &Context<R>,
) -> Result<Stored, Error> {
    if let Some(stored) = entry.state().ledger.clone() {
        return Ok(stored);
    }
    let error = match ledger_store::load(ledgers, entry.component.name()).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if matches!(error, StoreError::Unreadable { .. }) {
        let status = {
            let state = entry.state();
            let generation = state.wish.generation;
            verdict::blocked(&state.status, generation, now(), "LedgerUnreadable", &error.to_string())
        };
        write(record, entry, &status, ctx).await?;
    }
    Err(error.into())
}

/// The judgement, from what is in memory.
fn decide(
    entry: &Entry,
    wanted: &survey::Wanted,
    cluster: &Cluster,
    ledger: &mut ledger::Ledger,
    now: Timestamp,
) -> Outcome {
    let state = entry.state();
    let observed = entry.observed();
    let checked = |requirements: &Requirements| {
        let findings = check(requirements, &cluster.facts);
        let reasons = findings.unmet.iter().chain(&findings.unchecked).cloned().collect();
        (findings.fit(), reasons)
    };
    let case = Case {
        component: &entry.component,
        generation: state.wish.generation,
        rules: state.wish.rules.as_ref(),
        previous: &state.status,
        observed: &observed,
        wanted,
        cluster: &cluster.seen,
        check: &checked,
        now,
    };
    judge(&case, ledger)
}

/// Writes the status if it differs from what is written; returns what it was before, if so.
async fn write<R: Registry>(
    record: &CliRelease,
    entry: &Entry,
    status: &CliReleaseStatus,
    ctx: &Context<R>,
) -> Result<Option<CliReleaseStatus>, Error> {
    {
        let state = entry.state();
        // Until the watch has caught up with our own write, the record shows what was before it.
        let lags = state.written_from == record.resource_version();
        let shown = if lags { Some(&state.status) } else { record.status.as_ref() };
        if shown == Some(status) && state.status == *status {
            return Ok(None);
        }
    }
    let api: Api<CliRelease> = Api::all(ctx.client.clone());
    apply::status(&api, &record.name_any(), status).await.map_err(|e| Error::Status(Box::new(e)))?;
    ctx.metrics.status_writes.get_or_create(&KindLabel { kind: KIND }).inc();
    let mut state = entry.state();
    state.written_from = record.resource_version();
    Ok(Some(std::mem::replace(&mut state.status, status.clone())))
}

/// What follows from a judgement that stands.
fn settle<R: Registry>(entry: &Entry, outcome: &Outcome, ctx: &Context<R>) {
    let mut observed = entry.observed();
    observed.prune(&outcome.status);
    let due = outcome.unread > 0 && observed.tags.is_some() && !observed.reading && observed.trouble.is_none();
    let last_sync = observed.synced;
    drop(observed);
    entry.state().failures = 0;
    if due {
        entry.wake.notify_one();
    }
    let label = ComponentLabel { component: entry.component.name().to_owned() };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let status = &outcome.status;
    let synced = conditions::reason(status, "Synced").is_some_and(|(truth, _)| truth == "True");
    ctx.metrics.synced.get_or_create(&label).set(synced.into());
    ctx.metrics.versions.get_or_create(&label).set(count(status.versions.len()));
    let fitting = status.versions.iter().filter(|v| v.fit == Fit::Fits && v.withdrawn.is_none()).count();
    ctx.metrics.fitting.get_or_create(&label).set(count(fitting));
    if let Some(at) = last_sync {
        ctx.metrics.last_sync.get_or_create(&label).set(at.as_second());
    }
}

/// After a failure: again, later each time.
#[allow(clippy::needless_pass_by_value)] // the signature that kube-runtime calls
pub(crate) fn failed<R: Registry>(record: Arc<CliRelease>, error: &Error, ctx: Arc<Context<R>>) -> Action {
    let name = record.name_any();
    let reason = error.reason();
    ctx.metrics.reconcile_failures.get_or_create(&FailureLabel { kind: KIND, reason }).inc();
    let failures = ctx.book.failed(&name);
    if failures == 1 {
        tracing::info!(name, %error, "reconciliation failed, trying again");
    } else {
        tracing::warn!(name, %error, failures, "reconciliation failed, trying again");
    }
    Action::requeue(backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random()))
}

/// Forgets a record that is gone.
pub(crate) fn gone<R: Registry>(name: &str, ctx: &Context<R>) {
    ctx.book.forget(name);
    ctx.metrics.forget(name);
}

/// Now, in whole seconds: the API keeps no fractions, and what was written must read back the same.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    now - SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()))
}
