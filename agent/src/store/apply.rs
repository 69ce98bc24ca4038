//! Applies planned switches, all or none. Each step is a barrier: it is on the disk before the next one begins, and no
//! step begins if the lock was lost.

use std::{fs, io, path::Path};

use d8_crds::values::limits::CONTRACT_BYTES;

use super::{
    LockedStore, history,
    journal::{Journal, SwitchStep},
    switch::{PlannedSwitch, file_id},
};
use crate::{
    disk::{self, FileId, failpoint},
    error::StoreError,
    install_root::layout::{CONTRACT, PluginDir},
    progress::{ProgressEvent, ProgressReporter},
    request::Activation,
};

impl LockedStore {
    /// Applies all switches, or none.
    pub(super) fn apply(
        &mut self,
        mut planned: Vec<PlannedSwitch>,
        reporter: &dyn ProgressReporter,
    ) -> Result<Vec<Activation>, StoreError> {
        let staging = self.staging_dir().to_owned();
        let activations = planned.iter().map(activation).collect();
        planned.retain(|planned| planned.changes);
        let mut journal = Journal::default();
        for PlannedSwitch { plugin, step, .. } in &mut planned {
            step.save(&staging, plugin).map_err(StoreError::io("save the state of", &plugin.dir))?;
            failpoint::hit("switch.saved").map_err(StoreError::io("save the state of", &plugin.dir))?;
            journal.steps.push(step.clone());
        }
        for made in &self.locks.made {
            disk::sync_parent(made).map_err(StoreError::io("write", made))?;
        }
        // A single switch needs no journal if it replaces no stored version and no `current` that is not a link: after
        // a crash the active executable is complete, and the contract is repaired from its version directory.
        let needs_journal = journal.steps.len() > 1 || journal.steps.iter().any(replaces_more_than_links);
        if needs_journal {
            journal.write(&staging).map_err(StoreError::io("write", &staging))?;
            if let Err(error) = failpoint::hit("journal.written") {
                let _ = Journal::remove(&staging);
                return Err(StoreError::io("write", &staging)(error));
            }
        }
        if let Err(error) = self.make_steps(&planned, &staging) {
            self.undo(&journal, &staging);
            return Err(error);
        }
        if needs_journal {
            // From here on the change is made. If this fails, the next command rolls it back.
            if let Err(error) = Journal::remove(&staging) {
                self.undo(&journal, &staging);
                return Err(StoreError::io("write", &staging)(error));
            }
            let _ = failpoint::hit("journal.removed");
        }
        for PlannedSwitch { plugin, step, receipt, version, previous, .. } in &planned {
            self.record_activation(plugin, previous.as_ref(), version, receipt);
            reporter.report(ProgressEvent::Switched { name: &plugin.name.clone().into(), tag: &step.tag });
            history::sweep_foreign(plugin);
        }
        Ok(activations)
    }

    fn undo(&mut self, journal: &Journal, staging: &Path) {
        let undone = journal.undo(staging, &self.store.layout).and_then(|()| Journal::remove(staging));
        if let Err(error) = undone {
            tracing::warn!(%error, "failed to roll back a change; the next command tries again");
            if matches!(Journal::read(staging), Ok(None)) {
                let _ = journal.write(staging);
            }
            self.staging.keep();
        }
    }

    fn make_steps(&mut self, planned: &[PlannedSwitch], staging: &Path) -> Result<(), StoreError> {
        for PlannedSwitch { plugin, step, .. } in planned {
            let failed = || StoreError::io("switch", &plugin.dir);
            failpoint::hit("switch.begun").map_err(failed())?;
            self.place_version(step, plugin, staging)?;
            failpoint::hit("switch.placed").map_err(failed())?;
            self.update_contract(step, plugin, staging)?;
            failpoint::hit("switch.contract").map_err(failed())?;
            self.link_major(step, plugin, staging)?;
            failpoint::hit("switch.major").map_err(failed())?;
            self.link_current(step, plugin, staging)?;
            failpoint::hit("switch.current").map_err(failed())?;
        }
        failpoint::hit("switch.done").map_err(StoreError::io("switch", self.store.root()))
    }

    /// Moves the staged version into `versions/`.
    pub(super) fn place_version(
        &self,
        step: &SwitchStep,
        plugin: &PluginDir,
        staging: &Path,
    ) -> Result<(), StoreError> {
        let Some(placement) = &step.placement else { return Ok(()) };
        let (from, home) = (staging.join(&placement.from), plugin.version(&step.tag));
        let failed = || StoreError::io("write", &home);
        let versions = plugin.versions();
        if disk::make_dir(&versions).map_err(failed())? {
            disk::sync_dir(&plugin.dir).map_err(failed())?;
        }
        self.check_lock(&plugin.name)?;
        if !placement.replaces {
            disk::rename(&from, &home).map_err(failed())?;
        } else if !disk::exchange(&from, &home).map_err(failed())? {
            let aside = step.saved_version(staging);
            disk::make_dir(aside.parent().unwrap_or(staging)).map_err(failed())?;
            disk::rename_tree(&home, &aside).map_err(failed())?;
            failpoint::hit("switch.aside").map_err(failed())?;
            self.check_lock(&plugin.name)?;
            disk::rename(&from, &home).map_err(failed())?;
        }
        disk::sync_dir(&versions).map_err(failed())
    }

    /// Copies the contract of the version to the cache, before its executable is linked. A crash in between applies the
    /// newer requirements to the older executable, never the reverse.
    fn update_contract(&mut self, step: &SwitchStep, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let cached = plugin.cached_contract();
        let limit = CONTRACT_BYTES as u64;
        let own = plugin.version(&step.tag).join(CONTRACT);
        let new = disk::read_small(&own, limit).map_err(StoreError::io("read", &own))?;
        // An unreadable file is replaced.
        let old = disk::read_small(&cached, limit).unwrap_or_default();
        if new == old {
            return Ok(());
        }
        self.check_lock(&plugin.name)?;
        self.cache_contract(plugin, new.as_deref(), staging).map_err(StoreError::io("write", &cached))
    }

    /// Replaces the cached contract, or what is in place of one, or removes it.
    pub(super) fn cache_contract(&mut self, plugin: &PluginDir, new: Option<&[u8]>, staging: &Path) -> io::Result<()> {
        let cached = plugin.cached_contract();
        let directory = self.store.layout.contracts();
        match new {
            Some(bytes) => {
                let mut made = Vec::new();
                let created = disk::make_dirs(&directory, &mut made);
                let synced = made.iter().try_for_each(|made| disk::sync_parent(made));
                self.locks.made.append(&mut made);
                created.and(synced)?;
                let staged = staging.join(format!("contract-{}-{}", plugin.name, disk::random_name()));
                disk::write_new(&staged, bytes, disk::PLAIN)?;
                disk::rename_over(&staged, &cached, &staging.join(disk::random_name()))?;
                disk::sync_dir(&directory)
            }
            None if disk::unlink(&cached)? => disk::sync_dir(&directory),
            None => Ok(()),
        }
    }

    /// Makes `v<major>/<name>` a link to the executable of the version.
    fn link_major(&self, step: &SwitchStep, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let (directory, link) = (plugin.major(step.major), plugin.major_binary(step.major));
        let failed = || StoreError::io("write", &link);
        let binary = plugin.binary(&step.tag);
        let made = disk::make_dir(&directory).map_err(failed())?;
        if FileId::at(&link).map_err(failed())? != Some(file_id(&binary)?) {
            let temporary = staging.join(format!("link-{}", plugin.name));
            disk::unlink(&temporary).map_err(failed())?;
            disk::link_or_copy(&binary, &temporary, disk::EXECUTABLE).map_err(failed())?;
            self.check_lock(&plugin.name)?;
            disk::rename_over(&temporary, &link, &staging.join(disk::random_name())).map_err(failed())?;
            disk::sync_dir(&directory).map_err(failed())?;
        }
        if made {
            disk::sync_dir(&plugin.dir).map_err(failed())?;
        }
        Ok(())
    }

    /// Makes `current` an absolute link to `v<major>/<name>`.
    fn link_current(&self, step: &SwitchStep, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let (current, target) = (plugin.current(), plugin.major_binary(step.major));
        let failed = || StoreError::io("write", &current);
        if fs::read_link(&current).is_ok_and(|now| now == target) {
            return Ok(());
        }
        self.check_lock(&plugin.name)?;
        let temporary = staging.join(format!("current-{}", plugin.name));
        let placed = if step.current_is_no_link {
            disk::place_symlink_aside(&target, &current, &temporary, &step.saved_current(staging))
        } else {
            disk::place_symlink(&target, &current, &temporary)
        };
        placed.and_then(|()| disk::sync_dir(&plugin.dir)).map_err(failed())
    }
}

fn activation(planned: &PlannedSwitch) -> Activation {
    Activation {
        name: planned.plugin.name.clone(),
        tag: planned.step.tag.clone(),
        previous: planned.previous.clone(),
        changed: planned.changes,
    }
}

fn replaces_more_than_links(step: &SwitchStep) -> bool {
    step.current_is_no_link || step.placement.as_ref().is_some_and(|placement| placement.replaces)
}
