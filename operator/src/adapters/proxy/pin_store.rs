//! The pin of the proxy, in ConfigMap [`CONFIG_MAP`] of the operator's namespace. It survives restarts, and all
//! replicas read it.

use std::collections::BTreeMap;

use d8_rpp::{EndpointIdentity, endpoint_pin::AcceptedIdentity};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::{
    adapters::configmap_store::{self, StoreError},
    decisions::{
        labels::{MANAGED_BY, MANAGER},
        proxy_pin::{CONFIG_MAP, from_data, to_data},
    },
};

/// What the ConfigMap says.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredPin {
    /// The pin; absent before the first contact.
    pub(super) pin: Option<EndpointIdentity>,
    /// What its annotations accept.
    pub(super) accepted: AcceptedIdentity,
    /// Absent: there is no ConfigMap yet.
    resource_version: Option<String>,
}

/// Reads and writes the pin.
pub(crate) struct PinStore {
    api: Api<ConfigMap>,
    /// Namespace of the ConfigMap.
    pub(super) namespace: String,
    /// What the settings of the operator pin.
    pub(super) settings: AcceptedIdentity,
}

impl PinStore {
    /// Makes a store in the operator's namespace.
    pub(crate) fn new(client: Client, namespace: &str, settings: AcceptedIdentity) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned(), settings }
    }

    /// Reads the pin. A pin that cannot be read is an error: it does not count as the first contact.
    pub(super) async fn load(&self) -> Result<StoredPin, StoreError> {
        let loaded = configmap_store::load(&self.api, CONFIG_MAP).await?;
        let pin = from_data(&loaded.data).map_err(|why| StoreError::Unreadable {
            name: CONFIG_MAP.to_owned(),
            why,
            fallback: "the proxy that the cluster announces then",
        })?;
        let (accepted, malformed) = AcceptedIdentity::from_annotations(&loaded.annotations);
        if !malformed.is_empty() {
            tracing::warn!(?malformed, "annotations of ConfigMap {CONFIG_MAP} name no key: `sha256:` and 64 digits");
        }
        Ok(StoredPin { pin, accepted, resource_version: loaded.resource_version })
    }

    /// Writes a pin that was computed from `stored`. Fails if another instance wrote it meanwhile.
    pub(super) async fn save(&self, stored: StoredPin, pin: &EndpointIdentity) -> Result<(), StoreError> {
        let labels: BTreeMap<_, _> = [(MANAGED_BY.to_owned(), MANAGER.to_owned())].into();
        configmap_store::save(&self.api, CONFIG_MAP, labels, to_data(pin), stored.resource_version).await.map(drop)
    }
}
