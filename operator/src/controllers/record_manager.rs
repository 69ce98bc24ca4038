//! Keeps the retention up to date, and creates and deletes managed records.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{clock::now, context::Context};
use crate::{
    adapters::managed_releases::execute,
    decisions::{managed_releases::changes, retention::Retention},
};

/// Changes are collected for this time before the retention is read.
const COLLECT: Duration = Duration::from_millis(200);
/// Shortest time between two reads: with thousands of hosts, something changes all the time.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time between two reads: records that nothing needs must be deleted in time.
const MAX_INTERVAL: Duration = Duration::from_hours(1);
/// Time until a failed change of a record is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Creates, annotates and deletes managed records. Never returns.
pub(super) async fn run<R>(ctx: &Context<R>) {
    let mut wait = Duration::ZERO;
    loop {
        // Whether something changed or the time elapsed, the retention is read.
        let _ = timeout(wait, ctx.retention.changed.notified()).await;
        sleep(COLLECT).await;
        let retention = refresh_retention(ctx);
        ctx.policies.request_all();
        wait = if change_records(ctx, &retention).await { MAX_INTERVAL } else { RETRY };
        sleep(MIN_INTERVAL).await;
    }
}

/// Reads the retention, and requests the reconciliation of records whose retained versions changed.
pub(super) fn refresh_retention<R>(ctx: &Context<R>) -> Retention {
    let policies = ctx.policies.store.state();
    let active = ctx.hosts().active_versions();
    let retention = Retention::read(policies.iter().map(AsRef::as_ref), active);
    let names = ctx.releases.store.state().into_iter().filter_map(|record| record.metadata.name.clone());
    ctx.retention.replace(retention.clone(), names).iter().for_each(|name| ctx.releases.request(name));
    retention
}

/// Creates, annotates and deletes managed records. Returns whether every change succeeded.
async fn change_records<R>(ctx: &Context<R>, retention: &Retention) -> bool {
    let records = ctx.releases.store.state();
    let records = records.iter().map(AsRef::as_ref);
    let mut all_succeeded = true;
    for change in changes(records, retention.named(), |name| retention.needs(name), now()) {
        if let Err(error) = execute(&ctx.client, change.clone()).await {
            tracing::warn!(?change, %error, "a managed record could not be changed");
            all_succeeded = false;
        }
    }
    all_succeeded
}
