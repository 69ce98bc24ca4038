//! Plugins installed on this machine, in all roots. If two roots have a plugin, the first one counts.

use std::collections::BTreeMap;

use d8_agent::{ActiveVersion, PluginEntry, Store};
use d8_crds::values::{digest::Digest, name::PluginName, version::Version};

use crate::{
    context::Context,
    terminal::{failure::Failure, output},
};

/// An installed plugin and its store.
pub(crate) struct InstalledPlugin {
    pub(crate) store: Store,
    pub(crate) entry: PluginEntry,
}

impl InstalledPlugin {
    /// Returns the active version, if a receipt or the contract names it.
    pub(crate) fn version(&self) -> Option<Version> {
        match &self.entry.active {
            ActiveVersion::Known(installed) => Some(installed.version.clone()),
            // A damaged plugin is still installed: its major version and policies on updates count.
            ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. } => {
                let contract = self.store.contract(&self.entry.name).ok().flatten()?;
                Version::parse(&contract.version).ok()
            }
        }
    }

    /// Returns whether the installation is damaged.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.entry.active, ActiveVersion::Broken { .. })
    }

    /// Returns the digests in the receipt of the active version; none if there is no receipt.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.entry.installed().map(|installed| installed.receipt.digests()).unwrap_or_default()
    }
}

/// Finds a plugin.
///
/// # Errors
/// A root cannot be read.
pub(crate) fn find(context: &Context, name: &PluginName) -> Result<Option<InstalledPlugin>, Failure> {
    for store in readable_stores(context) {
        if let Some(entry) = store.get(name)? {
            return Ok(Some(InstalledPlugin { store, entry }));
        }
    }
    Ok(None)
}

/// Returns all plugins by name.
///
/// # Errors
/// A root cannot be read.
pub(crate) fn all(context: &Context) -> Result<BTreeMap<PluginName, InstalledPlugin>, Failure> {
    let mut all = BTreeMap::new();
    for store in readable_stores(context) {
        for entry in store.list()? {
            let store = store.clone();
            all.entry(entry.name.clone()).or_insert(InstalledPlugin { store, entry });
        }
    }
    Ok(all)
}

/// Returns the active version of each plugin, for requirements between plugins.
///
/// # Errors
/// A root cannot be read.
pub(crate) fn versions(context: &Context) -> Result<BTreeMap<PluginName, Option<Version>>, Failure> {
    Ok(all(context)?.into_iter().map(|(name, plugin)| (name, plugin.version())).collect())
}

/// Returns the stores, and warns about roots that cannot be used.
fn readable_stores(context: &Context) -> Vec<Store> {
    let (stores, unusable) = context.roots().for_reading();
    for error in unusable {
        output::warn(error);
    }
    stores
}
