//! Names of managed hosts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::name::{NameError, checked_text};
use crate::values::limits;

/// The namespace that has the ServiceAccount of each managed host. The chart creates it.
pub const NAMESPACE: &str = "d8-cli-hosts";

/// The name of a managed host, of its `CliHost`, its ServiceAccount and its Secret: a DNS label (RFC 1123), at most
/// [`limits::NAME`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);
checked_text!(HostName);

impl HostName {
    /// Returns the user as whom the API server knows the host: the value of `CliHost.spec.identity`.
    pub fn identity(&self) -> String {
        format!("system:serviceaccount:{NAMESPACE}:{self}")
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("host name", text, why));
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.len() > limits::NAME {
            return bad("it is longer than 63 bytes");
        }
        if text.starts_with('-') || text.ends_with('-') || !text.bytes().all(is_inner) {
            return bad("use lower-case letters, digits and `-` between them; for host.example.com: host");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for valid in ["a", "bastion-1", "7", &"a".repeat(63)] {
            assert_eq!(valid.parse::<HostName>().unwrap().as_str(), valid);
        }
        for invalid in ["", "-a", "a-", "A", "a.b", "a_b", "../x", "a b", "ä", "a\n", &"a".repeat(64)] {
            assert!(invalid.parse::<HostName>().is_err(), "{invalid:?}");
        }
        let name: HostName = "bastion-1".parse().unwrap();
        assert_eq!(name.identity(), "system:serviceaccount:d8-cli-hosts:bastion-1");
    }
}
