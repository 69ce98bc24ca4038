//! Requests to a store, and their results.

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{Component, PluginName, Tag},
        platform::Platform,
    },
};
use jiff::Timestamp;

/// A version of a plugin to install. The caller has selected and permitted it: the store evaluates no policies.
#[derive(Debug, Clone)]
pub struct InstallRequest {
    /// Name of the plugin.
    pub name: PluginName,
    /// Published tag of the version.
    pub tag: Tag,
    /// Platform that the layer must be built for.
    pub platform: Platform,
    /// Contract of the version. A plugin without a contract gets one with its name and version only.
    pub contract: Contract,
    /// SHA-256 of the compressed layer, from a record or a manifest. With it the receipt says `digest`, without it
    /// `transport`.
    pub expect_layer: Option<Digest>,
    /// Digest of the manifest that names the layer, for the receipt.
    pub manifest: Option<Digest>,
    /// Digest of a layer that was accepted although the store has recorded another one for the version.
    pub accept: Option<Digest>,
    /// Whether to download the version even if it is on disk.
    pub force: bool,
    /// Host of the proxy, for the receipt.
    pub source: String,
    /// Whether the user skipped the check of the cluster's requirements, for the receipt.
    pub skipped_cluster_checks: bool,
    /// Time for the receipt.
    pub now: Timestamp,
}

/// A layer to download.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The component that the layer belongs to.
    pub component: Component,
    /// Published tag of the version.
    pub tag: Tag,
    /// Platform that the layer must be built for.
    pub platform: Platform,
    /// SHA-256 of the compressed layer, if a record or a manifest names it.
    pub expect_layer: Option<Digest>,
}

impl InstallRequest {
    /// Returns the layer to download.
    pub fn artifact(&self) -> Artifact {
        Artifact {
            component: self.name.clone().into(),
            tag: self.tag.clone(),
            platform: self.platform.clone(),
            expect_layer: self.expect_layer.clone(),
        }
    }
}

/// What a change did to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Name of the plugin.
    pub name: PluginName,
    /// Tag of the active version.
    pub tag: Tag,
    /// Tag of the version that was active before, if it is known.
    pub previous: Option<Tag>,
    /// Whether anything was changed.
    pub changed: bool,
}

/// What `prune` keeps in addition to the active version, the previous one and those that a major link names.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Versions that a policy pins or a fallback needs.
    pub pinned: Vec<Tag>,
    /// Number of other versions to keep, newest first.
    pub others: usize,
}

impl Default for Retention {
    /// No pins and three other versions.
    fn default() -> Self {
        Self { pinned: Vec::new(), others: 3 }
    }
}
