//! What the leader does: runs both controllers, tells them what changed, and makes the records that
//! are needed.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError},
    time::Duration,
};

use d8_crds::records::{policy::PluginPolicy, release::CliRelease};
use futures::StreamExt as _;
use kube::runtime::{
    controller::{Config, Error, applier},
    reflector::ObjectRef,
};
use tokio::time::{sleep, timeout};

use crate::{
    context::Context,
    demand::Asked,
    policy,
    proxy::Registry,
    records::{self, KEEP},
    release::{self, now},
};

/// Objects of a kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// Changes of policies and hosts are gathered for so long before they are read.
const GATHER: Duration = Duration::from_millis(200);
/// And not read again for so long: with thousands of hosts something changes all the time.
const PACE: Duration = Duration::from_secs(1);
/// How often the records are looked at although nothing changed: some grow old enough to go.
const RECORDS_EVERY: Duration = Duration::from_hours(1);
/// And after a record could not be made.
const RECORDS_RETRY: Duration = Duration::from_secs(10);

/// Acts as the leader, for ever.
pub(crate) async fn lead<R: Registry>(ctx: Arc<Context<R>>) {
    // What policies ask decides what a record keeps: it is read before the first judgement.
    refresh(&ctx);
    ctx.releases.all();
    ctx.policies.all();
    tokio::join!(releases(ctx.clone()), policies(ctx.clone()), cluster(&ctx), demand(&ctx), sweep(&ctx));
}

async fn releases<R: Registry>(ctx: Arc<Context<R>>) {
    let queue = ctx.releases.queue.stream().map(|name| Ok::<_, Infallible>(ObjectRef::<CliRelease>::new(&name)));
    let store = ctx.releases.store.clone();
    let config = Config::default().concurrency(CONCURRENCY);
    applier(
        |record, ctx| Box::pin(release::reconcile(record, ctx)),
        release::failed,
        ctx.clone(),
        store,
        queue,
        config,
    )
    .for_each(|result| {
        if let Err(Error::ObjectNotFound(object)) = result {
            release::gone(&object.name, &ctx);
        }
        std::future::ready(())
    })
    .await;
}

async fn policies<R: Registry>(ctx: Arc<Context<R>>) {
    let queue = ctx.policies.queue.stream().map(|name| Ok::<_, Infallible>(ObjectRef::<PluginPolicy>::new(&name)));
    let store = ctx.policies.store.clone();
    let config = Config::default().concurrency(CONCURRENCY);
    applier(|policy, ctx| Box::pin(policy::reconcile(policy, ctx)), policy::failed, ctx.clone(), store, queue, config)
        .for_each(|result| {
            if let Err(Error::ObjectNotFound(object)) = result {
                policy::gone(&object.name, &ctx);
            }
            std::future::ready(())
        })
        .await;
}

/// A change in the cluster is judged by every record, from memory.
async fn cluster<R: Registry>(ctx: &Context<R>) {
    let mut cluster = ctx.cluster.clone();
    // The sender lives as long as the process.
    while cluster.changed().await.is_ok() {
        ctx.releases.all();
        ctx.policies.all();
    }
}

/// What policies and hosts ask: kept up to date, and met.
async fn demand<R: Registry>(ctx: &Context<R>) {
    let mut wait = Duration::ZERO;
    loop {
        // Either way it is time.
        let _ = timeout(wait, ctx.demand.stirred.notified()).await;
        sleep(GATHER).await;
        let asked = refresh(ctx);
        ctx.policies.all();
        wait = if meet(ctx, &asked).await { RECORDS_EVERY } else { RECORDS_RETRY };
        sleep(PACE).await;
    }
}

/// What was kept for policies that are gone goes, at the start for those that went meanwhile.
async fn sweep<R: Registry>(ctx: &Context<R>) {
    loop {
        let wait = match policy::sweep(ctx).await {
            Ok(()) => RECORDS_EVERY,
            Err(error) => {
                tracing::warn!(%error, "the ledgers of policies that are gone could not be removed");
                RECORDS_RETRY
            }
        };
        // Either way it is time.
        let _ = timeout(wait, ctx.policies_went.notified()).await;
    }
}

/// Reads what is asked now and has those records judged whose part of it changed.
fn refresh<R>(ctx: &Context<R>) -> Asked {
    let policies = ctx.policies.store.state();
    let active = ctx.hosts.lock().unwrap_or_else(PoisonError::into_inner).active();
    let asked = Asked::read(policies.iter().map(AsRef::as_ref), active);
    let names = ctx.releases.store.state().into_iter().filter_map(|record| record.metadata.name.clone());
    ctx.releases.queue.extend(ctx.demand.update(asked.clone(), names));
    asked
}

/// Makes and removes records; says whether all of it worked.
async fn meet<R>(ctx: &Context<R>, asked: &Asked) -> bool {
    let existing = ctx.releases.store.state();
    let steps = records::plan(existing.iter().map(AsRef::as_ref), asked.named(), |name| asked.needs(name), now(), KEEP);
    let mut all_well = true;
    for step in steps {
        if let Err(error) = records::execute(&ctx.client, step.clone()).await {
            tracing::warn!(?step, %error, "a record could not be made or removed");
            all_well = false;
        }
    }
    all_well
}
