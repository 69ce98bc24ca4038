//! Connections to the cluster and to its proxy.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use d8_agent::cluster::{ClusterKey, EndpointPins};
use d8_crds::values::digest::Digest;
use d8_rpp::{
    ClientOptions, ClusterAccess, EndpointIdentity, KubeconfigSource, Prefer, Proxy,
    endpoint_pin::{AcceptedIdentity, KeyList},
};

use super::{Context, kubeconfig};
use crate::terminal::{
    failure::{Code, Failure},
    output,
};

/// A client of the API server in the kubeconfig.
#[derive(Clone)]
pub(crate) struct ClusterClient {
    pub(crate) access: ClusterAccess,
    pub(crate) client: kube::Client,
    /// Key of the cluster in the policy cache and in the endpoint pins.
    pub(crate) key: ClusterKey,
}

impl ClusterClient {
    /// Sends no request; runs a credential plugin.
    ///
    /// # Errors
    /// The credential plugin or a certificate gives nothing usable.
    pub(super) async fn new(access: ClusterAccess) -> Result<Self, d8_rpp::Error> {
        let (key, client) = (kubeconfig::cluster_key(&access.config), access.client().await?);
        Ok(Self { access, client, key })
    }
}

impl Context {
    fn kubeconfig_source(&self) -> KubeconfigSource {
        KubeconfigSource {
            file: self.global.kubeconfig.clone(),
            list: std::env::var_os("KUBECONFIG"),
            home: self.home.clone(),
            context: self.global.context.clone(),
            insecure: self.global.insecure_skip_tls_verify,
        }
    }

    /// Returns the value of `KUBECONFIG` for a plugin whose contract asks for it.
    pub(crate) fn kubeconfig_for_plugin(&self) -> Option<OsString> {
        let flag = self.global.kubeconfig.clone().map(PathBuf::into_os_string);
        flag.or_else(|| std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()))
            .or_else(|| self.home.as_ref().map(|home| home.join(".kube/config").into_os_string()))
    }

    /// Loads the kubeconfig. Creates no client, because running a plugin needs none.
    pub(super) async fn access(&self) -> Result<&ClusterAccess, Failure> {
        self.access.get_or_try_init(|| async { kubeconfig::load(&self.kubeconfig_source()).await }).await
    }

    /// Returns the name of the cluster in the kubeconfig, or nothing if the kubeconfig was not loaded.
    pub(crate) fn cluster_name(&self) -> String {
        self.access.get().map(ClusterAccess::cluster_name).unwrap_or_default()
    }

    /// Returns the URL of the API server, or nothing if the kubeconfig was not loaded.
    pub(crate) fn server(&self) -> String {
        self.access.get().map(ClusterAccess::server).unwrap_or_default()
    }

    /// Returns a client of the cluster in the kubeconfig. Sends no request; runs a credential plugin.
    ///
    /// # Errors
    /// The kubeconfig is missing or invalid: exit 5.
    pub(crate) async fn cluster(&self) -> Result<&ClusterClient, Failure> {
        self.cluster
            .get_or_try_init(|| async {
                let access = self.access().await?.clone();
                Ok(ClusterClient::new(access).await?)
            })
            .await
    }

    /// Returns how to reach the proxy, by flags and environment.
    pub(crate) fn proxy_options(&self) -> ClientOptions {
        ClientOptions {
            endpoint: self.global.rpp_endpoint.clone(),
            ca_file: self.global.rpp_ca_file.clone(),
            insecure: self.global.rpp_insecure_skip_tls_verify || self.global.insecure_skip_tls_verify,
            prefer: Prefer::Public,
            ..ClientOptions::default()
        }
    }

    /// Returns a client for a watch, which may be silent for longer than the answer to a request.
    ///
    /// # Errors
    /// As [`Self::cluster`].
    pub(crate) async fn watch_client(&self) -> Result<kube::Client, Failure> {
        let access = kubeconfig::for_watch(self.access().await?.clone());
        Ok(access.client().await?)
    }

    /// Connects to the proxy. Finds it through the cluster unless a flag names its endpoint.
    ///
    /// # Errors
    /// [`d8_rpp::Error`]: exit 2 for flags that exclude each other, else 5.
    pub(crate) async fn proxy(&self) -> Result<&Proxy, Failure> {
        self.proxy
            .get_or_try_init(|| async {
                let options = self.proxy_options();
                let cluster = self.cluster().await?;
                let server = cluster.access.server();
                let client = std::future::ready(Ok(cluster.client.clone()));
                let found = Proxy::find(client, &cluster.access, &options).await?;
                // An endpoint from a flag is not announced by the cluster, so there is nothing to compare with the pin.
                let stored = if options.endpoint.is_some() { None } else { self.pinned_endpoint(&cluster.key)? };
                let mut pinned = stored.clone();
                if let (Some(pinned), Some(accepted)) = (&mut pinned, self.accepted_proxy.get()) {
                    accepted.add_to(pinned, &found.identity);
                }
                let accepted = pinned.clone().filter(|_| pinned != stored);
                let endpoints = found.check(&server, pinned.as_ref())?;
                self.note_untrusted_keys(&endpoints.untrusted);
                if let Some(new_pin) = endpoints.new_pin.as_ref().or(accepted.as_ref()) {
                    self.save_pin(cluster, &server, new_pin);
                }
                let proxy = Proxy::connect_to(endpoints, &cluster.access, &options)?;
                Ok(proxy)
            })
            .await
    }

    /// Accepts a proxy that an admin named, if the cluster announces it.
    pub(crate) fn accept_proxy(&self, accepted: AcceptedIdentity) {
        let _ = self.accepted_proxy.set(accepted);
    }

    /// Notes that the cluster announces keys that verify nothing yet.
    fn note_untrusted_keys(&self, untrusted: &BTreeSet<Digest>) {
        if !untrusted.is_empty() {
            let keys = KeyList(untrusted);
            self.printer.note(format!("the cluster announces a key of its proxy that is not trusted: {keys}"));
            self.printer.note("the trusted key is used; if the admins confirm the new one: `d8 policy trust`");
        }
    }

    /// Stores the pin, unless it is not verified: then the keys are not proven.
    fn save_pin(&self, cluster: &ClusterClient, server: &str, new_pin: &EndpointIdentity) {
        if let Some(unverified) = self.unverified_connection() {
            tracing::debug!(%unverified, "the proxy is not pinned");
        } else if let Err(error) = self.endpoint_pins().save(&cluster.key, server, new_pin) {
            output::warn(format!("the proxy is not pinned, so the next command trusts any announced proxy: {error}"));
        }
    }

    /// Returns the pinned proxy endpoints of clusters.
    pub(crate) fn endpoint_pins(&self) -> EndpointPins {
        EndpointPins::below(self.state_roots())
    }

    /// Returns the pinned proxy endpoint of a cluster.
    ///
    /// # Errors
    /// The pin cannot be read. Then the token must not be sent to any endpoint.
    fn pinned_endpoint(&self, key: &ClusterKey) -> Result<Option<EndpointIdentity>, Failure> {
        self.endpoint_pins().load(key).map_err(|error| {
            Failure::new(Code::Unreachable, "failed to read the pinned proxy of this cluster").caused_by(&error).advise(
                "the file is damaged, or a newer d8 wrote it",
                "review the proxy that the cluster announces now, and trust it: `d8 policy trust`",
            )
        })
    }
}
