//! Installed plugins as the planner sees them.

use std::collections::BTreeMap;

use d8_agent::ActiveVersion;
use d8_crds::{
    decisions::plan::{Dependencies, InstalledComponent, InstalledContract, StoredDigests},
    records::release::CliRelease,
};

use crate::installed::InstalledPlugin;

/// Describes an installed plugin. If its cached contract cannot be read, uses the copy in the version directory, or the
/// requirements in the record.
pub(super) fn installed_component(
    plugin: &InstalledPlugin,
    records: &BTreeMap<String, CliRelease>,
) -> InstalledComponent {
    let name = &plugin.entry.name;
    let copy = || {
        let tag = match &plugin.entry.active {
            ActiveVersion::Known(installed) => Some(&installed.tag),
            ActiveVersion::Broken { tag, .. } => tag.as_ref(),
            ActiveVersion::Unknown { .. } => None,
        };
        let stored = tag.and_then(|tag| plugin.store.contract_of(name, tag).ok().flatten());
        let recorded = || Some(records.get(name.as_str())?.recorded(&plugin.version()?)?.requirements.clone());
        stored.map(|contract| contract.requirements).or_else(recorded)
    };
    let requirements = match plugin.store.contract(name) {
        Ok(contract) => Ok(contract.map(|contract| contract.requirements)),
        Err(error) => copy().map(Some).ok_or_else(|| error.to_string()),
    };
    let contract = match requirements {
        Ok(None) => InstalledContract::Known(Dependencies::default()),
        Ok(Some(requirements)) => Dependencies::read(&requirements.plugins)
            .map_or_else(|error| InstalledContract::Unreadable(error.to_string()), InstalledContract::Known),
        Err(why) => InstalledContract::Unreadable(why),
    };
    InstalledComponent { version: plugin.version(), contract }
}

/// Returns the digests in the receipts of a plugin, which pins and moved tags are compared with.
pub(super) fn stored_digests(plugin: &InstalledPlugin) -> StoredDigests {
    let once_active = |installed: &&d8_agent::InstalledVersion| plugin.entry.history.contains(&installed.tag);
    StoredDigests {
        active: plugin.digests(),
        stored: plugin
            .entry
            .versions
            .iter()
            .filter(once_active)
            .map(|installed| (installed.version.clone(), installed.receipt.digests()))
            .collect(),
        ..StoredDigests::default()
    }
}
