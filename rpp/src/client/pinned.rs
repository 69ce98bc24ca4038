//! The endpoints of a cluster's proxy after the comparison with the pin: only trusted keys verify their certificates.

use std::{collections::BTreeSet, time::SystemTime};

use d8_crds::values::digest::Digest;

use super::{discovery::DiscoveredEndpoints, endpoint::Endpoint};
use crate::{
    endpoint_pin::{EndpointIdentity, PinCheck, check_pin},
    error::Error,
    tls::authority,
};

/// Endpoints that a token may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedEndpoints {
    pub(super) endpoints: Vec<Endpoint>,
    /// The pin to store before a token is sent; `None`: the pin stays as it is.
    pub new_pin: Option<EndpointIdentity>,
    /// Keys that the cluster announces and that are not trusted. They verify nothing.
    pub untrusted: BTreeSet<Digest>,
}

impl DiscoveredEndpoints {
    /// Compares the endpoints with the pin. `server` is the address of the API server, for messages.
    ///
    /// # Errors
    /// [`Error::EndpointChanged`]. No request was sent to the proxy.
    pub fn check(mut self, server: &str, pinned: Option<&EndpointIdentity>) -> Result<PinnedEndpoints, Error> {
        // All endpoints inside of the cluster have the same authorities.
        let authorities = self.endpoints.iter().map(Endpoint::authorities).find(|all| !all.is_empty());
        let signed =
            pinned.map(|pinned| authority::signed_keys(pinned, authorities.unwrap_or_default(), SystemTime::now()));
        match check_pin(pinned, &self.identity, &signed.unwrap_or_default()) {
            PinCheck::Trusted { update, untrusted } => {
                let is_trusted = |key: &Digest| !untrusted.contains(key);
                self.endpoints.iter_mut().for_each(|endpoint| endpoint.retain_authorities(is_trusted));
                Ok(PinnedEndpoints { endpoints: self.endpoints, new_pin: update, untrusted })
            }
            PinCheck::Changed => Err(Error::EndpointChanged {
                server: server.to_owned(),
                pinned: Box::new(pinned.cloned().unwrap_or_default()),
                announced: Box::new(self.identity),
            }),
        }
    }
}
