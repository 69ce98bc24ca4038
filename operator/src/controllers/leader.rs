//! Runs the controllers while this instance leads.

use std::{convert::Infallible, sync::Arc};

use d8_crds::records::{policy::PluginPolicy, release::CliRelease};
use futures::{Stream, StreamExt as _};
use kube::runtime::{
    controller::{Config, Error, applier},
    reflector::ObjectRef,
};

use super::{conflicts, context::Context, duplicate_hosts, ledger_cleanup, policy, record_manager, release};
use crate::adapters::proxy::Registry;

/// Objects of a kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// Runs the controllers forever.
pub(crate) async fn run<R: Registry>(ctx: Arc<Context<R>>) {
    // The retention decides what a record keeps, so it is read before the first evaluation.
    record_manager::refresh_retention(&ctx);
    // A policy that is in conflict must not be reported as enforced meanwhile.
    conflicts::refresh(&ctx).await;
    let (release_requests, policy_requests) = (ctx.releases.open(), ctx.policies.open());
    ctx.releases.request_all();
    ctx.policies.request_all();
    tokio::join!(
        reconcile_releases(ctx.clone(), release_requests),
        reconcile_policies(ctx.clone(), policy_requests),
        follow_cluster(&ctx),
        record_manager::run(&ctx),
        ledger_cleanup::run(&ctx),
        conflicts::run(&ctx),
        duplicate_hosts::run(&ctx),
    );
}

async fn reconcile_releases<R: Registry>(
    ctx: Arc<Context<R>>,
    requests: impl Stream<Item = ObjectRef<CliRelease>> + Send + 'static,
) {
    applier(
        |record, ctx| Box::pin(release::reconcile(record, ctx)),
        release::failed,
        ctx.clone(),
        ctx.releases.store.clone(),
        requests.map(Ok::<_, Infallible>),
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|result| {
        if let Err(Error::ObjectNotFound(object)) = result {
            release::deleted(&object.name, &ctx);
        }
        std::future::ready(())
    })
    .await;
}

async fn reconcile_policies<R: Registry>(
    ctx: Arc<Context<R>>,
    requests: impl Stream<Item = ObjectRef<PluginPolicy>> + Send + 'static,
) {
    applier(
        |policy, ctx| Box::pin(policy::reconcile(policy, ctx)),
        policy::failed,
        ctx.clone(),
        ctx.policies.store.clone(),
        requests.map(Ok::<_, Infallible>),
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|result| {
        if let Err(Error::ObjectNotFound(object)) = result {
            policy::deleted(&object.name, &ctx);
        }
        std::future::ready(())
    })
    .await;
}

/// Reconciles all objects after each change of the cluster's facts.
async fn follow_cluster<R: Registry>(ctx: &Context<R>) {
    let mut cluster = ctx.cluster.clone();
    // It fails only at the end of the process, when the sender is dropped.
    while cluster.changed().await.is_ok() {
        ctx.releases.request_all();
        ctx.policies.request_all();
    }
}
