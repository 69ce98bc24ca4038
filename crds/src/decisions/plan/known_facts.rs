//! The facts that a plan is made from, and requests for those that are missing.

use std::collections::BTreeMap;

use super::dependencies::Dependencies;
use crate::{
    decisions::{
        requirements::Findings,
        selection::{PublishedVersion, TagList},
    },
    values::{name::Component, version::Version},
};

/// What must be known of a version before it can be installed.
#[derive(Debug, Clone, Default)]
pub struct VersionFacts {
    /// The result of checking its requirements on the cluster.
    pub findings: Findings,
    /// Its requirements on other plugins.
    pub dependencies: Dependencies,
}

/// The facts known so far. An error is a printable message and is final: it ends every search that needs
/// the fact.
#[derive(Debug, Clone, Default)]
pub struct KnownFacts {
    /// The published versions, by component.
    pub tags: BTreeMap<Component, Result<TagList, String>>,
    /// The facts about single versions, by component.
    pub versions: BTreeMap<Component, BTreeMap<Version, Result<VersionFacts, String>>>,
}

impl KnownFacts {
    /// Adds the published versions of a component.
    pub fn insert_tags(&mut self, component: Component, tags: Result<TagList, String>) {
        self.tags.insert(component, tags);
    }

    /// Adds the facts about one version.
    pub fn insert_version(&mut self, component: Component, version: Version, facts: Result<VersionFacts, String>) {
        self.versions.entry(component).or_default().insert(version, facts);
    }

    /// Whether the requested fact is known.
    pub fn contains(&self, request: &FactRequest) -> bool {
        match request {
            FactRequest::Tags(component) => self.tags.contains_key(component),
            FactRequest::Contract { component, published } => self.version(component, &published.version).is_some(),
        }
    }

    pub(super) fn version(&self, component: &Component, version: &Version) -> Option<&Result<VersionFacts, String>> {
        self.versions.get(component)?.get(version)
    }
}

/// A fact that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactRequest {
    /// The published versions of a component.
    Tags(Component),
    /// The contract of a version, and the result of checking it against the cluster.
    Contract {
        /// The component that publishes the version.
        component: Component,
        /// The version, and the tag to read the contract from.
        published: PublishedVersion,
    },
}

impl FactRequest {
    /// Returns the key that orders requests: tags before contracts, by component and version.
    pub(super) fn key(&self) -> (&Component, Option<&Version>) {
        match self {
            Self::Tags(component) => (component, None),
            Self::Contract { component, published } => (component, Some(&published.version)),
        }
    }
}
