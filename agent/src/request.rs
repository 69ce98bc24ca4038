//! What is asked of the store, and what came of it.

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{Component, PluginName, Tag},
        platform::Platform,
    },
};
use jiff::Timestamp;

use crate::store::StagedVersion;

/// One version to bring into the store. Chosen and permitted already: the store asks no policy.
#[derive(Debug, Clone)]
pub struct InstallRequest {
    /// The plugin.
    pub name: PluginName,
    /// The version, by the tag that is published.
    pub tag: Tag,
    /// What its layer is to be built for.
    pub platform: Platform,
    /// Its contract; a plugin that ships none has one with its name and version only.
    pub contract: Contract,
    /// SHA-256 of the compressed layer, by record or manifest. With it the receipt says `digest`,
    /// without it `transport`.
    pub expect_layer: Option<Digest>,
    /// The manifest that names the layer, for the receipt.
    pub manifest: Option<Digest>,
    /// A layer digest that a person accepted although this store remembers the version otherwise.
    pub accept: Option<Digest>,
    /// Bring it again although the version is on disk.
    pub force: bool,
    /// Where the bytes come from, for the receipt: the proxy's host.
    pub source: String,
    /// Cluster requirements were waived by hand, for the receipt.
    pub skipped_cluster_checks: bool,
    /// Now.
    pub now: Timestamp,
}

/// The bytes to fetch.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Whose.
    pub component: Component,
    /// Of which version, by the tag that is published.
    pub tag: Tag,
    /// What the layer is to be built for.
    pub platform: Platform,
    /// SHA-256 of the compressed layer, if somebody vouches for one.
    pub expect_layer: Option<Digest>,
}

impl InstallRequest {
    /// The bytes it needs.
    pub fn artifact(&self) -> Artifact {
        Artifact {
            component: self.name.clone().into(),
            tag: self.tag.clone(),
            platform: self.platform.clone(),
            expect_layer: self.expect_layer.clone(),
        }
    }
}

/// One step of a plan. Dependencies come first.
#[derive(Debug)]
// A plan has a handful of them, and a box would be in every caller's way.
#[allow(clippy::large_enum_variant)]
pub enum StoreChange {
    /// Switch to what was staged.
    Install(StagedVersion),
    /// Switch to a version that is on disk.
    Relink {
        /// The plugin.
        name: PluginName,
        /// The version.
        tag: Tag,
    },
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The plugin.
    pub name: PluginName,
    /// What is active now.
    pub tag: Tag,
    /// What was active before; `None` if nothing was, or nobody knows.
    pub previous: Option<Tag>,
    /// Whether there was anything to change.
    pub changed: bool,
}

/// What `prune` leaves beside the active version, the one before it and what a major link names.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Versions that a policy pins or a fallback needs.
    pub pinned: Vec<Tag>,
    /// How many others, newest first.
    pub others: usize,
}

impl Default for Retention {
    /// No pins, three others (design: "and three more").
    fn default() -> Self {
        Self { pinned: Vec::new(), others: 3 }
    }
}
