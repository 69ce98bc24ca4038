//! The receipt of a version on disk, so that no binary has to be run to learn its version.

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::disk::Checksum;

/// How the bytes of a version were verified when they were installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// Against the digest of the layer in a record or a manifest.
    Digest,
    /// By the connection only: the proxy gave no digest.
    Transport,
    /// Not at all: another tool installed the version, and it was adopted.
    Adopted,
}

impl Verified {
    /// Returns the name in receipts and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Transport => "transport",
            Self::Adopted => "adopted",
        }
    }
}

/// The content of `versions/<tag>/receipt.json`. A field that is added later must have a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The component that the executable belongs to.
    pub name: Component,
    /// Tag of the version as it was requested.
    pub tag: Tag,
    /// Platform that the executable was built for.
    pub platform: Platform,
    /// SHA-256 of the compressed layer; absent for an adopted version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Digest of the manifest that names the layer, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// SHA-256 of the executable.
    pub binary: Digest,
    /// Size of the executable, in bytes.
    pub size: u64,
    /// Modification time of the executable when it was installed. If the file has another one, its content may have
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Origin of the bytes: the host of the proxy, or the path of a file.
    pub source: String,
    /// Time of the installation.
    pub time: Timestamp,
    /// How the bytes were verified.
    pub verified: Verified,
    /// Whether the user skipped the check of the cluster's requirements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped_cluster_checks: bool,
    /// Capabilities that a d8 reported in its smoke test; absent for plugins, and where they were not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
}

impl Receipt {
    /// Returns the digests that pins and moved tags are compared with: of the layer and of the manifest.
    pub fn digests(&self) -> Vec<Digest> {
        self.layer.iter().chain(&self.manifest).cloned().collect()
    }

    /// Returns the content that the executable must have.
    pub(crate) fn executable(&self) -> Checksum {
        Checksum { digest: self.binary.clone(), size: self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_can_be_read_again_and_tolerates_new_fields() {
        let receipt = Receipt {
            name: "hello".parse().unwrap(),
            tag: "v1.0.0".parse().unwrap(),
            platform: "linux-amd64".parse().unwrap(),
            layer: Some(Digest::of(b"layer")),
            manifest: None,
            binary: Digest::of(b"binary"),
            size: 6,
            modified: Some("2026-11-22T08:59:59.123456789Z".parse().unwrap()),
            source: "proxy.example".to_owned(),
            time: "2026-11-22T09:00:00Z".parse().unwrap(),
            verified: Verified::Digest,
            skipped_cluster_checks: false,
            capabilities: None,
        };
        let mut json = serde_json::to_value(&receipt).unwrap();
        assert_eq!(json["verified"], "digest");
        json["signature"] = "later".into();
        assert_eq!(serde_json::from_value::<Receipt>(json).unwrap(), receipt);
    }
}
