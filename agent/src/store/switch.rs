//! From staged versions, or versions on disk, to `current`. Each step is a barrier: it is on the disk
//! before the next begins, and none begins unless the lock is still ours.

use std::{fs, io, path::Path};

use d8_crds::values::{
    name::{PluginName, Tag},
    version::Version,
};
use jiff::Timestamp;

use crate::{
    disk::{self, FileId, failpoint},
    error::StoreError,
    install_root::layout::{CONTRACT, PluginDir},
    progress::{ProgressEvent, ProgressReporter},
    receipt::Receipt,
    request::{Activation, StoreChange},
    store::{
        InstalledVersion, LockedStore, PluginEntry, history,
        journal::{Journal, Place, Step},
        read,
        stage::StagedVersion,
    },
};

/// Largest contract, in bytes.
const CONTRACT_LIMIT: u64 = 4 * 1024 * 1024;

/// One change, ready to be made: nothing can refuse it any more but the disk and a lost lock.
struct Ready {
    plugin: PluginDir,
    step: Step,
    receipt: Receipt,
    version: Version,
    previous: Option<Tag>,
    changes: bool,
}

impl LockedStore {
    /// Makes the changes in this order, so dependencies come first. All or none: a failure puts back
    /// what was switched. An install of another tool is adopted before it is replaced; a version from
    /// the disk is verified and tested again.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], [`StoreError::Smoke`], [`StoreError::LockLost`], and what the disk
    /// refuses. What was there before is there again.
    pub async fn switch(
        &mut self,
        changes: Vec<StoreChange>,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<Vec<Activation>, StoreError> {
        let mut ready = Vec::new();
        for change in changes {
            let change = match change {
                StoreChange::Install(staged) => {
                    self.adopt_both(&staged.name.clone(), staged.version.major(), now).await?;
                    self.ready_to_install(staged)?
                }
                StoreChange::Relink { name, tag } => self.ready_to_relink(&name, &tag, now, reporter).await?,
            };
            ready.push(change);
        }
        // No await from here on: a dropped future never leaves a change half made.
        self.apply(ready, reporter)
    }

    /// Goes back to the version that was active before.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`], [`StoreError::NoPrevious`], and those of [`Self::switch`].
    pub async fn rollback(
        &mut self,
        name: &PluginName,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<Activation, StoreError> {
        let entry = self.store.get(name)?.ok_or_else(|| StoreError::NotInstalled { name: name.clone() })?;
        let tag = entry.previous.ok_or_else(|| StoreError::NoPrevious { name: name.clone() })?;
        let mut outcomes = self.switch(vec![StoreChange::Relink { name: name.clone(), tag }], now, reporter).await?;
        outcomes.pop().ok_or_else(|| StoreError::NoPrevious { name: name.clone() })
    }

    fn ready_to_install(&self, staged: StagedVersion) -> Result<Ready, StoreError> {
        let plugin = self.store.layout.plugin(&staged.name);
        let entry = read::entry(&plugin)?;
        let home = plugin.version(&staged.receipt.tag);
        let stored = read::version(&plugin, &home).ok();
        // An entry is immutable: the same bytes need no second one.
        let same = stored.filter(|stored| {
            let wanted = &staged.receipt.binary;
            !staged.force
                && stored.receipt.binary == *wanted
                && disk::digest(&stored.binary).is_ok_and(|(digest, _)| digest == *wanted)
        });
        let place = match &same {
            Some(_) => None,
            None => Some(Place {
                from: staged.dir.strip_prefix(self.staging_dir()).unwrap_or(&staged.dir).to_owned(),
                id: identity(&staged.dir)?,
                replaces: disk::lstat(&home).map_err(StoreError::io("read", &home))?.is_some(),
            }),
        };
        let binary = same.as_ref().map_or_else(|| staged.dir.join(plugin.name.as_str()), |same| same.binary.clone());
        self.ready(plugin, entry.as_ref(), &binary, place, staged.receipt, staged.version)
    }

    async fn ready_to_relink(
        &mut self,
        name: &PluginName,
        tag: &Tag,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<Ready, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let installed = self.stored(name, tag)?;
        self.adopt_both(name, installed.version.major(), now).await?;
        let entry = read::entry(&plugin)?;
        let (receipt, version) = (installed.receipt.clone(), installed.version.clone());
        let ready = self.ready(plugin, entry.as_ref(), &installed.binary, None, receipt, version)?;
        if ready.changes {
            let (digest, _) = disk::digest(&installed.binary).map_err(StoreError::io("read", &installed.binary))?;
            if digest != installed.receipt.binary {
                let why = format!("its executable is {digest}, its receipt says {}", installed.receipt.binary);
                return Err(StoreError::NotStored { name: name.clone().into(), tag: tag.clone(), why });
            }
            self.test(&installed.binary, name, tag, reporter).await?;
        }
        Ok(ready)
    }

    fn stored(&self, name: &PluginName, tag: &Tag) -> Result<InstalledVersion, StoreError> {
        let plugin = self.store.layout.plugin(name);
        let dir = plugin.version(tag);
        let missing = |why: String| StoreError::NotStored { name: name.clone().into(), tag: tag.clone(), why };
        if disk::lstat(&dir).map_err(StoreError::io("read", &dir))?.is_none() {
            return Err(missing(format!("there is no {}", dir.display())));
        }
        read::version(&plugin, &dir).map_err(missing)
    }

    fn ready(
        &self,
        plugin: PluginDir,
        entry: Option<&PluginEntry>,
        binary: &Path,
        place: Option<Place>,
        receipt: Receipt,
        version: Version,
    ) -> Result<Ready, StoreError> {
        let (tag, major) = (receipt.tag.clone(), version.major());
        self.check(&plugin.name)?;
        let active = entry.and_then(PluginEntry::installed);
        let linked = read::current_major(&plugin) == Ok(major);
        let contract = disk::read_small(&plugin.version(&tag).join(CONTRACT), CONTRACT_LIMIT).ok().flatten();
        let cached = disk::read_small(&plugin.cached_contract(), CONTRACT_LIMIT).ok().flatten();
        let settled = linked && place.is_none() && contract == cached;
        let changes = !(settled && active.is_some_and(|active| active.tag == tag));
        let step = Step {
            name: plugin.name.clone(),
            tag,
            major,
            place,
            had_contract: false,
            had_binary: false,
            binary: Some(identity(binary)?),
            current: None,
        };
        let previous = active.map(|active| active.tag.clone());
        Ok(Ready { plugin, step, receipt, version, previous, changes })
    }

    /// Makes all changes, or none.
    fn apply(&mut self, mut ready: Vec<Ready>, reporter: &dyn ProgressReporter) -> Result<Vec<Activation>, StoreError> {
        let staging = self.staging_dir().to_owned();
        let outcomes = ready.iter().map(outcome).collect();
        ready.retain(|ready| ready.changes);
        let mut journal = Journal::default();
        for Ready { plugin, step, .. } in &mut ready {
            step.save(&staging, plugin).map_err(StoreError::io("save the state of", &plugin.dir))?;
            failpoint::hit("switch.saved").map_err(StoreError::io("save the state of", &plugin.dir))?;
            journal.steps.push(step.clone());
        }
        for made in &self.locks.made {
            sync_parent(made).map_err(StoreError::io("write", made))?;
        }
        // One that replaces nothing stored and switches alone needs none: whatever a crash leaves, the
        // binary that runs is whole, and its contract is put right by what is in its version.
        let alone = journal.steps.len() < 2 && !journal.steps.iter().any(replaces);
        if !alone {
            journal.write(&staging).map_err(StoreError::io("write", &staging))?;
            if let Err(error) = failpoint::hit("journal.written") {
                let _ = Journal::remove(&staging);
                return Err(StoreError::io("write", &staging)(error));
            }
        }
        let made = self.make_all(&ready, &staging);
        if let Err(error) = made {
            self.undo(&journal, &staging);
            return Err(error);
        }
        if !alone {
            // From here on the change stands. If this fails, it is rolled back by the next command.
            if let Err(error) = Journal::remove(&staging) {
                self.undo(&journal, &staging);
                return Err(StoreError::io("write", &staging)(error));
            }
            let _ = failpoint::hit("journal.removed");
        }
        for ready in &ready {
            self.note(&ready.plugin, ready.previous.as_ref(), &ready.version, &ready.receipt);
            reporter.report(ProgressEvent::Switched { name: &ready.plugin.name.clone().into(), tag: &ready.step.tag });
            history::sweep_foreign(&ready.plugin);
        }
        Ok(outcomes)
    }

    fn undo(&mut self, journal: &Journal, staging: &Path) {
        let undone = journal.undo(staging, &self.store.layout).and_then(|()| Journal::remove(staging));
        if let Err(error) = undone {
            tracing::warn!(%error, "a change could not be undone; the next command tries again");
            if matches!(Journal::read(staging), Ok(None)) {
                let _ = journal.write(staging);
            }
            self.staging.keep();
        }
    }

    fn make_all(&mut self, ready: &[Ready], staging: &Path) -> Result<(), StoreError> {
        for ready in ready {
            let (plugin, step) = (&ready.plugin, &ready.step);
            let failed = || StoreError::io("switch", &plugin.dir);
            failpoint::hit("switch.begun").map_err(failed())?;
            self.place(step, plugin, staging)?;
            failpoint::hit("switch.placed").map_err(failed())?;
            self.contract(step, plugin, staging)?;
            failpoint::hit("switch.contract").map_err(failed())?;
            self.major(step, plugin, staging)?;
            failpoint::hit("switch.major").map_err(failed())?;
            self.current(plugin, step.major, staging)?;
            failpoint::hit("switch.current").map_err(failed())?;
        }
        failpoint::hit("switch.done").map_err(StoreError::io("switch", self.store.root()))
    }

    /// The staged version into `versions/`.
    pub(super) fn place(&self, step: &Step, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let Some(place) = &step.place else { return Ok(()) };
        let (from, home) = (staging.join(&place.from), plugin.version(&step.tag));
        let failed = || StoreError::io("write", &home);
        let versions = plugin.versions();
        if disk::make_dir(&versions).map_err(failed())? {
            disk::sync_dir(&plugin.dir).map_err(failed())?;
        }
        self.check(&plugin.name)?;
        if !place.replaces {
            disk::rename(&from, &home).map_err(failed())?;
        } else if !disk::exchange(&from, &home).map_err(failed())? {
            let aside = step.saved_version(staging);
            disk::make_dir(aside.parent().unwrap_or(staging)).map_err(failed())?;
            disk::rename(&home, &aside).map_err(failed())?;
            failpoint::hit("switch.aside").map_err(failed())?;
            self.check(&plugin.name)?;
            disk::rename(&from, &home).map_err(failed())?;
        }
        disk::sync_dir(&versions).map_err(failed())
    }

    /// The version's contract into the cache, before its binary: a crash between the two enforces the
    /// newer requirements on the older binary, never the reverse.
    fn contract(&mut self, step: &Step, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let cached = plugin.cached_contract();
        let failed = || StoreError::io("write", &cached);
        let own = plugin.version(&step.tag).join(CONTRACT);
        let new = disk::read_small(&own, CONTRACT_LIMIT).map_err(StoreError::io("read", &own))?;
        // What cannot be read is replaced.
        let old = disk::read_small(&cached, CONTRACT_LIMIT).unwrap_or_default();
        if new == old {
            return Ok(());
        }
        self.check(&plugin.name)?;
        self.cache_contract(plugin, new.as_deref(), staging).map_err(failed())
    }

    pub(super) fn cache_contract(&mut self, plugin: &PluginDir, new: Option<&[u8]>, staging: &Path) -> io::Result<()> {
        let cached = plugin.cached_contract();
        let folder = self.store.layout.contracts();
        match new {
            Some(bytes) => {
                let mut made = Vec::new();
                disk::make_dirs(&folder, &mut made)?;
                made.iter().try_for_each(|made| sync_parent(made))?;
                self.locks.made.append(&mut made);
                let staged = staging.join(format!("contract-{}-{}", plugin.name, disk::random_name()));
                disk::write_new(&staged, bytes, disk::PLAIN)?;
                disk::rename(&staged, &cached)?;
                disk::sync_dir(&folder)
            }
            None if disk::unlink(&cached)? => disk::sync_dir(&folder),
            None => Ok(()),
        }
    }

    /// `v<major>/<name>` as another name of the version's executable.
    fn major(&self, step: &Step, plugin: &PluginDir, staging: &Path) -> Result<(), StoreError> {
        let (folder, link) = (plugin.major(step.major), plugin.major_binary(step.major));
        let failed = || StoreError::io("write", &link);
        let binary = plugin.binary(&step.tag);
        let made = disk::make_dir(&folder).map_err(failed())?;
        if FileId::at(&link).map_err(failed())? != Some(identity(&binary)?) {
            let temporary = staging.join(format!("link-{}", plugin.name));
            disk::unlink(&temporary).map_err(failed())?;
            disk::link_or_copy(&binary, &temporary, disk::EXECUTABLE).map_err(failed())?;
            self.check(&plugin.name)?;
            disk::rename(&temporary, &link).map_err(failed())?;
            disk::sync_dir(&folder).map_err(failed())?;
        }
        if made {
            disk::sync_dir(&plugin.dir).map_err(failed())?;
        }
        Ok(())
    }

    /// `current`, an absolute link.
    fn current(&self, plugin: &PluginDir, major: u64, staging: &Path) -> Result<(), StoreError> {
        let (current, target) = (plugin.current(), plugin.major_binary(major));
        let failed = || StoreError::io("write", &current);
        if fs::read_link(&current).is_ok_and(|now| now == target) {
            return Ok(());
        }
        self.check(&plugin.name)?;
        disk::place_symlink(&target, &current, &staging.join(format!("current-{}", plugin.name))).map_err(failed())?;
        disk::sync_dir(&plugin.dir).map_err(failed())
    }
}

fn outcome(ready: &Ready) -> Activation {
    Activation {
        name: ready.plugin.name.clone(),
        tag: ready.step.tag.clone(),
        previous: ready.previous.clone(),
        changed: ready.changes,
    }
}

fn replaces(step: &Step) -> bool {
    step.place.as_ref().is_some_and(|place| place.replaces)
}

fn identity(path: &Path) -> Result<FileId, StoreError> {
    let found = FileId::at(path).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    found.map_err(StoreError::io("read", path))
}

fn sync_parent(made: &Path) -> io::Result<()> {
    made.parent().map_or(Ok(()), disk::sync_dir)
}
