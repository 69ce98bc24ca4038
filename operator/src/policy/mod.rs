//! `PluginPolicy`: what admins allow. The operator says whether it understands a policy and what
//! becomes of it; it never changes one.

mod status;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use d8_crds::policy::{PluginPolicy, PluginPolicyStatus, checked::Checked};
use kube::{Api, Resource as _, ResourceExt as _, runtime::controller::Action};
use tokio::time::Instant;

use self::status::{Due, due, status};
use crate::{
    apply, backoff,
    context::Context,
    events::Note,
    metrics::{FailureLabel, KindLabel},
    release::now,
};

/// As the metrics name it.
const KIND: &str = "PluginPolicy";
/// Between tries of a reconciliation that fails.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_mins(2);

/// Why a policy could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The status could not be written.
    #[error("status: {0}")]
    Status(#[source] Box<kube::Error>),
}

/// What this process wrote to each policy.
#[derive(Default)]
pub(crate) struct Written(Mutex<HashMap<String, Last>>);

/// The last write to one policy.
#[derive(Clone)]
struct Last {
    status: PluginPolicyStatus,
    /// The resourceVersion of the policy that it was made from.
    from: Option<String>,
    at: Instant,
    rejected: bool,
    failures: u32,
}

impl Written {
    fn get(&self, name: &str) -> Option<Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &str, last: Last) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), last);
    }

    fn failed(&self, name: &str) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = all.get_mut(name) else { return 1 };
        last.failures = last.failures.saturating_add(1);
        last.failures
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn rejected(&self) -> i64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        i64::try_from(all.values().filter(|last| last.rejected).count()).unwrap_or(i64::MAX)
    }
}

/// Read, judge, apply.
pub(crate) async fn reconcile<R>(policy: Arc<PluginPolicy>, ctx: Arc<Context<R>>) -> Result<Action, Error> {
    let name = policy.name_any();
    let last = ctx.written.get(&name);
    // Until the watch has caught up with our own write, the policy shows what was before it.
    let shown = match &last {
        Some(last) if last.from == policy.resource_version() => Some(last.status.clone()),
        _ => policy.status.clone(),
    };
    let checked = Checked::new(&policy);
    let hosts = {
        let hosts = ctx.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match &checked {
            Ok(checked) => hosts.count(|labels| checked.selector.matches(labels)),
            Err(rejected) => hosts.count(|labels| rejected.selector.as_ref().is_none_or(|s| s.matches(labels))),
        }
    };
    let uid = ctx.cluster.borrow().seen.uid.clone();
    let before = shown.clone().unwrap_or_default();
    let status = status(&policy, &checked, uid.as_deref(), hosts, &before, now());
    let age = last.as_ref().map(|last| last.at.elapsed());
    let failures = 0;
    let rejected = checked.is_err();
    match due(shown.as_ref(), &status, age) {
        Due::Now => {}
        Due::In(wait) => return Ok(Action::requeue(wait)),
        Due::Never => {
            if last.is_none() {
                let from = policy.resource_version();
                ctx.written.set(&name, Last { status, from, at: Instant::now(), rejected, failures });
                ctx.metrics.policies_rejected.set(ctx.written.rejected());
            }
            return Ok(Action::await_change());
        }
    }
    let api: Api<PluginPolicy> = Api::all(ctx.client.clone());
    apply::status(&api, &name, &status).await.map_err(|e| Error::Status(Box::new(e)))?;
    ctx.metrics.status_writes.get_or_create(&KindLabel { kind: KIND }).inc();
    let note = news(&before, &status);
    let from = policy.resource_version();
    ctx.written.set(&name, Last { status, from, at: Instant::now(), rejected, failures });
    ctx.metrics.policies_rejected.set(ctx.written.rejected());
    ctx.events.publish(&policy.object_ref(&()), note.into_iter().collect()).await;
    Ok(Action::await_change())
}

/// A policy that is not accepted, or is again.
fn news(before: &PluginPolicyStatus, after: &PluginPolicyStatus) -> Option<Note> {
    let accepted = |status: &PluginPolicyStatus| status.conditions.iter().find(|c| c.type_ == "Accepted").cloned();
    let now = accepted(after)?;
    let old = accepted(before);
    let turned = old.as_ref().is_none_or(|old| old.status != now.status || old.message != now.message);
    match now.status.as_str() {
        "False" if turned => Some(Note::warning(&now.reason, "Accepted", now.message)),
        "True" if old.is_some_and(|old| old.status == "False") => {
            Some(Note::normal(&now.reason, "Accepted", now.message))
        }
        _ => None,
    }
}

/// After a failure: again, later each time.
#[allow(clippy::needless_pass_by_value)] // the signature that kube-runtime calls
pub(crate) fn failed<R>(policy: Arc<PluginPolicy>, error: &Error, ctx: Arc<Context<R>>) -> Action {
    let name = policy.name_any();
    ctx.metrics.reconcile_failures.get_or_create(&FailureLabel { kind: KIND, reason: "StatusApi" }).inc();
    let failures = ctx.written.failed(&name);
    tracing::warn!(name, %error, failures, "reconciliation failed, trying again");
    Action::requeue(backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random()))
}

/// Forgets a policy that is gone.
pub(crate) fn gone<R>(name: &str, ctx: &Context<R>) {
    ctx.written.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    ctx.metrics.policies_rejected.set(ctx.written.rejected());
}
