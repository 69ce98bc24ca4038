//! What is remembered of a cluster's proxy, and what a change of it means. Pure; the caller keeps it.
//!
//! Whoever can edit the ConfigMap or the Ingress that says where the proxy is could lead tokens to a
//! host of their own. So the public host and the keys of `ca.crt` are remembered when a cluster is met
//! first. Addresses inside of the cluster may change: a remembered key vouches for them.

use std::{collections::BTreeSet, fmt};

use d8_crds::values::digest::Digest;
use serde::{Deserialize, Serialize};

/// What a cluster says of its proxy, as far as it decides where a token goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointIdentity {
    /// The public endpoint's host, with its port if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// SHA-256 of the keys that vouch for the endpoints inside of the cluster.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<Digest>,
}

/// What an announcement means to whoever remembers an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinCheck {
    /// Nothing new.
    Trusted,
    /// To be trusted, and to be remembered so from now on.
    Remember(EndpointIdentity),
    /// Another host, or none of the keys that are remembered: only a person may say that it is right.
    Changed,
}

/// Judges an announcement. A cluster that is met first is believed.
pub fn judge(remembered: Option<&EndpointIdentity>, announced: &EndpointIdentity) -> PinCheck {
    let Some(remembered) = remembered.filter(|remembered| !remembered.is_empty()) else {
        return if announced.is_empty() { PinCheck::Trusted } else { PinCheck::Remember(announced.clone()) };
    };
    let same_host = announced.host.is_none() || announced.host == remembered.host;
    let known_key = announced.keys.is_empty() || !announced.keys.is_disjoint(&remembered.keys);
    if !(same_host && known_key) {
        return PinCheck::Changed;
    }
    if announced.keys.is_subset(&remembered.keys) {
        return PinCheck::Trusted;
    }
    PinCheck::Remember(EndpointIdentity {
        host: remembered.host.clone(),
        keys: remembered.keys.union(&announced.keys).cloned().collect(),
    })
}

impl EndpointIdentity {
    /// Whether there is nothing in it to remember.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.keys.is_empty()
    }
}

/// `host packages.example.com, keys sha256:…`
impl fmt::Display for EndpointIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "host {host}")?,
            None => f.write_str("no public host")?,
        }
        let mut comma = if self.keys.is_empty() { "" } else { ", keys " };
        for key in &self.keys {
            write!(f, "{comma}{key}")?;
            comma = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `host a b`: a host, or `-`, and keys.
    fn announced(text: &str) -> EndpointIdentity {
        let mut words = text.split(' ');
        let host = words.next().filter(|host| *host != "-").map(str::to_owned);
        EndpointIdentity { host, keys: words.map(|key| Digest::of(key.as_bytes())).collect() }
    }

    #[test]
    fn what_a_change_means() {
        // Remembered, announced, and what is remembered then (none: nothing new) or that it changed.
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
            // A way that was not there before leads elsewhere, too.
            ("- a", "h a", Err(())),
            ("h", "h a", Err(())),
        ];
        for (remembered, said, expected) in cases {
            let verdict = judge(Some(&announced(remembered)), &announced(said));
            let expected = match expected {
                Ok(None) => PinCheck::Trusted,
                Ok(Some(then)) => PinCheck::Remember(announced(then)),
                Err(()) => PinCheck::Changed,
            };
            assert_eq!(verdict, expected, "{remembered} -> {said}");
        }
        assert_eq!(judge(None, &announced("h a")), PinCheck::Remember(announced("h a")));
    }

    #[test]
    fn shown_and_kept() {
        let both = announced("h a");
        assert!(both.to_string().starts_with("host h, keys sha256:"), "{both}");
        assert_eq!(announced("-").to_string(), "no public host");
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<EndpointIdentity>(&text).unwrap(), both);
        assert_eq!(serde_json::to_string(&announced("-")).unwrap(), "{}");
    }
}
