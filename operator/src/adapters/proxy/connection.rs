//! The connection to the proxy that is pinned. Before a token is sent, the announced proxy is compared with the pin,
//! and only pinned keys verify its certificate.

use std::sync::Arc;

use d8_rpp::{ClientOptions, ClusterAccess, Error as ProxyError, ErrorKind, PinnedEndpoints, Proxy};
use kube::Client;
use tokio::sync::Mutex;

use super::{FailureScope, PinStore, RegistryError};
use crate::{
    adapters::{configmap_store::StoreError, metrics::Metrics},
    decisions::{
        proxy_pin::{accept_command, effective_pin},
        release::observed::ENDPOINT_CHANGED,
    },
};

/// Reason of a poll that failed because the pin cannot be read.
const PIN_UNREADABLE: &str = "ProxyPinUnreadable";

/// The connection to the proxy of the cluster.
pub(crate) struct Connection {
    client: Client,
    access: ClusterAccess,
    options: ClientOptions,
    pins: PinStore,
    metrics: Arc<Metrics>,
    /// Absent before the first request, and after the proxy could not be reached: it may have moved.
    current: Mutex<Option<Connected>>,
}

/// The proxy that requests are sent to.
struct Connected {
    proxy: Proxy,
    /// The endpoints of the last comparison with the pin.
    endpoints: PinnedEndpoints,
}

impl Connection {
    /// Makes a connection; sends nothing yet.
    pub(crate) fn new(
        client: Client,
        access: ClusterAccess,
        options: ClientOptions,
        pins: PinStore,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, access, options, pins, metrics, current: Mutex::new(None) }
    }

    /// Returns the pinned proxy, as the last comparison found it.
    pub(super) async fn proxy(&self) -> Result<Proxy, RegistryError> {
        let current = self.current.lock().await.as_ref().map(|connected| connected.proxy.clone());
        match current {
            Some(proxy) => Ok(proxy),
            None => self.checked_proxy().await,
        }
    }

    /// Returns the pinned proxy, after a comparison: it may have moved or changed while the old one still answers.
    pub(super) async fn checked_proxy(&self) -> Result<Proxy, RegistryError> {
        let mut current = self.current.lock().await;
        match (self.pinned_endpoints().await, current.take()) {
            (Ok(endpoints), Some(connected)) if connected.endpoints == endpoints => {
                Ok(current.insert(connected).proxy.clone())
            }
            (Ok(endpoints), _) => {
                let connected = Proxy::connect_to(endpoints.clone(), &self.access, &self.options);
                let proxy = connected.map_err(|error| RegistryError::from(&error))?;
                Ok(current.insert(Connected { proxy, endpoints }).proxy.clone())
            }
            // The last comparison holds while the cluster does not answer.
            (Err(error), Some(connected)) if !needs_a_person(&error) => {
                tracing::debug!(error.message, "the announced proxy could not be compared with the pin");
                Ok(current.insert(connected).proxy.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Converts an error of a request. Looks up the proxy again before the next request if it may have moved.
    pub(super) async fn failed(&self, error: ProxyError) -> RegistryError {
        if error.kind().is_reach() {
            *self.current.lock().await = None;
        }
        self.registry_error(&error)
    }

    /// Returns the endpoints that the pin permits. Stores the pin before it is used.
    async fn pinned_endpoints(&self) -> Result<PinnedEndpoints, RegistryError> {
        let client = std::future::ready(Ok(self.client.clone()));
        let found = Proxy::find(client, &self.access, &self.options).await;
        let found = found.map_err(|error| self.registry_error(&error))?;
        let stored = self.pins.load().await.map_err(|error| pin_error(&error))?;
        let pin = effective_pin(stored.pin.as_ref(), &self.pins.settings, &stored.accepted, &found.identity);
        let checked = found.check(&self.access.server(), pin.as_ref());
        let is_changed = matches!(&checked, Err(error) if error.kind() == ErrorKind::EndpointChanged);
        self.metrics.proxy_changed.set(is_changed.into());
        let mut endpoints = checked.map_err(|error| self.registry_error(&error))?;
        let untrusted = i64::try_from(endpoints.untrusted.len()).unwrap_or(i64::MAX);
        if self.metrics.proxy_untrusted_keys.set(untrusted) != untrusted && untrusted > 0 {
            let command = accept_command(&self.pins.namespace, &endpoints.untrusted, None).unwrap_or_default();
            tracing::warn!("the cluster announces keys of the proxy that are not trusted; to trust them: `{command}`");
        }
        // Removed from `endpoints`, so that the next comparison does not count a stored pin as a change.
        if let Some(new) = endpoints.new_pin.take().or(pin)
            && stored.pin.as_ref() != Some(&new)
        {
            self.pins.save(stored, &new).await.map_err(|error| pin_error(&error))?;
            tracing::info!("the proxy is pinned: {new}");
        }
        Ok(endpoints)
    }

    /// Converts an error. Adds the command that accepts another proxy.
    fn registry_error(&self, error: &ProxyError) -> RegistryError {
        let converted = RegistryError::from(error);
        let (keys, host) = match error {
            ProxyError::EndpointChanged { pinned, announced, .. } => {
                let keys = announced.keys.difference(&pinned.keys).cloned().collect();
                (keys, announced.host.as_deref().filter(|host| pinned.host.as_deref() != Some(host)))
            }
            ProxyError::UntrustedKey { announced, .. } => (announced.clone(), None),
            _ => return converted,
        };
        let Some(command) = accept_command(&self.pins.namespace, &keys, host) else { return converted };
        let message = format!("{}; if that is intended, run `{command}`", converted.message);
        RegistryError { message, ..converted }
    }
}

/// Returns whether an error of the comparison does not end by itself, so that no request may be sent.
fn needs_a_person(error: &RegistryError) -> bool {
    error.reason == ENDPOINT_CHANGED || error.reason == PIN_UNREADABLE
}

/// Converts an error of the ConfigMap. Without the pin nothing is sent to the proxy.
fn pin_error(error: &StoreError) -> RegistryError {
    let reason = match error {
        StoreError::Conflict(_) => "ProxyPinConflict",
        StoreError::Unreadable { .. } => PIN_UNREADABLE,
        StoreError::Api { .. } => "ProxyPinApi",
    };
    RegistryError { reason, message: error.to_string(), scope: FailureScope::Poll }
}
