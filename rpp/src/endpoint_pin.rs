//! Decides whether a cluster's proxy is still the one that was pinned on the first contact. Pure: the caller
//! stores the pin.
//!
//! A person who can edit the ConfigMap or the Ingress of the proxy could send tokens to a host of their own.
//! So the public host and the keys of `ca.crt` are pinned on the first contact with a cluster. Addresses
//! inside of the cluster may change: a pinned key verifies them.

use std::{collections::BTreeSet, fmt};

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
}

/// The result of [`check_pin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinCheck {
    /// The identity is the pinned one.
    Trusted,
    /// The identity is trusted. The caller stores this pin.
    Update(EndpointIdentity),
    /// The host or all keys changed. Only a person can confirm that.
    Changed,
}

/// Compares the identity that a cluster announces with the pinned one. The first one is trusted.
pub fn check_pin(pinned: Option<&EndpointIdentity>, announced: &EndpointIdentity) -> PinCheck {
    let Some(pinned) = pinned.filter(|pinned| !pinned.is_empty()) else {
        return if announced.is_empty() { PinCheck::Trusted } else { PinCheck::Update(announced.clone()) };
    };
    let same_host = announced.host.is_none() || announced.host == pinned.host;
    let known_key = announced.keys.is_empty() || !announced.keys.is_disjoint(&pinned.keys);
    if !(same_host && known_key) {
        return PinCheck::Changed;
    }
    if announced.keys.is_subset(&pinned.keys) {
        return PinCheck::Trusted;
    }
    PinCheck::Update(EndpointIdentity {
        host: pinned.host.clone(),
        keys: pinned.keys.union(&announced.keys).cloned().collect(),
    })
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
        let mut separator = if self.keys.is_empty() { "" } else { ", keys " };
        for key in &self.keys {
            write!(f, "{separator}{key}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `host a b`: a host or `-`, then names of keys.
    fn identity(text: &str) -> EndpointIdentity {
        let mut words = text.split(' ');
        let host = words.next().filter(|host| *host != "-").map(str::to_owned);
        EndpointIdentity { host, keys: words.map(|key| Digest::of(key.as_bytes())).collect() }
    }

    #[test]
    fn changes_of_an_identity() {
        // Pinned, announced, and the new pin (`None`: no change) or an error if the change is refused.
        let cases = [
            ("-", "-", Ok(None)),
            ("-", "h", Ok(Some("h"))),
            ("-", "h a", Ok(Some("h a"))),
            ("-", "- a", Ok(Some("- a"))),
            ("h a", "h a", Ok(None)),
            ("h a", "h", Ok(None)),
            ("h a", "- a", Ok(None)),
            ("h a", "-", Ok(None)),
            ("h a b", "h a", Ok(None)),
            ("h a", "h a b", Ok(Some("h a b"))),
            ("h a b", "- b c", Ok(Some("h a b c"))),
            ("h", "other", Err(())),
            ("h a", "other a", Err(())),
            ("h a", "h:8443 a", Err(())),
            ("h a", "h b", Err(())),
            ("h a", "- b c", Err(())),
            // An endpoint that did not exist before may be somebody else's, too.
            ("- a", "h a", Err(())),
            ("h", "h a", Err(())),
        ];
        for (pinned, announced, expected) in cases {
            let check = check_pin(Some(&identity(pinned)), &identity(announced));
            let expected = match expected {
                Ok(None) => PinCheck::Trusted,
                Ok(Some(pin)) => PinCheck::Update(identity(pin)),
                Err(()) => PinCheck::Changed,
            };
            assert_eq!(check, expected, "{pinned} -> {announced}");
        }
        assert_eq!(check_pin(None, &identity("h a")), PinCheck::Update(identity("h a")));
    }

    #[test]
    fn text_and_json() {
        let both = identity("h a");
        assert!(both.to_string().starts_with("host h, keys sha256:"), "{both}");
        assert_eq!(identity("-").to_string(), "no public host");
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<EndpointIdentity>(&text).unwrap(), both);
        assert_eq!(serde_json::to_string(&identity("-")).unwrap(), "{}");
    }
}
