//! What this machine has of plugins, over both roots: the first root that has a name wins.

use std::collections::BTreeMap;

use d8_agent::{ActiveVersion, PluginEntry, Store};
use d8_crds::values::{name::PluginName, version::Version};

use crate::{
    context::Context,
    terminal::{failure::Failure, output},
};

/// An install and the store it is in.
pub(crate) struct Found {
    pub(crate) store: Store,
    pub(crate) entry: PluginEntry,
}

impl Found {
    /// The active version, where a receipt or the contract tells it.
    pub(crate) fn version(&self) -> Option<Version> {
        match &self.entry.active {
            ActiveVersion::Known(installed) => Some(installed.version.clone()),
            ActiveVersion::Unknown { .. } => {
                let contract = self.store.contract(&self.entry.name).ok().flatten()?;
                Version::parse(&contract.version).ok()
            }
            ActiveVersion::Broken { .. } => None,
        }
    }
}

/// One plugin.
///
/// # Errors
/// A root that cannot be read.
pub(crate) fn find(context: &Context, name: &PluginName) -> Result<Option<Found>, Failure> {
    for store in readable(context) {
        if let Some(entry) = store.get(name)? {
            return Ok(Some(Found { store, entry }));
        }
    }
    Ok(None)
}

/// All plugins, by name.
///
/// # Errors
/// A root that cannot be read.
pub(crate) fn all(context: &Context) -> Result<BTreeMap<PluginName, Found>, Failure> {
    let mut all = BTreeMap::new();
    for store in readable(context) {
        for entry in store.list()? {
            let store = store.clone();
            all.entry(entry.name.clone()).or_insert(Found { store, entry });
        }
    }
    Ok(all)
}

/// Their versions, for requirements among plugins.
///
/// # Errors
/// A root that cannot be read.
pub(crate) fn versions(context: &Context) -> Result<BTreeMap<PluginName, Option<Version>>, Failure> {
    Ok(all(context)?.into_iter().map(|(name, found)| (name, found.version())).collect())
}

/// The stores, warnings about those that may not be used told.
pub(crate) fn readable(context: &Context) -> Vec<Store> {
    let (stores, refused) = context.roots().for_reading();
    for error in refused {
        output::warn(error);
    }
    stores
}
