//! Puts in order what a crash left behind: changes of several plugins half made, staging directories,
//! a plugin half installed or half removed, a contract that is ahead of its binary.

use std::{fs, io};

use d8_crds::values::name::{Component, PluginName};

use crate::{
    disk,
    error::StoreError,
    install_root::{
        layout::{CONTRACT, LOCK, PluginDir},
        lockfile,
        staging::{self, Orphan},
    },
    progress::{ProgressEvent, ProgressReporter},
    store::{LockedStore, journal::Journal, read},
};
use d8_crds::records::contract::Contract;

/// Largest contract, in bytes.
const CONTRACT_LIMIT: u64 = 4 * 1024 * 1024;

/// Repairs all that concerns the plugins locked, and sweeps what dead processes staged. A name: somebody
/// else is rolling back a change of that plugin now.
pub(super) fn all(locked: &mut LockedStore, reporter: &dyn ProgressReporter) -> Result<Option<PluginName>, StoreError> {
    let layout = locked.store.layout.clone();
    let folder = layout.staging();
    let found = staging::find(&layout).map_err(StoreError::io("read", &folder))?;
    for orphan in found.orphans {
        roll_back(locked, &orphan, reporter)?;
    }
    for busy in found.busy.iter().filter(|busy| *busy != locked.staging_dir()) {
        let journal = Journal::read(busy).ok().flatten().unwrap_or_default();
        let ours = journal.steps.iter().find(|step| locked.names().any(|name| *name == step.name));
        if let Some(step) = ours {
            return Ok(Some(step.name.clone()));
        }
    }
    for name in locked.names().cloned().collect::<Vec<_>>() {
        plugin(locked, &layout.plugin(&name), reporter)?;
    }
    Ok(None)
}

/// Undoes a dead process's change. That its owner's flock is free makes us the only one to do so; that
/// whoever locks one of its plugins waits for it makes it safe for those that are not ours.
fn roll_back(locked: &LockedStore, orphan: &Orphan, reporter: &dyn ProgressReporter) -> Result<(), StoreError> {
    let failed = || StoreError::io("repair", &orphan.dir);
    match Journal::read(&orphan.dir) {
        Ok(Some(journal)) => {
            journal.undo(&orphan.dir, &locked.store.layout).map_err(failed())?;
            Journal::remove(&orphan.dir).map_err(failed())?;
            reporter.report(ProgressEvent::Repaired { what: "rolled back a change that was interrupted" });
        }
        Ok(None) => {}
        // It gets its name whole. Whatever this is, every binary that runs is.
        Err(error) => tracing::warn!(dir = %orphan.dir.display(), %error, "not a journal"),
    }
    // Another user's may stay.
    let _ = disk::remove_tree(&orphan.dir);
    Ok(())
}

fn plugin(locked: &mut LockedStore, plugin: &PluginDir, reporter: &dyn ProgressReporter) -> Result<(), StoreError> {
    let failed = || StoreError::io("repair", &plugin.dir);
    lockfile::sweep(&plugin.dir).map_err(failed())?;
    if disk::lstat(&plugin.current()).map_err(failed())?.is_none() {
        if clear(locked, plugin).map_err(failed())? {
            reporter.report(ProgressEvent::Repaired { what: "cleared an install or removal that was interrupted" });
        }
        return Ok(());
    }
    let Some(entry) = read::entry(plugin)? else { return Ok(()) };
    let Some(active) = entry.installed() else { return Ok(()) };
    // A crash between the switch and its notes.
    locked.note(plugin, None, &active.version, &active.receipt);
    let component = Component::Plugin(plugin.name.clone());
    let own = disk::read_small(&active.dir.join(CONTRACT), CONTRACT_LIMIT).map_err(failed())?;
    // An adopted version may have none; then the cache is the other tool's.
    let Some(own) = own else { return Ok(()) };
    let Ok(wanted) = Contract::from_cache(&own, &component) else { return Ok(()) };
    let cached = disk::read_small(&plugin.cached_contract(), CONTRACT_LIMIT).unwrap_or_default();
    if cached.as_deref() != Some(&own)
        && cached.and_then(|cached| Contract::from_cache(&cached, &component).ok()) != Some(wanted)
    {
        locked.check(&plugin.name)?;
        let staging = locked.staging_dir().to_owned();
        locked.cache_contract(plugin, Some(&own), &staging).map_err(failed())?;
        reporter.report(ProgressEvent::Repaired { what: "put back the contract of the active version" });
    }
    Ok(())
}

/// Takes away all that is in a plugin's directory but the lock. Without `current` it is no install.
fn clear(locked: &LockedStore, plugin: &PluginDir) -> io::Result<bool> {
    let trash = locked.staging_dir().join(format!("trash-{}-{}", plugin.name, disk::random_name()));
    disk::make_dir(&trash)?;
    let mut cleared = false;
    for found in fs::read_dir(&plugin.dir)? {
        let found = found?;
        if !found.file_name().to_string_lossy().starts_with(LOCK) {
            disk::rename(&found.path(), &trash.join(found.file_name()))?;
            cleared = true;
        }
    }
    if cleared {
        disk::sync_dir(&plugin.dir)?;
        let cached = plugin.cached_contract();
        if disk::unlink(&cached)?
            && let Some(folder) = cached.parent()
        {
            disk::sync_dir(folder)?;
        }
    }
    Ok(cleared)
}
