//! Keeps the wave ledgers of deleted policies as long as they are needed, and restores wave ledgers that someone else
//! deleted.

use std::time::Duration;

use d8_crds::values::{name::Component, version::Version};
use kube::runtime::reflector::ObjectRef;
use tokio::time::timeout;

use super::{clock::now, context::Context};
use crate::{adapters::ledger_store::OrphanError, decisions::policy::ledger::WaveLedger};

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
                tracing::warn!(%error, "the ledgers of deleted policies could not be reduced");
                RETRY
            }
        };
        // Whether a policy was deleted or the time elapsed, the cleanup runs.
        let _ = timeout(wait, ctx.policy_deleted.notified()).await;
    }
}

async fn clean_up<R>(ctx: &Context<R>) -> Result<(), OrphanError> {
    // Read after the listing: a policy exists before its ledger is created.
    let exists = |policy: &str| ctx.policies.store.get(&ObjectRef::new(policy)).is_some();
    let now = now();
    let kept =
        |ledger: &WaveLedger| ledger.after_deletion(|component, version| is_recorded(ctx, component, version), now);
    let owners = ctx.wave_ledgers.reduce_orphans(exists, kept).await?;
    for (policy, entry) in ctx.policy_states.all() {
        // The reconciliation writes the ledger again from memory.
        if !owners.contains(&policy) && entry.state().forget_config_map() {
            ctx.policies.request(&policy);
        }
    }
    Ok(())
}

/// Returns whether the record of the component has the version.
fn is_recorded<R>(ctx: &Context<R>, component: &Component, version: &Version) -> bool {
    let record = ctx.releases.store.get(&ObjectRef::new(component.name()));
    record.is_some_and(|record| record.recorded(version).is_some())
}
