//! Reads the facts of a cluster that requirements are checked against, in parallel.

use std::{collections::BTreeMap, future::Future, time::Duration};

use d8_crds::records::cluster::{ClusterFacts, Fact, ModuleState};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};

/// Limit for each fact.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Namespace and name of the Deployment of Deckhouse, and the annotation with its version.
const DECKHOUSE: (&str, &str, &str) = ("d8-system", "deckhouse", "core.deckhouse.io/version");

/// Reads the facts. A fact that cannot be read says why, and affects only the requirements that need it.
pub async fn cluster_facts(client: &Client) -> ClusterFacts {
    let (kubernetes, deckhouse, modules) = tokio::join!(kubernetes(client), deckhouse(client), modules(client));
    ClusterFacts {
        kubernetes: kubernetes.unwrap_or_else(|why| Fact::Unreadable(format!("the Kubernetes version: {why}"))),
        deckhouse: deckhouse.unwrap_or_else(|why| Fact::Unreadable(format!("the Deckhouse version: {why}"))),
        modules: modules.unwrap_or_else(|why| Fact::Unreadable(format!("the modules: {why}"))),
    }
}

/// Waits for the answer to a request, or returns why there is none.
async fn within_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        Ok(result) => result.map_err(|error| match error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        }),
    }
}

async fn kubernetes(client: &Client) -> Result<Fact<d8_crds::records::cluster::ClusterVersion>, String> {
    let version = within_timeout(client.apiserver_version()).await?;
    Ok(Fact::kubernetes(&version.git_version))
}

async fn deckhouse(client: &Client) -> Result<Fact<d8_crds::records::cluster::ClusterVersion>, String> {
    let (namespace, name, annotation) = DECKHOUSE;
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = within_timeout(api.get_metadata(name)).await?;
    let version = deployment.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
    Ok(Fact::deckhouse(version.map(String::as_str)))
}

async fn modules(client: &Client) -> Result<Fact<BTreeMap<String, ModuleState>>, String> {
    let kind =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("deckhouse.io", "v1alpha1", "Module"), "modules");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let list = within_timeout(api.list(&ListParams::default())).await?;
    let states = list.items.into_iter().filter_map(|object| {
        let object = serde_json::to_value(object).ok()?;
        ModuleState::from_object(&object)
    });
    Ok(Fact::Known(states.collect()))
}
