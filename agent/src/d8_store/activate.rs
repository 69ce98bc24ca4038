//! Makes a tested version current, and the command on the PATH a link to it. Each visible step is one rename, and a
//! failure rolls back the steps before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::{
    name::{Component, Tag},
    version::Version,
};
use jiff::Timestamp;

use super::{EXECUTABLE, LockedD8Store, PathMigration, TestedVersion, path_link::PathLink};
use crate::{
    disk::{self, failpoint},
    download::digest_log,
    error::StoreError,
    install_root::layout::RECEIPT,
    progress::{ProgressEvent, ProgressReporter},
    receipt::Receipt,
};

/// What a change did to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct D8Activation {
    /// Tag of the current version.
    pub tag: Tag,
    /// Tag of the version that was current before.
    pub previous: Option<Tag>,
    /// Path of the backup of the former command, if one was made.
    pub backup: Option<PathBuf>,
    /// Path of the command that was a file and is a link now.
    pub linked: Option<PathBuf>,
}

impl LockedD8Store {
    /// Makes a tested version current, and the command on the PATH a link to it if it is still a file. All or nothing:
    /// after a failure everything is as it was before.
    ///
    /// # Errors
    /// [`StoreError::EntryUnwritable`] before anything is changed; [`StoreError::LockLost`]; errors of the disk.
    pub fn activate(
        &mut self,
        tested: TestedVersion,
        migration: Option<&PathMigration>,
        executable: &Path,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<D8Activation, StoreError> {
        self.check_lock()?;
        let link = migration.map(|migration| PathLink::prepare(&self.store, migration)).transpose()?;
        let previous = self.store.active()?;
        let current = self.store.current();
        if disk::lstat(&current).map_err(StoreError::io("read", &current))?.is_some_and(|found| found.is_dir()) {
            let (path, why) = (current, "it is a directory, not a link to a version".to_owned());
            return Err(StoreError::Broken { name: Component::D8, path, why });
        }
        if let Some(tag) = migration.and_then(|migration| migration.seed.as_ref())
            && *tag != tested.tag
            && self.store.version(tag).is_none()
        {
            let (dir, _) = self.copy(executable, tag, now)?;
            self.place_version(&dir, tag)?;
        }
        failpoint::hit("d8.seeded").map_err(StoreError::io("write", self.store.dir()))?;
        let TestedVersion { tag, version, staged, .. } = tested;
        if let Some((dir, receipt)) = &staged
            && !self.has_version(&tag, receipt)
        {
            self.place_version(dir, &tag)?;
        }
        failpoint::hit("d8.placed").map_err(StoreError::io("write", self.store.dir()))?;
        self.check_lock()?;
        let changed = previous.as_ref().is_none_or(|previous| previous.tag != tag);
        let backup = self.link_current(&tag, changed, link)?;
        self.record_digest(&tag, &version);
        // The change is made: nothing is removed on drop.
        self.made.0.clear();
        self.placed.clear();
        reporter.report(ProgressEvent::Switched { name: &Component::D8, tag: &tag });
        Ok(D8Activation {
            tag,
            previous: previous.map(|previous| previous.tag),
            linked: migration.map(|migration| migration.path.clone()),
            backup,
        })
    }

    /// Moves a tested version into the store, and leaves the current one as it is.
    ///
    /// # Errors
    /// [`StoreError::LockLost`]; errors of the disk.
    pub fn keep(&mut self, tested: TestedVersion) -> Result<(), StoreError> {
        self.check_lock()?;
        let TestedVersion { tag, version, staged, .. } = tested;
        if let Some((dir, receipt)) = &staged
            && !self.has_version(&tag, receipt)
        {
            self.place_version(dir, &tag)?;
        }
        self.record_digest(&tag, &version);
        self.made.0.clear();
        self.placed.clear();
        Ok(())
    }

    /// Returns whether the store has the version with exactly these bytes. It is then kept, as a version is immutable.
    /// A version with other bytes is damaged.
    fn has_version(&self, tag: &Tag, receipt: &Receipt) -> bool {
        let binary = self.store.version_dir(tag).join(EXECUTABLE);
        self.store.version(tag).is_some() && receipt.executable().matches(&binary).unwrap_or_default()
    }

    /// Points `current` to a version, then replaces the command on the PATH. Returns the backup of the command. A
    /// failure restores `current`.
    fn link_current(&self, tag: &Tag, changed: bool, link: Option<PathLink>) -> Result<Option<PathBuf>, StoreError> {
        let before = fs::read_link(self.store.current()).ok();
        let target = Path::new("versions").join(tag.as_str()).join(EXECUTABLE);
        let switch = || {
            if changed {
                self.point_current(&target)?;
            }
            failpoint::hit("d8.current").map_err(StoreError::io("write", self.store.dir()))?;
            link.map(PathLink::finish).transpose()
        };
        match switch() {
            Ok(backup) => Ok(backup.flatten()),
            Err(error) => {
                let undone = match before {
                    Some(before) => self.point_current(&before),
                    None => disk::unlink(&self.store.current())
                        .map(drop)
                        .map_err(StoreError::io("remove", self.store.dir())),
                };
                if let Err(error) = undone {
                    tracing::warn!(%error, "failed to restore `current`");
                }
                Err(error)
            }
        }
    }

    fn record_digest(&self, tag: &Tag, version: &Version) {
        let log = self.store.layout.digest_log();
        if let Some(receipt) = self.store.version(tag).and_then(|stored| stored.receipt)
            && let Err(error) = digest_log::record(&log, version, &receipt)
        {
            tracing::warn!(%error, "failed to record the digest");
        }
    }

    /// Moves a complete version directory into the store. A damaged version is replaced, in one step if the system
    /// supports that: it may be the current one.
    fn place_version(&mut self, dir: &Path, tag: &Tag) -> Result<(), StoreError> {
        let home = self.store.version_dir(tag);
        let versions = self.store.dir().join("versions");
        let failed = || StoreError::io("write", &home);
        disk::make_dirs(&versions, &mut self.made.0).map_err(failed())?;
        if disk::lstat(&home).map_err(failed())?.is_some() {
            if !disk::exchange(dir, &home).map_err(failed())? {
                self.replace_files(dir, &home).map_err(failed())?;
            }
        } else {
            disk::rename(dir, &home).map_err(failed())?;
            self.placed.push(home.clone());
        }
        disk::sync_dir(&versions).map_err(StoreError::io("write", &versions))?;
        disk::sync_dir(&self.store.dir()).map_err(StoreError::io("write", self.store.dir()))
    }

    /// Replaces a damaged version where the system cannot exchange two names: file by file, the executable first. So the
    /// command on the PATH leads to a complete executable, whatever happens.
    fn replace_files(&self, dir: &Path, home: &Path) -> io::Result<()> {
        let aside = |path: &Path| disk::rename(path, &self.staging.dir().join(disk::random_name()));
        if !disk::lstat(home)?.is_some_and(|found| found.is_dir()) {
            aside(home)?;
            return disk::rename(dir, home);
        }
        for name in [EXECUTABLE, RECEIPT] {
            let old = home.join(name);
            if disk::lstat(&old)?.is_some_and(|found| found.is_dir()) {
                aside(&old)?;
            }
            disk::rename(&dir.join(name), &old)?;
            failpoint::hit("d8.replaced")?;
        }
        disk::sync_dir(home)
    }

    pub(super) fn point_current(&self, target: &Path) -> Result<(), StoreError> {
        let (current, dir) = (self.store.current(), self.store.dir());
        let temporary = self.staging.dir().join("current");
        disk::place_symlink(target, &current, &temporary).map_err(StoreError::io("switch", &current))?;
        disk::sync_dir(&dir).map_err(StoreError::io("write", dir))
    }
}
