//! Decides whether a cluster's proxy is still the one that was pinned on the first contact, and which keys verify its
//! certificates. Pure: the caller stores the pin.
//!
//! A person who can edit the ConfigMap or the Ingress of the proxy could send tokens to a host of their own. So the
//! public host and the keys of `ca.crt` are pinned on the first contact with a cluster. After that only pinned keys
//! verify certificates. A key that is added to `ca.crt` verifies nothing until a person trusts it or a pinned key
//! signs its certificate. Addresses inside of the cluster may change: a pinned key verifies them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use d8_crds::values::digest::Digest;
use serde::{Deserialize, Serialize};

/// The part of a proxy's addresses that decides who receives a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointIdentity {
    /// Host of the public endpoint, with the port if the URL has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// SHA-256 of the keys of the authorities for the endpoints inside of the cluster.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<Digest>,
    /// A certificate of each key: base64 of its DER. It verifies which new authorities this key signed, also when the
    /// cluster does not announce this key any more. Absent in pins of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<Digest, String>,
}

/// Annotation of the pin's ConfigMap, or of a `CliHost`: keys to accept, separated by commas. It names each key, so it accepts no later one.
pub const TRUST_CA: &str = "cli.deckhouse.io/trust-ca";
/// Annotation of the pin's ConfigMap, or of a `CliHost`: the public host to accept.
pub const TRUST_HOST: &str = "cli.deckhouse.io/trust-host";

/// What an admin accepts: keys, a host, or both. An empty part changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedIdentity {
    /// SHA-256 of the keys of authorities.
    pub keys: BTreeSet<Digest>,
    /// Host of the public endpoint in lower case, with the port if it has one.
    pub host: Option<String>,
}

impl AcceptedIdentity {
    /// Makes an identity. The host may be in upper case, as names of hosts have no case: it is compared in lower case.
    pub fn new(keys: impl IntoIterator<Item = Digest>, host: Option<&str>) -> Self {
        let host = host.map(str::trim).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase);
        Self { keys: keys.into_iter().collect(), host }
    }

    /// Reads the annotations. Returns the words that are not keys, too: they accept nothing.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let text = |key: &str| annotations.get(key).map(String::as_str).unwrap_or_default();
        let words = text(TRUST_CA).split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
        let (mut keys, mut malformed) = (BTreeSet::new(), Vec::new());
        for word in words {
            match word.parse::<Digest>() {
                Ok(key) => drop(keys.insert(key)),
                Err(_) => malformed.push(word.to_owned()),
            }
        }
        (Self::new(keys, Some(text(TRUST_HOST))), malformed)
    }

    /// Adds to a pin what is accepted and announced. The keys of the pin stay.
    pub fn add_to(&self, pin: &mut EndpointIdentity, announced: &EndpointIdentity) {
        pin.keys.extend(self.keys.intersection(&announced.keys).cloned());
        if self.host.is_some() && self.host == announced.host {
            pin.host.clone_from(&self.host);
        }
    }
}

/// The result of [`check_pin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinCheck {
    /// The host is the pinned one, and if keys are announced, at least one of them is trusted.
    Trusted {
        /// The pin to store from now on; `None`: the pin stays as it is.
        update: Option<EndpointIdentity>,
        /// Announced keys that are not trusted. They verify nothing.
        untrusted: BTreeSet<Digest>,
    },
    /// The host or all keys changed. Only a person can confirm that.
    Changed,
}

/// Compares the identity that a cluster announces with the pinned one. The first one is trusted. `signed` has the
/// announced keys whose certificates a pinned key signed.
pub fn check_pin(
    pinned: Option<&EndpointIdentity>,
    announced: &EndpointIdentity,
    signed: &BTreeSet<Digest>,
) -> PinCheck {
    let Some(pinned) = pinned.filter(|pinned| !pinned.is_empty()) else {
        let update = (!announced.is_empty()).then(|| announced.clone());
        return PinCheck::Trusted { update, untrusted: BTreeSet::new() };
    };
    let mut trusted = pinned.clone();
    trusted.keys.extend(announced.keys.intersection(signed).cloned());
    let same_host = announced.host.is_none() || announced.host == pinned.host;
    let known_key = announced.keys.is_empty() || !announced.keys.is_disjoint(&trusted.keys);
    if !(same_host && known_key) {
        return PinCheck::Changed;
    }
    for (key, certificate) in &announced.certificates {
        if trusted.keys.contains(key) {
            trusted.certificates.entry(key.clone()).or_insert_with(|| certificate.clone());
        }
    }
    let untrusted = announced.keys.difference(&trusted.keys).cloned().collect();
    PinCheck::Trusted { update: (trusted != *pinned).then_some(trusted), untrusted }
}

/// Returns the pin after a person accepted the announced identity. Its host and its keys replace the pinned ones. A
/// part that is not announced stays as it was.
pub fn accept(pinned: Option<&EndpointIdentity>, announced: &EndpointIdentity) -> EndpointIdentity {
    let pinned = pinned.cloned().unwrap_or_default();
    let keys = if announced.keys.is_empty() { &pinned } else { announced };
    EndpointIdentity {
        host: announced.host.clone().or_else(|| pinned.host.clone()),
        keys: keys.keys.clone(),
        certificates: keys.certificates.clone(),
    }
}

impl EndpointIdentity {
    /// Returns whether it has neither a host nor keys, so there is nothing to pin.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.keys.is_empty()
    }
}

/// Writes `host packages.example.com, keys sha256:…`.
impl fmt::Display for EndpointIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "host {host}")?,
            None => f.write_str("no public host")?,
        }
        if self.keys.is_empty() { Ok(()) } else { write!(f, ", keys {}", KeyList(&self.keys)) }
    }
}

/// Writes keys, separated by spaces.
#[derive(Debug)]
pub struct KeyList<'a>(pub &'a BTreeSet<Digest>);

impl fmt::Display for KeyList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            write!(f, "{}{key}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
