//! The process: what runs always, what runs while this instance leads, and how the process stops.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use d8_crds::records::{host::CliHost, policy::PluginPolicy, release::CliRelease};
use d8_rpp::{
    ClientOptions, Endpoint, Identity, KubeconfigSource, Prefer, Proxy, UnverifiedApiServer,
    connections::{self, ConnectionLimits},
    endpoint_pin::AcceptedIdentity,
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, runtime::reflector, runtime::watcher::Event};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    adapters::{
        cluster::{self, Cluster},
        http::router,
        lease,
        metrics::Metrics,
        proxy::{Connection, PinStore, Registry, Upstream},
        readiness::Readiness,
        watch as watches,
    },
    args::Args,
    controllers::{context::Context, leader},
};

/// The file in which a Pod finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside of a Pod.
const DEFAULT_NAMESPACE: &str = "d8-operator";
/// Names of the watches of our own kinds, for readiness and logs.
const RELEASES: &str = "clireleases";
const POLICIES: &str = "pluginpolicies";
const HOSTS: &str = "clihosts";

/// Why the operator stopped with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The endpoint or the CA file of the proxy is invalid.
    #[error("{0}")]
    Usage(#[source] Box<d8_rpp::Error>),
    /// There is no usable kubeconfig, and the process does not run in a Pod.
    #[error("{}", _0.describe())]
    Cluster(Box<d8_rpp::Error>),
    /// Anyone could answer for the API server, and would get the token of the operator.
    #[error("cluster: {0}; set `certificate-authority` of the cluster in the kubeconfig instead")]
    UnverifiedApiServer(#[from] UnverifiedApiServer),
    /// The process cannot listen on the address.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address that `--listen` names.
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The address could not be written to stdout.
    #[error("failed to write to stdout: {0}")]
    Stdout(#[source] std::io::Error),
    /// The process cannot receive signals.
    #[error("failed to receive signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl RunError {
    /// Returns 2 if an argument or a given file is the cause, otherwise 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Cluster(_) | Self::UnverifiedApiServer(_) => 2,
            Self::Listen { .. } | Self::Stdout(_) | Self::Signals(_) => 1,
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: Args) -> Result<(), RunError> {
    let options = ClientOptions {
        endpoint: args.rpp_endpoint.clone(),
        ca_file: args.rpp_ca_file.clone(),
        prefer: Prefer::Internal,
        ..ClientOptions::default()
    };
    check(&options)?;
    let cluster = |error| RunError::Cluster(Box::new(error));
    let access = KubeconfigSource::of_process(None).load().await.map_err(cluster)?;
    d8_rpp::verify_api_server(&access.config)?;
    let client = access.client().await.map_err(cluster)?;
    let lease_client = lease::client(&access).await.map_err(cluster)?;
    let namespace = args.namespace.unwrap_or_else(pod_namespace);

    let stopped = stop_signal()?;

    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::waiting_for(cluster::WATCHES.into_iter().chain([RELEASES, POLICIES, HOSTS]));
    let readiness = Arc::new(readiness);
    let router = router(readiness.clone(), metrics.clone());
    let limits = ConnectionLimits::default().internal().within_descriptors();
    let server = connections::serve(listen(args.listen)?, router, limits, metrics.connections.clone());
    let server = tokio::spawn(server.map_err(|source| RunError::Listen { address: args.listen, source })?);

    let (cluster_sender, cluster) = watch::channel(Cluster::unread());
    let (release_store, release_writer) = reflector::store();
    let (policy_store, policy_writer) = reflector::store();
    let settings = AcceptedIdentity::new(args.rpp_key, args.rpp_host.as_deref());
    let pins = PinStore::new(client.clone(), &namespace, settings);
    let connection = Connection::new(client.clone(), access, options, pins, metrics.clone());
    let upstream = Upstream::new(connection, metrics.clone());
    let stores = (release_store, policy_store);
    let ctx = Context::new(client.clone(), &namespace, args.identity.clone(), upstream, stores, cluster, metrics);
    let ctx = Arc::new(ctx);

    let (stop_sender, stop) = watch::channel(false);
    let (leading_sender, leading) = watch::channel(false);
    let election_ctx = ctx.clone();
    let election = tokio::spawn(async move {
        election_ctx.former_policies.led_until(lease::last_written(&lease_client, &namespace).await);
        lease::run_election(lease_client, &namespace, args.identity, leading_sender, stop).await;
    });

    tokio::select! {
        () = stopped => {}
        () = cluster::observe(client, &cluster_sender, &readiness) => {}
        () = watch_own_kinds(&ctx, release_writer, policy_writer, &readiness) => {}
        () = lead(ctx.clone(), leading, &readiness) => {}
    }
    ctx.release_states.clear();
    tracing::info!("stopping");
    stop_sender.send_replace(true);
    // Releasing the lease has a timeout of its own.
    let _ = election.await;
    server.abort();
    Ok(())
}

/// Returns a future that waits for SIGTERM or SIGINT. From now on, these signals do not end the process.
fn stop_signal() -> Result<impl Future<Output = ()>, RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Checks the endpoint and the CA file before the first request.
fn check(options: &ClientOptions) -> Result<(), RunError> {
    let usage = |error| RunError::Usage(Box::new(error));
    // This client only reads the CA file and sends nothing, so any endpoint can replace a missing one.
    let endpoint = Endpoint::explicit(options.endpoint.as_deref().unwrap_or("https://localhost")).map_err(usage)?;
    Proxy::new(vec![endpoint], Identity::anonymous(), options).map_err(usage).map(drop)
}

/// Runs the controllers whenever this instance leads. Returns at the end of the election.
async fn lead<R: Registry>(ctx: Arc<Context<R>>, mut leading: watch::Receiver<bool>, readiness: &Readiness) {
    readiness.wait().await;
    tracing::info!("every watch has listed its objects");
    while leading.wait_for(|leads| *leads).await.is_ok() {
        tracing::info!("started leading");
        ctx.metrics.leading.set(1);
        tokio::select! {
            () = leader::run(ctx.clone()) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
        }
        ctx.metrics.leading.set(0);
        // Another instance may write now, so everything is read again if this instance leads again.
        ctx.release_states.clear();
        ctx.policy_states.clear();
        tracing::warn!("stopped leading");
    }
}

/// Watches records, policies and hosts, and requests reconciliations.
async fn watch_own_kinds<R: Registry>(
    ctx: &Context<R>,
    releases: reflector::store::Writer<CliRelease>,
    policies: reflector::store::Writer<PluginPolicy>,
    readiness: &Readiness,
) {
    let client = &ctx.client;
    tokio::join!(
        watches::reflect(Api::all(client.clone()), releases, readiness, RELEASES, |event| {
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                ctx.releases.request(&object.name_any());
            }
            ctx.conflicts.changed.notify_one();
            // A deleted record may still be needed, and policies may permit more versions of a changed record.
            ctx.retention.changed.notify_one();
        }),
        watches::reflect(Api::all(client.clone()), policies, readiness, POLICIES, |event| {
            // No event tells of a policy that was deleted while the watch was interrupted.
            ctx.former_policies.apply(event, Timestamp::now()).iter().for_each(|name| ctx.policies.request(name));
            ctx.conflicts.changed.notify_one();
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                ctx.policies.request(&object.name_any());
            }
            ctx.retention.changed.notify_one();
        }),
        watches::events(Api::<CliHost>::all(client.clone()), readiness, HOSTS, |event| {
            if ctx.hosts().apply(event) {
                ctx.conflicts.changed.notify_one();
                ctx.retention.changed.notify_one();
                ctx.duplicate_hosts.notify_one();
            }
        }),
    );
}

/// Listens, and prints the address: with port 0, it contains the selected port.
fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    let failed = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{bound}").and_then(|()| stdout.flush()) {
        // Nobody reads the address.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(listener),
        written => written.map(|()| listener).map_err(RunError::Stdout),
    }
}

/// Returns the namespace of the Pod; outside of a Pod, [`DEFAULT_NAMESPACE`].
fn pod_namespace() -> String {
    match std::fs::read_to_string(NAMESPACE_FILE) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => DEFAULT_NAMESPACE.to_owned(),
    }
}
