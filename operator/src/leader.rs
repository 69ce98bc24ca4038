//! Leader election: of several instances one acts. A lease in the operator's namespace, renewed 5 s
//! before its end, free 15 s after the last renewal.
//!
//! A leader that can't renew in time stops acting at once. Even then two may write for a moment, which
//! is why the ledgers are applied with their resourceVersion.

use std::time::Duration;

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// The lease's name.
const LEASE: &str = "d8-operator";
/// How long a lease holds without a renewal, in seconds.
const DURATION: u64 = 15;
/// How long before its end it is renewed, in seconds.
const GRACE: u64 = 5;
/// Between tries while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// How long any single request about the lease may take: less than is left at a renewal.
const REQUEST: Duration = Duration::from_secs(3);
/// How long the release may take at the end.
const RELEASE: Duration = Duration::from_secs(5);

/// The client for the lease: one that gives up before the lease is lost.
pub(crate) fn client(config: &Config) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    config.connect_timeout = Some(REQUEST);
    config.read_timeout = Some(REQUEST);
    Client::try_from(config)
}

/// Takes part in the election until `stop` turns true, then releases the lease. `leading` says
/// whether this instance leads.
pub(crate) async fn take_part(
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
    let mut failing: Option<Instant> = None;
    loop {
        let state = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            state = changed(&mut manager, &builder) => state,
        };
        match state {
            Ok(leads) => {
                failing = None;
                leading.send_replace(leads);
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be read or renewed");
                // Also makes a deleted lease anew.
                manager = None;
                if failing.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(GRACE) {
                    leading.send_replace(false);
                }
                sleep(RETRY).await;
            }
        }
    }
    release(manager).await;
}

async fn changed(
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
    match timeout(RELEASE, manager.release()).await {
        Ok(Ok(())) => tracing::info!("released the lease"),
        Ok(Err(error)) => tracing::warn!(%error, "the lease could not be released"),
        Err(_) => tracing::warn!("releasing the lease took too long"),
    }
}
