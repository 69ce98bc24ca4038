//! The three places in a cluster where the proxy can be found, asked one after the other.
//!
//! Only what the API says leads on: the object is not there, may not be read (the ConfigMap) or names
//! no address. Whatever keeps the API from answering would keep it from answering the next question.

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
use crate::{
    client::{
        endpoint::{Endpoint, Trust},
        options::ClientOptions,
    },
    endpoint_pin::EndpointIdentity,
    error::Error,
    protocol::cluster::{CONFIG_MAP, INGRESS, NAMESPACE, POD_SELECTOR, PORT},
    text::error_chain,
    tls,
};

/// The endpoints of a cluster's proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredEndpoints {
    /// Addresses, in the order to try.
    pub endpoints: Vec<Endpoint>,
    /// The part of the cluster's answer that is pinned, see [`crate::endpoint_pin`].
    pub announced: EndpointIdentity,
}

/// How long the Kubernetes API may take for each answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Finds the proxy through the Kubernetes API. `server` is the API server's address, for messages.
///
/// What stops discovery is an error that says so; an endpoint is never guessed.
pub async fn find(client: &Client, server: &str, options: &ClientOptions) -> Result<DiscoveredEndpoints, Error> {
    let cluster = Cluster { client, server, vouched: options.insecure || options.ca_file.is_some() };
    let mut nothing = Vec::new();
    let mut denied = false;
    let steps: [BoxFuture<'_, Step>; 3] =
        [cluster.config_map(options).boxed(), cluster.ingress().boxed(), cluster.pods().boxed()];
    for (number, step) in steps.into_iter().enumerate() {
        match step.await {
            Ok(found) => return Ok(found),
            Err(Refusal::Stops(error)) => return Err(error),
            Err(Refusal::Absent(why)) => nothing.push(why),
            Err(Refusal::Forbidden(why)) => {
                nothing.push(why);
                denied = true;
                // Only the ConfigMap: those who may not read it may know the older ways.
                if number > 0 {
                    break;
                }
            }
        }
    }
    Err(Error::Discovery { server: server.to_owned(), denied, why: nothing.join("; ") })
}

/// What a step came to: an address, or why there is none.
type Step = Result<DiscoveredEndpoints, Refusal>;

struct Cluster<'a> {
    client: &'a Client,
    server: &'a str,
    /// Something vouches for addresses that the cluster gives no authority for.
    vouched: bool,
}

/// Of the objects only what is read here: their whole types are large.
type Slim<S, T> = Object<S, T>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct IngressSpec {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Rule {
    host: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Cluster<'_> {
    fn failed(&self, why: String) -> Error {
        Error::Discovery { server: self.server.to_owned(), denied: false, why }
    }

    /// An answer in time, or why there is none. `name` is what is asked for.
    async fn ask<T>(&self, name: &str, question: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
        let stops = |error| Err(Refusal::Stops(error));
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => stops(self.failed(format!("the Kubernetes API did not answer within {} s", PATIENCE.as_secs()))),
            Ok(Err(kube::Error::Api(status))) => match status.code {
                401 => stops(Error::ClusterUnauthorized { server: self.server.to_owned() }),
                403 => Err(Refusal::Forbidden(format!("{name} may not be read with this identity"))),
                404 => Err(Refusal::Absent(format!("there is no {name}"))),
                _ => stops(self.failed(error_chain(&kube::Error::Api(status)))),
            },
            Ok(Err(kube::Error::Auth(error))) => stops(Error::Identity { why: error_chain(&error) }),
            Ok(Err(error)) => stops(match tls::certificate_problem(&error) {
                Some(problem) => Error::ClusterCertificate { server: self.server.to_owned(), problem },
                None => self.failed(error_chain(&error)),
            }),
        }
    }

    async fn config_map(&self, options: &ClientOptions) -> Step {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}");
        let map = self.ask(&name, maps.get(CONFIG_MAP)).await?;
        let data: BTreeMap<String, String> = map.data.unwrap_or_default();
        match config_map::read(&data, options.prefer, self.vouched) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Refusal::Absent(format!("{name} names no address that something vouches for"))),
            Err(why) => Err(Refusal::Stops(self.failed(format!("{name}: {why}")))),
        }
    }

    async fn ingress(&self) -> Step {
        let ingresses: Api<Slim<IngressSpec, NotUsed>> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::erase::<Ingress>(&()));
        let name = format!("Ingress {NAMESPACE}/{INGRESS}");
        let ingress = self.ask(&name, ingresses.get(INGRESS)).await?;
        // A rule for every host, or for all of a domain, names none that could be asked.
        let named = |rule: &Rule| !rule.host.is_empty() && !rule.host.starts_with('*');
        let Some(rule) = ingress.spec.rules.into_iter().find(named) else {
            return Err(Refusal::Absent(format!("{name} has no host")));
        };
        let endpoint = Endpoint::new(&format!("https://{}", rule.host), Trust::System)
            .map_err(|error| Refusal::Stops(self.failed(format!("{name}: {error}"))))?;
        let announced = EndpointIdentity { host: Some(endpoint.host()), ..EndpointIdentity::default() };
        Ok(DiscoveredEndpoints { endpoints: vec![endpoint], announced })
    }

    async fn pods(&self) -> Step {
        let pods: Api<Slim<NotUsed, PodStatus>> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::erase::<Pod>(&()));
        let name = format!("pods {POD_SELECTOR} in namespace {NAMESPACE}");
        let list = self.ask(&name, pods.list(&ListParams::default().labels(POD_SELECTOR))).await?;
        let Some(ip) = list.items.iter().find_map(serving) else {
            return Err(Refusal::Absent(format!("none of the {name} is ready")));
        };
        if !self.vouched {
            return Err(Refusal::Absent(format!(
                "a pod serves at {ip}, and nothing vouches for its certificate (--rpp-ca-file)"
            )));
        }
        let host = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let endpoint = Endpoint::new(&format!("https://{host}:{PORT}"), Trust::Only(Vec::new()))
            .map_err(|error| Refusal::Stops(self.failed(format!("{name}: {error}"))))?;
        Ok(DiscoveredEndpoints { endpoints: vec![endpoint], announced: EndpointIdentity::default() })
    }
}

/// The address of a Pod that takes requests.
fn serving(pod: &Slim<NotUsed, PodStatus>) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
    let serves = status.phase == "Running" && ready && pod.metadata.deletion_timestamp.is_none();
    if serves { status.pod_ip.parse().ok() } else { None }
}

/// Why a place gave no address.
enum Refusal {
    /// There is none.
    Absent(String),
    /// This identity may not look.
    Forbidden(String),
    /// Discovery ends here.
    Stops(Error),
}
