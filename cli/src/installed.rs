//! Plugins installed on this machine, in all roots. If two roots have a plugin, the first one counts.

use std::collections::BTreeMap;

use d8_agent::{ActiveVersion, PluginEntry, Store, StoreError};
use d8_crds::{
    decisions::{
        intent::Intent,
        verdict::{Candidate, HostPolicies, Reason},
    },
    records::{contract::Contract, release::CliRelease},
    values::{
        digest::Digest,
        name::{Component, PluginName},
        version::Version,
    },
};

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
    /// Returns the active version, if a receipt, the contract or the history names it. A damaged plugin is still
    /// installed: its version and the policies on updates count.
    pub(crate) fn version(&self) -> Option<Version> {
        if let ActiveVersion::Known(installed) = &self.entry.active {
            return Some(installed.version.clone());
        }
        let contract = self.store.contract(&self.entry.name).ok().flatten();
        let of_contract = contract.and_then(|contract| Version::parse(&contract.version).ok());
        of_contract.or_else(|| match &self.entry.active {
            ActiveVersion::Broken { tag: Some(tag), .. } => Version::parse(tag.as_str()).ok(),
            _ => None,
        })
    }

    /// Returns the version that policies are evaluated for. For a plugin that another tool installed only the major version
    /// may be known.
    fn version_for_policies(&self) -> Option<Version> {
        self.version().or_else(|| match &self.entry.active {
            ActiveVersion::Unknown { major, .. } => Version::parse(&format!("{major}.0.0")).ok(),
            _ => None,
        })
    }

    /// Returns why policies refuse to run the plugin, damaged or not. One that is denied is denied for every version.
    /// `record` has the layers of blocked versions.
    pub(crate) fn run_refusal(
        &self,
        context: &Context,
        policies: &HostPolicies<'_>,
        record: Option<&CliRelease>,
    ) -> Option<Reason> {
        let (component, digests) = (Component::Plugin(self.entry.name.clone()), self.digests());
        let Some(version) = self.version_for_policies() else { return policies.denied(&component) };
        let active = Candidate::new(policies.host(), &component, &version, Intent::Repair, context.now)
            .active_digests(&digests)
            .release(record);
        policies.run_allowed_for(&active).err().map(|reason| *reason)
    }

    /// Returns why policies forbid the active version, so that it must be replaced. It may still run. `record` is as for
    /// [`Self::run_refusal`].
    pub(crate) fn must_replace(
        &self,
        context: &Context,
        policies: &HostPolicies<'_>,
        record: Option<&CliRelease>,
    ) -> Option<Reason> {
        let (component, digests) = (Component::Plugin(self.entry.name.clone()), self.digests());
        let version = self.version()?;
        let active = Candidate::new(policies.host(), &component, &version, Intent::Update, context.now)
            .active_digests(&digests)
            .release(record);
        policies.guidance_for(&active).active_forbidden
    }

    /// Returns what is wrong with the installation, with the path, if it is damaged.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage_with(&self.store.contract(&self.entry.name))
    }

    /// Returns what is wrong with the installation, whose contract was read.
    pub(crate) fn damage_with(&self, contract: &Result<Option<Contract>, StoreError>) -> Option<String> {
        match (&self.entry.active, contract) {
            (ActiveVersion::Broken { why, .. }, _) => Some(why.clone()),
            (_, Ok(_)) => None,
            (_, Err(StoreError::Contract { path, why, .. })) => Some(format!("{}: {why}", path.display())),
            (_, Err(error)) => Some(error.to_string()),
        }
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
    find_in(&readable_stores(context), name)
}

fn find_in(stores: &[Store], name: &PluginName) -> Result<Option<InstalledPlugin>, Failure> {
    for store in stores {
        if let Some(entry) = store.get(name)? {
            return Ok(Some(InstalledPlugin { store: store.clone(), entry }));
        }
    }
    Ok(None)
}

/// Finds a plugin, and compares its executable with the receipt.
///
/// # Errors
/// A root cannot be read.
pub(crate) fn verify(context: &Context, name: &PluginName) -> Result<Option<InstalledPlugin>, Failure> {
    for store in readable_stores(context) {
        if let Some(entry) = store.verify(name)? {
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

/// Returns the names of all plugins, and reads no executable, receipt or contract. Leaves out a root that cannot be read,
/// without a warning.
pub(crate) fn names(context: &Context) -> Vec<PluginName> {
    let (stores, _) = context.roots().for_reading();
    stores.iter().flat_map(|store| store.names().unwrap_or_default()).collect()
}

/// Returns those of the named plugins that are installed. Reads no other plugin.
///
/// # Errors
/// A root cannot be read.
pub(crate) fn named<'a>(
    context: &Context,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<PluginName, InstalledPlugin>, Failure> {
    let stores = readable_stores(context);
    let mut found = BTreeMap::new();
    for name in names.filter_map(|name| name.parse::<PluginName>().ok()) {
        if let Some(plugin) = find_in(&stores, &name)? {
            found.insert(name, plugin);
        }
    }
    Ok(found)
}

/// Returns the stores, and warns about roots that cannot be used.
fn readable_stores(context: &Context) -> Vec<Store> {
    let (stores, unusable) = context.roots().for_reading();
    for error in unusable {
        output::warn(error);
    }
    stores
}
