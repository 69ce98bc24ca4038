//! Repairs what a crash left: incomplete changes of several plugins, staging directories, a plugin that is partly
//! installed or partly removed, and a contract that is newer than its executable.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::Contract,
    values::{
        limits::CONTRACT_BYTES,
        name::{Component, PluginName},
    },
};

use super::{
    LockedStore, history,
    journal::Journal,
    read::{self, ContentCheck},
};
use crate::{
    disk,
    error::StoreError,
    install_root::{
        layout::{CONTRACT, LOCK, PluginDir},
        lockfile,
        staging::{self, OrphanedStaging},
    },
    progress::{ProgressEvent, ProgressReporter},
};

/// Repairs the locked plugins, and removes the staging directories of processes that have ended. Returns a plugin whose
/// change another process is rolling back at the moment, and the staging directory of that change.
pub(super) fn all(
    locked: &mut LockedStore,
    reporter: &dyn ProgressReporter,
) -> Result<Option<(PluginName, PathBuf)>, StoreError> {
    let layout = locked.store.layout.clone();
    let directory = layout.staging();
    let found = staging::find(&layout).map_err(StoreError::io("read", &directory))?;
    for orphan in found.orphans {
        roll_back(locked, &orphan, reporter)?;
    }
    for busy in found.busy.into_iter().filter(|busy| busy != locked.staging_dir()) {
        let journal = Journal::read(&busy).ok().flatten().unwrap_or_default();
        let of_locked = journal.steps.iter().find(|step| locked.names().any(|name| *name == step.name));
        if let Some(step) = of_locked {
            return Ok(Some((step.name.clone(), busy)));
        }
    }
    for name in locked.names().cloned().collect::<Vec<_>>() {
        repair_plugin(locked, &layout.plugin(&name), reporter)?;
    }
    Ok(None)
}

/// Rolls back the change of a process that has ended. Holding the flock of its staging directory makes this process the
/// only one that does so. Other plugins of the change are safe, too: a process that locks one of them waits for this.
fn roll_back(
    locked: &LockedStore,
    orphan: &OrphanedStaging,
    reporter: &dyn ProgressReporter,
) -> Result<(), StoreError> {
    let failed = || StoreError::io("repair", &orphan.dir);
    match Journal::read(&orphan.dir) {
        Ok(Some(journal)) => {
            journal.undo(&orphan.dir, &locked.store.layout).map_err(failed())?;
            Journal::remove(&orphan.dir).map_err(failed())?;
            reporter.report(ProgressEvent::Repaired { what: "rolled back a change that was interrupted" });
        }
        Ok(None) => {}
        // A journal gets its name when it is complete, so this is another file. All executables that run are complete.
        Err(error) => tracing::warn!(dir = %orphan.dir.display(), %error, "not a journal"),
    }
    // The directory of another user may stay.
    let _ = disk::remove_tree(&orphan.dir);
    Ok(())
}

fn repair_plugin(
    locked: &mut LockedStore,
    plugin: &PluginDir,
    reporter: &dyn ProgressReporter,
) -> Result<(), StoreError> {
    let failed = || StoreError::io("repair", &plugin.dir);
    lockfile::sweep(&plugin.dir).map_err(failed())?;
    if disk::lstat(&plugin.current()).map_err(failed())?.is_none() && !history::was_active(plugin) {
        if clear(locked, plugin).map_err(failed())? {
            let what = "removed the files of an install or removal that was interrupted";
            reporter.report(ProgressEvent::Repaired { what });
        }
        return Ok(());
    }
    let Some(entry) = read::entry(plugin, ContentCheck::IfModified)? else { return Ok(()) };
    let Some(active) = entry.installed() else { return Ok(()) };
    // After a crash between the switch and its record.
    locked.record_activation(plugin, None, &active.version, &active.receipt);
    repair_contract(locked, plugin, &active.dir.join(CONTRACT), reporter)
}

/// Copies the contract of the active version to the cache if they differ.
fn repair_contract(
    locked: &mut LockedStore,
    plugin: &PluginDir,
    contract: &Path,
    reporter: &dyn ProgressReporter,
) -> Result<(), StoreError> {
    let failed = || StoreError::io("repair", &plugin.dir);
    let (component, limit) = (Component::Plugin(plugin.name.clone()), CONTRACT_BYTES as u64);
    // An adopted version may have no contract. The cache then belongs to the other tool. A version with a damaged one
    // is not the active one.
    let own = disk::read_small_regular(contract, limit).map_err(failed())?;
    let Some(own) = own else { return Ok(()) };
    let Ok(wanted) = Contract::from_cache(&own, &component) else { return Ok(()) };
    let cached = disk::read_small(&plugin.cached_contract(), limit).unwrap_or_default();
    if cached.as_deref() != Some(&own)
        && cached.and_then(|cached| Contract::from_cache(&cached, &component).ok()) != Some(wanted)
    {
        locked.check_lock(&plugin.name)?;
        let staging = locked.staging_dir().to_owned();
        locked.cache_contract(plugin, Some(&own), &staging).map_err(failed())?;
        reporter.report(ProgressEvent::Repaired { what: "restored the contract of the active version" });
    }
    Ok(())
}

/// Removes everything in the directory of a plugin that is not installed, except for the lock. Returns whether there
/// was anything.
fn clear(locked: &LockedStore, plugin: &PluginDir) -> io::Result<bool> {
    let trash = locked.staging_dir().join(format!("trash-{}-{}", plugin.name, disk::random_name()));
    disk::make_dir(&trash)?;
    let mut cleared = false;
    for found in fs::read_dir(&plugin.dir)? {
        let found = found?;
        if !found.file_name().to_string_lossy().starts_with(LOCK) {
            disk::rename_tree(&found.path(), &trash.join(found.file_name()))?;
            cleared = true;
        }
    }
    if cleared {
        disk::sync_dir(&plugin.dir)?;
        let cached = plugin.cached_contract();
        if disk::unlink(&cached)? {
            disk::sync_parent(&cached)?;
        }
    }
    Ok(cleared)
}
