//! How files are named after clusters.

use std::fmt;

use d8_crds::values::digest::Digest;

/// Identifies a cluster by the URL of its API server and its CA. Usable as a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterKey(String);

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterKey {
    /// Builds the key from the kubeconfig's server and CA certificates in DER (`None`: the system's authorities).
    pub fn new(server: &str, ca: Option<&[Vec<u8>]>) -> Self {
        let mut bytes = server.trim_end_matches('/').as_bytes().to_vec();
        for certificate in ca.unwrap_or_default() {
            bytes.push(0);
            bytes.extend_from_slice(certificate);
        }
        Self(Digest::of(&bytes).short().to_owned())
    }
}
