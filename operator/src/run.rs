//! From start to end of the process: what runs always, what runs while leading, and how it stops.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use d8_crds::records::host::CliHost;
use d8_rpp::{ClientOptions, Endpoint, Identity, Prefer, Proxy};
use kube::{Api, Client, Config, ResourceExt as _, runtime::reflector, runtime::watcher::Event};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};

use crate::{
    args::Args,
    cluster::{self, Cluster},
    context::{Context, Kind},
    controllers,
    demand::Demand,
    events::Events,
    hosts::Hosts,
    leader,
    metrics::Metrics,
    policy,
    proxy::Upstream,
    release::book::Book,
    serve::{Readiness, router},
    watch as watches,
};

/// Where a Pod finds the namespace it runs in.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where nothing says otherwise.
const DEFAULT_NAMESPACE: &str = "d8-operator";
/// The watches of our own kinds, as readiness names them.
const RELEASES: &str = "clireleases";
const POLICIES: &str = "pluginpolicies";
const HOSTS: &str = "clihosts";

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was said of the proxy can't be used.
    #[error("{0}")]
    Usage(#[source] Box<d8_rpp::Error>),
    /// No kubeconfig and no Pod.
    #[error("cluster: {0}")]
    Config(#[from] Box<kube::config::InferConfigError>),
    /// A client could not be made.
    #[error("Kubernetes client: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals can't be waited for, or stdout is closed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// 2 for wrong usage, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: Args) -> Result<(), Error> {
    let options = ClientOptions {
        endpoint: args.rpp_endpoint.clone(),
        ca_file: args.rpp_ca_file.clone(),
        prefer: Prefer::Internal,
        ..ClientOptions::default()
    };
    check(&options)?;
    let config = Config::infer().await.map_err(Box::new)?;
    let client = Client::try_from(config.clone()).map_err(|e| Error::Client(Box::new(e)))?;
    let lease_client = leader::client(&config).map_err(|e| Error::Client(Box::new(e)))?;
    let namespace = args.namespace.clone().unwrap_or_else(own_namespace);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let metrics = Arc::new(Metrics::new());
    let own = [RELEASES, POLICIES, HOSTS];
    let readiness = Arc::new(Readiness::waiting_for(cluster::WATCHES.into_iter().chain(own)));
    let listener = listen(args.listen).await?;
    let router = router(readiness.clone(), metrics.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let (cluster_sender, cluster) = watch::channel(Cluster::unread());
    let (release_store, release_writer) = reflector::store();
    let (policy_store, policy_writer) = reflector::store();
    let ctx = Arc::new(Context {
        namespace: namespace.clone(),
        registry: Arc::new(Upstream::new(client.clone(), config, options, metrics.clone())),
        releases: Kind::new(release_store),
        policies: Kind::new(policy_store),
        hosts: Arc::new(Mutex::new(Hosts::default())),
        cluster,
        book: Book::default(),
        policy_book: policy::Book::default(),
        policies_went: Notify::default(),
        demand: Demand::default(),
        events: Events::new(client.clone(), args.identity.clone()),
        metrics: metrics.clone(),
        client: client.clone(),
    });

    let (stop_sender, stop) = watch::channel(false);
    let (leading_sender, leading) = watch::channel(false);
    let identity = args.identity.clone();
    let election = tokio::spawn(async move {
        leader::take_part(lease_client, &namespace, identity, leading_sender, stop).await;
    });

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = cluster::observe(client, &cluster_sender, &readiness) => {}
        () = follow_own_kinds(&ctx, release_writer, policy_writer, &readiness) => {}
        () = lead(ctx.clone(), leading, &readiness) => {}
    }
    ctx.book.clear();
    tracing::info!("stopping");
    stop_sender.send_replace(true);
    // It has its own limit of time.
    let _ = election.await;
    server.abort();
    Ok(())
}

/// Finds what is wrong with the endpoint and the CA file before anything is asked.
fn check(options: &ClientOptions) -> Result<(), Error> {
    let usage = |error| Error::Usage(Box::new(error));
    // Without an endpoint any will do: this client is made to read the CA file, and asks nothing.
    let endpoint = Endpoint::explicit(options.endpoint.as_deref().unwrap_or("https://localhost")).map_err(usage)?;
    Proxy::new(vec![endpoint], Identity::nobody(), options).map_err(usage).map(drop)
}

/// Acts whenever this instance leads, for ever.
async fn lead(ctx: Arc<Context<Upstream>>, mut leading: watch::Receiver<bool>, readiness: &Readiness) {
    readiness.ready().await;
    tracing::info!("every watch has listed");
    // It fails only when the election has ended: then the process ends too.
    while leading.wait_for(|leads| *leads).await.is_ok() {
        tracing::info!("leading");
        ctx.metrics.leading.set(1);
        tokio::select! {
            () = controllers::lead(ctx.clone()) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
        }
        ctx.metrics.leading.set(0);
        // Another may write now: what this one knows is read anew if it leads again.
        ctx.book.clear();
        ctx.policy_book.clear();
        tracing::warn!("not leading any more");
    }
}

/// Watches records, policies and hosts, and tells the controllers what changed.
async fn follow_own_kinds(
    ctx: &Context<Upstream>,
    releases: reflector::store::Writer<d8_crds::records::release::CliRelease>,
    policies: reflector::store::Writer<d8_crds::records::policy::PluginPolicy>,
    readiness: &Readiness,
) {
    let client = &ctx.client;
    tokio::join!(
        watches::reflect(Api::all(client.clone()), releases, readiness, RELEASES, |event| {
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                ctx.releases.queue.push(object.name_any());
            }
            // One that is gone may be needed still; of one that changed policies may permit more.
            ctx.demand.stirred.notify_one();
        }),
        watches::reflect(Api::all(client.clone()), policies, readiness, POLICIES, |event| {
            if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
                ctx.policies.queue.push(object.name_any());
            }
            ctx.demand.stirred.notify_one();
        }),
        watches::objects(Api::<CliHost>::all(client.clone()), readiness, HOSTS, |event| {
            if ctx.hosts.lock().unwrap_or_else(PoisonError::into_inner).apply(event) {
                ctx.demand.stirred.notify_one();
            }
        }),
    );
}

/// Listens, and says where: port 0 was replaced by a free one.
async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{bound}")?;
    stdout.flush()?;
    Ok(listener)
}

fn own_namespace() -> String {
    match std::fs::read_to_string(OWN_NAMESPACE) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => DEFAULT_NAMESPACE.to_owned(),
    }
}
