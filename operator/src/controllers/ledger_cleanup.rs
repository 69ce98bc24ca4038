//! Deletes the wave ledgers of deleted policies, and restores wave ledgers that someone else deleted.

use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use tokio::time::timeout;

use super::context::Context;

/// Time between two cleanups.
const INTERVAL: Duration = Duration::from_hours(1);
/// Time until a failed cleanup is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Runs forever. The first cleanup also covers policies that were deleted while no instance led.
pub(super) async fn run<R>(ctx: &Context<R>) {
    loop {
        let wait = match clean_up(ctx).await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "the ledgers of deleted policies could not be deleted");
                RETRY
            }
        };
        // Whether a policy was deleted or the time elapsed, the cleanup runs.
        let _ = timeout(wait, ctx.policy_deleted.notified()).await;
    }
}

async fn clean_up<R>(ctx: &Context<R>) -> Result<(), kube::Error> {
    // Read after the listing: a policy exists before its ledger is created.
    let exists = |policy: &str| ctx.policies.store.get(&ObjectRef::new(policy)).is_some();
    let owners = ctx.wave_ledgers.delete_orphans(exists).await?;
    for (policy, entry) in ctx.policy_states.all() {
        // The reconciliation writes the ledger again from memory.
        if !owners.contains(&policy) && entry.state().forget_config_map() {
            ctx.policies.request(&policy);
        }
    }
    Ok(())
}
