//! What the store knows of a version it holds, so that no binary has to be run to ask it.

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How the bytes were checked when they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// Against a layer digest from a record or a manifest.
    Digest,
    /// By the connection alone: the proxy gave no digest.
    Transport,
    /// The install of another tool; its bytes were not checked.
    Adopted,
}

impl Verified {
    /// The word in receipts and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Transport => "transport",
            Self::Adopted => "adopted",
        }
    }
}

/// `versions/<tag>/receipt.json`. Fields added later must have defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Whose it is.
    pub name: Component,
    /// The version, by the tag that was asked for.
    pub tag: Tag,
    /// What it was built for.
    pub platform: Platform,
    /// SHA-256 of the compressed layer; absent if adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// The manifest that names the layer, if one was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// SHA-256 of the executable.
    pub binary: Digest,
    /// Bytes of the executable.
    pub size: u64,
    /// Where the bytes came from.
    pub source: String,
    /// When.
    pub time: Timestamp,
    /// How they were checked.
    pub verified: Verified,
    /// Cluster requirements were waived by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped_cluster_checks: bool,
}

impl Receipt {
    /// The digests that pins and moved tags are told by: of its layer, its manifest.
    pub fn digests(&self) -> Vec<Digest> {
        self.layer.iter().chain(&self.manifest).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_as_it_was_written_and_tolerates_new_fields() {
        let receipt = Receipt {
            name: "hello".parse().unwrap(),
            tag: "v1.0.0".parse().unwrap(),
            platform: "linux-amd64".parse().unwrap(),
            layer: Some(Digest::of(b"layer")),
            manifest: None,
            binary: Digest::of(b"binary"),
            size: 6,
            source: "proxy.example".to_owned(),
            time: "2026-11-22T09:00:00Z".parse().unwrap(),
            verified: Verified::Digest,
            skipped_cluster_checks: false,
        };
        let mut json = serde_json::to_value(&receipt).unwrap();
        assert_eq!(json["verified"], "digest");
        json["signature"] = "later".into();
        assert_eq!(serde_json::from_value::<Receipt>(json).unwrap(), receipt);
    }
}
