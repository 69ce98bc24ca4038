//! Finds the proxy through the Kubernetes API, in three objects that are read one after the other.
//!
//! The next object is read only if the API answered that the previous one does not exist, has no usable
//! address, or (for the ConfigMap) may not be read. Other errors end the search: they would repeat.

mod config_map;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod},
    networking::v1::Ingress,
};
use kube::{
    Api, Client,
    api::{ApiResource, ListParams, Object},
    core::NotUsed,
};
use serde::{Deserialize, Serialize};

pub use self::config_map::read as read_config_map;
use super::{
    endpoint::{Endpoint, Trust},
    options::ClientOptions,
};
use crate::{
    endpoint_pin::EndpointIdentity,
    error::Error,
    protocol::cluster::{CONFIG_MAP, INGRESS, NAMESPACE, POD_SELECTOR, PORT},
    text::error_chain,
};

/// The endpoints of a cluster's proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredEndpoints {
    /// Addresses, in the order to try.
    pub endpoints: Vec<Endpoint>,
    /// The part of the addresses that is pinned, see [`crate::endpoint_pin`].
    pub identity: EndpointIdentity,
}

/// Limit for each answer of the Kubernetes API.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Finds the proxy through the Kubernetes API. `server` is the address of the API server, for messages.
///
/// # Errors
/// The reason why no address was found. An address is never guessed.
pub(super) async fn find(client: &Client, server: &str, options: &ClientOptions) -> Result<DiscoveredEndpoints, Error> {
    let search = ProxySearch { client, server, verifiable: options.insecure || options.ca_file.is_some() };
    let mut reasons = Vec::new();
    let mut denied = None;
    let lookups: [BoxFuture<'_, Lookup>; 3] =
        [search.config_map(options).boxed(), search.ingress().boxed(), search.pods().boxed()];
    for (number, lookup) in lookups.into_iter().enumerate() {
        match lookup.await {
            Ok(found) => return Ok(found),
            Err(LookupError::Fatal(error)) => return Err(error),
            Err(LookupError::Absent(why)) => reasons.push(why),
            Err(LookupError::Forbidden { why, answer }) => {
                reasons.push(why);
                denied.get_or_insert(answer);
                // An identity that may not read the ConfigMap may be allowed to read the Ingress.
                if number > 0 {
                    break;
                }
            }
        }
    }
    Err(Error::Discovery { server: server.to_owned(), denied, why: reasons.join("; ") })
}

/// The result of reading one object: addresses, or why it gave none.
type Lookup = Result<DiscoveredEndpoints, LookupError>;

/// Why an object gave no address.
enum LookupError {
    /// It does not exist or has no usable address.
    Absent(String),
    /// This identity may not read it. `answer` is the message of the API server.
    Forbidden { why: String, answer: String },
    /// The search ends here.
    Fatal(Error),
}

struct ProxySearch<'a> {
    client: &'a Client,
    server: &'a str,
    /// Certificates of addresses without an authority can be verified, or are not verified.
    verifiable: bool,
}

/// Fields of an Ingress that are read here. The whole type is large.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct IngressSpec {
    rules: Vec<IngressRule>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct IngressRule {
    host: String,
}

/// Fields of a Pod that are read here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    conditions: Vec<PodCondition>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl ProxySearch<'_> {
    fn failed(&self, why: String) -> Error {
        Error::Discovery { server: self.server.to_owned(), denied: None, why }
    }

    /// Returns what a failed request means.
    fn explained(&self, error: &kube::Error) -> Error {
        Error::of_cluster(self.server, error).unwrap_or_else(|| self.failed(error_chain(error)))
    }

    /// Waits for the answer to `request`. `name` is the object, for messages.
    async fn read<T>(&self, name: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, LookupError> {
        let fatal = |error| Err(LookupError::Fatal(error));
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(object)) => Ok(object),
            Err(_) => fatal(self.failed(format!("the Kubernetes API did not answer within {} s", TIMEOUT.as_secs()))),
            Ok(Err(kube::Error::Api(status))) => match status.code {
                401 => fatal(Error::ClusterUnauthorized { server: self.server.to_owned() }),
                403 => {
                    let why = format!("this identity may not read {name}");
                    Err(LookupError::Forbidden { why, answer: status.message })
                }
                404 => Err(LookupError::Absent(format!("{name} not found"))),
                _ => fatal(self.explained(&kube::Error::Api(status))),
            },
            Ok(Err(error)) => fatal(self.explained(&error)),
        }
    }

    async fn config_map(&self, options: &ClientOptions) -> Lookup {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}");
        let map = self.read(&name, maps.get(CONFIG_MAP)).await?;
        let data: BTreeMap<String, String> = map.data.unwrap_or_default();
        match config_map::read(&data, options.prefer, self.verifiable) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(LookupError::Absent(format!("{name} has no address whose certificate can be verified"))),
            Err(why) => Err(LookupError::Fatal(self.failed(format!("{name}: {why}")))),
        }
    }

    async fn ingress(&self) -> Lookup {
        let ingresses: Api<Object<IngressSpec, NotUsed>> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::erase::<Ingress>(&()));
        let name = format!("Ingress {NAMESPACE}/{INGRESS}");
        let ingress = self.read(&name, ingresses.get(INGRESS)).await?;
        // A rule for all hosts, or for all hosts of a domain, names no host to connect to.
        let has_host = |rule: &IngressRule| !rule.host.is_empty() && !rule.host.starts_with('*');
        let Some(rule) = ingress.spec.rules.into_iter().find(has_host) else {
            return Err(LookupError::Absent(format!("{name} has no host")));
        };
        let endpoint = Endpoint::new(&format!("https://{}", rule.host), Trust::System)
            .map_err(|error| LookupError::Fatal(self.failed(format!("{name}: {error}"))))?;
        let identity = EndpointIdentity { host: Some(endpoint.host()), ..EndpointIdentity::default() };
        Ok(DiscoveredEndpoints { endpoints: vec![endpoint], identity })
    }

    async fn pods(&self) -> Lookup {
        let pods: Api<Object<NotUsed, PodStatus>> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::erase::<Pod>(&()));
        let name = format!("pods {POD_SELECTOR} in namespace {NAMESPACE}");
        let list = self.read(&name, pods.list(&ListParams::default().labels(POD_SELECTOR))).await?;
        let Some(ip) = list.items.iter().find_map(ready_ip) else {
            return Err(LookupError::Absent(format!("none of the {name} is ready")));
        };
        if !self.verifiable {
            return Err(LookupError::Absent(format!(
                "the certificate of the ready Pod at {ip} cannot be verified without --rpp-ca-file"
            )));
        }
        let host = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let endpoint = Endpoint::new(&format!("https://{host}:{PORT}"), Trust::Only(Vec::new()))
            .map_err(|error| LookupError::Fatal(self.failed(format!("{name}: {error}"))))?;
        Ok(DiscoveredEndpoints { endpoints: vec![endpoint], identity: EndpointIdentity::default() })
    }
}

/// Returns the address of a Pod that is ready and not being deleted.
fn ready_ip(pod: &Object<NotUsed, PodStatus>) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
    let serves = status.phase == "Running" && ready && pod.metadata.deletion_timestamp.is_none();
    if serves { status.pod_ip.parse().ok() } else { None }
}
