//! What a command works with: roots, the cluster's word, the proxy. Each is made when it is first
//! needed, so that a command that needs no cluster reads no kubeconfig.

mod kubeconfig;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use d8_agent::{
    Roots,
    cluster::{
        self, CachedPolicies, ClusterKey, ClusterView, EndpointPins, PolicyCache, RecordSelection, ViewError,
        ViewOrigin,
    },
    host_id,
    roots::HOME_ROOT,
};
use d8_crds::{decisions::verdict, records::cluster::ClusterFacts, values::platform::Platform};
use d8_rpp::{ClientOptions, EndpointIdentity, Prefer, Proxy};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use crate::{
    args::GlobalArgs,
    terminal::{
        failure::{Code, Failure},
        output::Printer,
    },
};

/// The API server of the kubeconfig, ready to be asked.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) config: kube::Config,
    pub(crate) client: kube::Client,
    pub(crate) key: ClusterKey,
}

/// One command's surroundings.
pub(crate) struct Context {
    pub(crate) global: GlobalArgs,
    pub(crate) printer: Printer,
    pub(crate) platform: Platform,
    /// The instant the command began: every decision of it is made for this one.
    pub(crate) now: Timestamp,
    labels: BTreeMap<String, String>,
    /// The id kept in a root; `None`: no change was made in it yet, so it comes last in waves.
    host_id: OnceLock<Option<String>>,
    home: Option<PathBuf>,
    config: OnceCell<kube::Config>,
    cluster: OnceCell<Cluster>,
    proxy: OnceCell<Proxy>,
    /// The cluster's facts, one snapshot for the whole command.
    pub(crate) facts: OnceCell<ClusterFacts>,
}

impl Context {
    pub(crate) fn new(global: GlobalArgs) -> Self {
        let platform = Platform::current();
        Self {
            printer: Printer { quiet: global.quiet },
            labels: verdict::workstation_labels(&platform),
            host_id: OnceLock::new(),
            platform,
            now: Timestamp::now(),
            home: d8_agent::roots::home(),
            config: OnceCell::new(),
            cluster: OnceCell::new(),
            proxy: OnceCell::new(),
            facts: OnceCell::new(),
            global,
        }
    }

    /// The host that policies select.
    pub(crate) fn host(&self) -> verdict::Host<'_> {
        let id = self.host_id.get_or_init(|| {
            let (stores, _) = self.roots().for_reading();
            stores.iter().find_map(|store| host_id::read(store.root()))
        });
        verdict::Host { id: id.as_deref().unwrap_or_default(), labels: &self.labels, new_root: id.is_none() }
    }

    /// The user's home.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The person's own root, where what clusters said is kept.
    pub(crate) fn own_root(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(HOME_ROOT))
    }

    /// Whether cluster requirements are waived.
    pub(crate) fn skips_cluster_checks(&self) -> bool {
        let by_variable = || {
            std::env::var("D8_PLUGINS_SKIP_CLUSTER_CHECKS")
                .is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
        };
        self.global.skip_cluster_checks || by_variable()
    }

    /// The roots that plugins are in: the configured one, then home's.
    pub(crate) fn roots(&self) -> Roots {
        Roots::new(self.global.plugins_dir.clone(), self.home.as_deref())
    }

    /// The kubeconfig as given by flags and environment.
    pub(crate) fn kubeconfig(&self) -> kubeconfig::Source {
        kubeconfig::Source {
            file: self.global.kubeconfig.clone(),
            list: std::env::var_os("KUBECONFIG"),
            home: self.home.clone(),
            context: self.global.context.clone(),
            insecure: self.global.insecure_skip_tls_verify,
        }
    }

    /// What `KUBECONFIG` is for a plugin that asks for it.
    pub(crate) fn kubeconfig_for_plugin(&self) -> Option<OsString> {
        let given = self.global.kubeconfig.clone().map(PathBuf::into_os_string);
        given
            .or_else(|| std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()))
            .or_else(|| self.home.as_ref().map(|home| home.join(".kube/config").into_os_string()))
    }

    /// The kubeconfig, read once. Makes no client: a plugin's start must not pay for one.
    async fn config(&self) -> Result<&kube::Config, Failure> {
        self.config.get_or_try_init(|| async { self.kubeconfig().load().await }).await
    }

    /// The cluster of the kubeconfig. Sends nothing.
    ///
    /// # Errors
    /// A kubeconfig that is missing or cannot be used: exit 5.
    pub(crate) async fn cluster(&self) -> Result<&Cluster, Failure> {
        self.cluster
            .get_or_try_init(|| async {
                let config = self.config().await?.clone();
                let key = kubeconfig::cluster_key(&config);
                let client = kube::Client::try_from(config.clone()).map_err(|error| {
                    Failure::new(Code::Unreachable, "the kubeconfig cannot be used")
                        .caused_by(&error)
                        .advise("its server, certificates or credentials are incomplete", "kubectl cluster-info")
                })?;
                Ok(Cluster { config, client, key })
            })
            .await
    }

    /// How to reach the proxy, as given by flags and environment.
    pub(crate) fn rpp_options(&self) -> ClientOptions {
        ClientOptions {
            endpoint: self.global.rpp_endpoint.clone(),
            ca_file: self.global.rpp_ca_file.clone(),
            insecure: self.global.rpp_insecure_skip_tls_verify || self.global.insecure_skip_tls_verify,
            prefer: Prefer::Public,
            ..ClientOptions::default()
        }
    }

    /// The proxy, found through the cluster unless its endpoint was given.
    ///
    /// # Errors
    /// [`d8_rpp::Error`]: exit 2 for flags that cannot be, else 5.
    pub(crate) async fn proxy(&self) -> Result<&Proxy, Failure> {
        self.proxy
            .get_or_try_init(|| async {
                let options = self.rpp_options();
                let cluster = self.cluster().await?;
                // An endpoint given by hand is nobody's word.
                let remembered = if options.endpoint.is_some() { None } else { self.remembered_proxy(&cluster.key)? };
                let client = || Ok(cluster.client.clone());
                let connected =
                    Proxy::connect_remembering(client, &cluster.config, &options, remembered.as_ref()).await?;
                let (proxy, remember) = connected;
                if let (Some(endpoints), Some(announced)) = (self.endpoints(), remember)
                    && let Err(error) =
                        endpoints.save(&cluster.key, &cluster.config.cluster_url.to_string(), &announced)
                {
                    tracing::warn!(%error, "the cluster's proxy could not be remembered");
                }
                Ok(proxy)
            })
            .await
    }

    /// Where the proxies of clusters are remembered: in the person's own root.
    pub(crate) fn endpoints(&self) -> Option<EndpointPins> {
        Some(EndpointPins::at(&self.own_root()?))
    }

    /// The proxy that is remembered of a cluster.
    ///
    /// # Errors
    /// What is remembered cannot be read: the token may not go anywhere then.
    pub(crate) fn remembered_proxy(&self, key: &ClusterKey) -> Result<Option<EndpointIdentity>, Failure> {
        let Some(endpoints) = self.endpoints() else { return Ok(None) };
        endpoints.load(key).map_err(|error| {
            Failure::new(Code::Unreachable, "the proxy that is remembered of this cluster cannot be read")
                .caused_by(&error)
                .advise(
                    "the file is damaged or of a newer d8",
                    "see what the cluster says now, and accept it: d8 policy trust",
                )
        })
    }

    /// Where a download may wait that is looked into before it is installed: the roots, as they have room
    /// for what is installed. A root that is not there yet is not made for it.
    pub(crate) fn spool(&self) -> Vec<PathBuf> {
        self.roots().for_reading().0.iter().map(|store| store.root().to_owned()).collect()
    }

    /// What the cluster says now, policies kept for later.
    ///
    /// # Errors
    /// The API server is away or refuses: exit 5.
    pub(crate) async fn view(&self, wanted: RecordSelection<'_>) -> Result<ClusterView, Failure> {
        let cluster = self.cluster().await?;
        let server = cluster.config.cluster_url.to_string();
        let cache = self.own_root().map(|root| PolicyCache::at(&root));
        // A copy that cannot be read is written anew by this very command.
        let cached = cache.as_ref().and_then(|cache| cache.load(&cluster.key).ok().flatten());
        let view = cluster::read(&cluster.client, wanted, cached.as_ref(), self.now)
            .await
            .map_err(|error| self.view_failure(&error))?;
        if let (Some(cache), ViewOrigin::Live | ViewOrigin::Ungoverned) = (&cache, view.origin) {
            let kept = CachedPolicies::new(&server, view.confirmed, view.policies.clone());
            if let Err(error) = cache.save(&cluster.key, &kept) {
                tracing::warn!(%error, "the policies could not be kept for runs without the cluster");
            }
        }
        Ok(view)
    }

    /// How it is told that the cluster's word could not be had.
    pub(crate) fn view_failure(&self, error: &ViewError) -> Failure {
        let server = self.config.get().map(|config| config.cluster_url.to_string()).unwrap_or_default();
        view_failure(&server, error)
    }

    /// The policies kept for runs without the cluster: those of the kubeconfig's cluster, or all if
    /// that is not known or nothing is kept of it.
    ///
    /// # Errors
    /// A kept copy that cannot be read: it may have forbidden anything.
    pub(crate) async fn kept_policies(&self) -> Result<Vec<CachedPolicies>, Failure> {
        let Some(cache) = self.kept() else { return Ok(Vec::new()) };
        if let Ok(config) = self.config().await
            && let Some(kept) = cache.load(&kubeconfig::cluster_key(config)).map_err(|e| unreadable_copy(&e))?
        {
            return Ok(vec![kept]);
        }
        cache.load_all().map_err(|error| unreadable_copy(&error))
    }

    /// The policies kept of all clusters, for what reads no kubeconfig.
    ///
    /// # Errors
    /// As [`Self::kept_policies`].
    pub(crate) fn all_kept_policies(&self) -> Result<Vec<CachedPolicies>, Failure> {
        let kept = self.kept().map(|cache| cache.load_all()).transpose();
        kept.map(Option::unwrap_or_default).map_err(|error| unreadable_copy(&error))
    }

    fn kept(&self) -> Option<PolicyCache> {
        let cache = PolicyCache::at(&self.own_root()?);
        cache.any().then_some(cache)
    }
}

fn unreadable_copy(error: &d8_agent::cluster::CacheError) -> Failure {
    Failure::new(Code::Refused, "the policies kept on this machine cannot be read").caused_by(error).advise(
        "the file is damaged or of a newer d8",
        format!("remove {} and run d8 plugins update all, which writes it anew", error.path.display()),
    )
}

fn view_failure(server: &str, error: &ViewError) -> Failure {
    let failure =
        Failure::new(Code::Unreachable, "the cluster's policies and records could not be read").caused_by(error);
    match error {
        ViewError::Unreadable { kind: "clihosts" } => failure.advise(
            "ordinary users may read policies and records, not hosts",
            "ask an admin for get and list on clihosts.cli.deckhouse.io",
        ),
        ViewError::Unreadable { .. } => failure.advise(
            "ClusterRole d8:cli:viewer lets everybody who is authenticated read them; its binding is missing",
            "kubectl create clusterrolebinding d8:cli:viewer --clusterrole=d8:cli:viewer --group=system:authenticated",
        ),
        ViewError::Unauthorized => failure.advise(
            "the kubeconfig's token is missing, wrong or has expired",
            format!("log in to {server} again, then: kubectl auth whoami"),
        ),
        ViewError::Unreachable { .. } => {
            failure.advise(format!("{server} does not answer, or not as an API server"), "kubectl cluster-info")
        }
    }
}
