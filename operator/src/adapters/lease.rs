//! Leader election by a lease: one of several instances acts. The lease is renewed 5 s before it expires, and expires
//! 15 s after the last renewal.
//!
//! A leader that cannot renew the lease in time stops acting at once. Even so, two instances may write for a moment.
//! That is why ledgers are applied with their resourceVersion.

use std::time::Duration;

use d8_rpp::ClusterAccess;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Name of the lease.
const LEASE: &str = "d8-operator";
/// Time until a lease expires, in seconds.
const DURATION: u64 = 15;
/// Time between the renewal and the expiry of a lease, in seconds.
const GRACE: u64 = 5;
/// Time between two attempts while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// Timeout of a request about the lease, shorter than the time that is left at a renewal.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the release at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a client for the lease. Its requests time out before the lease expires.
pub(crate) async fn client(access: &ClusterAccess) -> Result<Client, d8_rpp::Error> {
    let mut access = access.clone();
    access.config.connect_timeout = Some(REQUEST_TIMEOUT);
    access.config.read_timeout = Some(REQUEST_TIMEOUT);
    access.client().await
}

/// Returns when some instance last wrote the lease: until then it led. `None`: there is no lease, or it cannot be read.
pub(crate) async fn last_written(client: &Client, namespace: &str) -> Option<Timestamp> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    match leases.get_metadata_opt(LEASE).await {
        // The last renewal is erased when the lease is released, so that it does not count.
        Ok(lease) => lease?.managed_fields().iter().filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max(),
        Err(error) => {
            tracing::warn!(%error, "the lease could not be read: it is not known when an instance last led");
            None
        }
    }
}

/// Takes part in the election until `stop` becomes true, then releases the lease. Sets `leading` to whether this
/// instance leads.
pub(crate) async fn run_election(
    client: Client,
    namespace: &str,
    identity: Option<String>,
    leading: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let identity = identity.unwrap_or_else(|| format!("d8-operator-{:016x}", rand::random::<u64>()));
    let params = LeaseParams::new(identity, DURATION, GRACE);
    let builder =
        || LeaseManagerBuilder::new(client.clone(), LEASE).with_namespace(namespace).with_parameters(params.clone());
    let mut manager: Option<LeaseManager> = None;
    let mut failing_since: Option<Instant> = None;
    loop {
        let state = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            state = next_state(&mut manager, &builder) => state,
        };
        match state {
            Ok(leads) => {
                failing_since = None;
                leading.send_replace(leads);
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be read or renewed");
                // A new manager also creates a lease that was deleted.
                manager = None;
                if failing_since.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(GRACE) {
                    leading.send_replace(false);
                }
                sleep(RETRY).await;
            }
        }
    }
    release(manager).await;
}

/// Waits until this instance starts or stops leading.
async fn next_state(
    manager: &mut Option<LeaseManager>,
    builder: &impl Fn() -> LeaseManagerBuilder,
) -> kube_lease_manager::Result<bool> {
    let manager = match manager {
        Some(manager) => manager,
        None => manager.insert(builder().build().await?),
    };
    manager.changed().await
}

async fn release(manager: Option<LeaseManager>) {
    let Some(manager) = manager else { return };
    match timeout(RELEASE_TIMEOUT, manager.release()).await {
        Ok(Ok(())) => tracing::info!("released the lease"),
        Ok(Err(error)) => tracing::warn!(%error, "the lease could not be released"),
        Err(_) => tracing::warn!("the lease could not be released in time"),
    }
}
