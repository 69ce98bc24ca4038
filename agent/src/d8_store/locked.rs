//! Changing the store of d8 itself: bring a version in, test it, make it current, and make the command on
//! the PATH a link to it. Every step that is seen is one rename; what fails is put back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
    version::Version,
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    d8_store::{D8Store, D8Version, EXECUTABLE, PathMigration, path_link::PathLink},
    disk::{self, failpoint},
    download::{self, digest_log, source::LayerSource},
    error::StoreError,
    install_root::{
        lock::{self, Place},
        lockfile::{self, LockFile, RENEW},
        staging::{self, Staging},
        trust, version_dir,
    },
    progress::{ProgressEvent, ProgressReporter},
    receipt::{Receipt, Verified},
    request::Artifact,
    smoke::D8_TIMEOUT,
};

/// One version of d8 to bring in. Chosen and permitted already.
#[derive(Debug, Clone)]
pub struct D8InstallRequest {
    /// The bytes; their component is d8.
    pub artifact: Artifact,
    /// The manifest that names the layer, for the receipt.
    pub manifest: Option<Digest>,
    /// A layer digest that was accepted although this store remembers the version otherwise.
    pub accept: Option<Digest>,
    /// Where the bytes come from, for the receipt.
    pub source: String,
    /// Now.
    pub now: Timestamp,
}

/// A version that was tested just now and may become current.
#[derive(Debug)]
pub struct TestedVersion {
    tag: Tag,
    version: Version,
    /// The directory to rename into the store; `None`: it is there.
    staged: Option<(PathBuf, Receipt)>,
    /// What it said when it was asked for its version, its first 200 characters.
    pub reported: String,
    /// What it can do, by its own word; empty for a d8 that does not know the question.
    pub capabilities: Vec<String>,
}

impl TestedVersion {
    /// Its tag.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Whether it says another version of itself than its tag.
    pub fn misreports(&self) -> bool {
        let says = |word: &str| Version::parse(word.trim_matches(|c: char| !c.is_ascii_alphanumeric())).ok();
        let versions: Vec<Version> = self.reported.split_whitespace().filter_map(says).collect();
        !versions.is_empty() && !versions.contains(&self.version)
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct D8Activation {
    /// What is current now.
    pub tag: Tag,
    /// What was current before.
    pub previous: Option<Tag>,
    /// The file that was the command before, if it was kept under another name now.
    pub backup: Option<PathBuf>,
    /// The command that is a link now and was a file.
    pub linked: Option<PathBuf>,
}

/// The right to change the store. Dropping it gives the lock back and takes away what is not finished.
#[derive(Debug)]
pub struct LockedD8Store {
    store: D8Store,
    staging: Staging,
    made: Vec<PathBuf>,
    /// Version directories renamed into the store, to be taken out again if the rest fails.
    placed: Vec<PathBuf>,
    lock: Option<LockFile>,
    renewing: AbortHandle,
}

#[derive(Deserialize)]
struct Capabilities {
    capabilities: Vec<String>,
}

impl D8Store {
    /// Takes the lock, within `timeout` (0: one try).
    ///
    /// # Errors
    /// [`StoreError::Locked`] after `timeout`; [`StoreError::Unwritable`]; [`StoreError::Untrusted`].
    pub async fn lock(&self, timeout: Duration, reporter: &dyn ProgressReporter) -> Result<LockedD8Store, StoreError> {
        let root = self.layout.root.clone();
        let (dir, mut made) = (self.dir(), Vec::new());
        let place = Place { component: &Component::D8, dir: &dir, root: &root };
        let prepare = || {
            trust::directory(&dir)?;
            disk::make_dirs(&dir, &mut made).map_err(|error| lock::refused(&root, error))
        };
        let lock = place.wait(prepare, Instant::now(), timeout, reporter).await?;
        let renewing = lock::renew(&lock, RENEW);
        lockfile::sweep(&dir).map_err(StoreError::io("read", &dir))?;
        trust::directory(&dir.join("versions"))?;
        trust::directory(&self.layout.staging())?;
        let staging = Staging::begin(&self.layout, &mut made).map_err(|error| lock::refused(&root, error))?;
        // What has a journal is a plugin's, and the business of whoever changes plugins next.
        for orphan in staging::find(&self.layout).map_err(StoreError::io("read", self.layout.staging()))?.orphans {
            if disk::lstat(&orphan.dir.join(EXECUTABLE)).is_ok_and(|found| found.is_some_and(|dir| dir.is_dir())) {
                disk::remove_tree(&orphan.dir).map_err(StoreError::io("remove", &orphan.dir))?;
            }
        }
        Ok(LockedD8Store { store: self.clone(), staging, made, placed: Vec::new(), lock: Some(lock), renewing })
    }
}

impl LockedD8Store {
    fn check(&self) -> Result<(), StoreError> {
        let path = self.store.dir();
        let ours = match &self.lock {
            Some(lock) => lock.still_ours().map_err(StoreError::io("read", &path))?,
            None => false,
        };
        if ours { Ok(()) } else { Err(StoreError::LockLost { name: Component::D8, path }) }
    }

    /// Fetches a version, verifies and tests it. Nothing outside the staging directory is touched.
    ///
    /// # Errors
    /// [`StoreError::Proxy`], [`StoreError::WrongDigest`], [`StoreError::Moved`], [`StoreError::Smoke`].
    pub async fn stage<S: LayerSource>(
        &self,
        order: D8InstallRequest,
        source: &S,
        reporter: &dyn ProgressReporter,
    ) -> Result<TestedVersion, StoreError> {
        let tag = order.artifact.tag.clone();
        let version = Version::parse(tag.as_str())
            .map_err(|_| StoreError::NotAVersion { name: Component::D8, tag: tag.clone() })?;
        let dir = self.place_for(&tag)?;
        let binary = dir.join(EXECUTABLE);
        let downloaded = download::download_executable(&binary, &order.artifact, source, reporter).await?;
        let memory = self.store.layout.memory();
        digest_log::not_moved(&memory, &order.artifact, &version, &downloaded.layer, order.accept.as_ref())?;
        let (synced, tested) = tokio::join!(download::sync(binary.clone()), self.ask(&binary, &tag, reporter));
        let (version_output, capabilities) = tested?;
        synced.map_err(StoreError::io("write", &binary))?;
        let verified = if order.artifact.expect_layer.is_some() { Verified::Digest } else { Verified::Transport };
        let receipt = Receipt {
            name: Component::D8,
            tag: tag.clone(),
            platform: order.artifact.platform,
            layer: Some(downloaded.layer),
            manifest: order.manifest.or(downloaded.manifest),
            binary: downloaded.binary,
            size: downloaded.size,
            source: order.source,
            time: order.now,
            verified,
            skipped_cluster_checks: false,
        };
        version_dir::complete(&dir, None, &receipt)?;
        Ok(TestedVersion { tag, version, staged: Some((dir, receipt)), reported: version_output, capabilities })
    }

    /// Tests a version on disk again: its bytes against its receipt, then its start.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], [`StoreError::Smoke`].
    pub async fn test(&self, stored: &D8Version, reporter: &dyn ProgressReporter) -> Result<TestedVersion, StoreError> {
        let D8Version { tag, version, binary, receipt } = stored;
        if let Some(receipt) = receipt {
            let (digest, _) = disk::digest(binary).map_err(StoreError::io("read", binary))?;
            if digest != receipt.binary {
                let why = format!("its executable is {digest}, its receipt says {}", receipt.binary);
                return Err(StoreError::NotStored { name: Component::D8, tag: tag.clone(), why });
            }
        }
        let (version_output, capabilities) = self.ask(binary, tag, reporter).await?;
        Ok(TestedVersion {
            tag: tag.clone(),
            version: version.clone(),
            staged: None,
            reported: version_output,
            capabilities,
        })
    }

    /// Stages the running program under its own version, for the first switch and for `use` of itself.
    ///
    /// # Errors
    /// [`StoreError::Smoke`]; a file that cannot be read.
    pub async fn take_in(
        &self,
        executable: &Path,
        tag: &Tag,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<TestedVersion, StoreError> {
        let version = Version::parse(tag.as_str())
            .map_err(|_| StoreError::NotAVersion { name: Component::D8, tag: tag.clone() })?;
        let (dir, receipt) = self.copy_in(executable, tag, now)?;
        let (version_output, capabilities) = self.ask(&dir.join(EXECUTABLE), tag, reporter).await?;
        Ok(TestedVersion {
            tag: tag.clone(),
            version,
            staged: Some((dir, receipt)),
            reported: version_output,
            capabilities,
        })
    }

    fn copy_in(&self, executable: &Path, tag: &Tag, now: Timestamp) -> Result<(PathBuf, Receipt), StoreError> {
        let dir = self.place_for(tag)?;
        let binary = dir.join(EXECUTABLE);
        let copy = || {
            let mut from = fs::File::open(executable)?;
            let mut to = disk::create_new(&binary, disk::EXECUTABLE)?;
            io::copy(&mut from, &mut to)?;
            disk::sync_file(&to, &binary)
        };
        copy().map_err(StoreError::io("write", &binary))?;
        let named = fs::read_link(executable).unwrap_or_else(|_| executable.to_owned());
        let (digest, size) = disk::digest(&binary).map_err(StoreError::io("read", &binary))?;
        let receipt = Receipt {
            name: Component::D8,
            tag: tag.clone(),
            platform: Platform::current(),
            layer: None,
            manifest: None,
            binary: digest,
            size,
            source: named.display().to_string(),
            time: now,
            verified: Verified::Adopted,
            skipped_cluster_checks: false,
        };
        version_dir::complete(&dir, None, &receipt)?;
        Ok((dir, receipt))
    }

    /// A fresh directory to fill, in the staging directory's folder for d8.
    fn place_for(&self, tag: &Tag) -> Result<PathBuf, StoreError> {
        let folder = self.staging.dir().join(EXECUTABLE);
        let dir = folder.join(format!("{tag}-{}", disk::random_name()));
        let make = || disk::make_dirs(&dir, &mut Vec::new());
        make().map_err(|error| lock::refused(&self.store.layout.root, error))?;
        Ok(dir)
    }

    /// The smoke test, and what the program says it can do. One that does not know that question is old,
    /// not broken.
    async fn ask(
        &self,
        binary: &Path,
        tag: &Tag,
        reporter: &dyn ProgressReporter,
    ) -> Result<(String, Vec<String>), StoreError> {
        reporter.report(ProgressEvent::Testing { name: &Component::D8, tag });
        let (sandbox, scratch) = (&self.store.sandbox, self.staging.dir());
        let version_output = sandbox
            .test(binary, EXECUTABLE, D8_TIMEOUT, scratch)
            .await
            .map_err(|failure| StoreError::Smoke { name: Component::D8, tag: tag.clone(), failure })?;
        let question = ["cli", "capabilities", "-o", "json"];
        let answer = sandbox.ask(binary, EXECUTABLE, &question, D8_TIMEOUT, scratch).await.unwrap_or_default();
        let known = serde_json::from_str::<Capabilities>(answer.trim());
        Ok((version_output, known.map(|known| known.capabilities).unwrap_or_default()))
    }

    /// Makes a tested version current, and the command on the PATH a link to it if it is still a file.
    /// All or nothing: whatever fails, what was there is there again.
    ///
    /// # Errors
    /// [`StoreError::EntryUnwritable`] before anything is changed; [`StoreError::LockLost`]; the disk's.
    pub fn activate(
        &mut self,
        tested: TestedVersion,
        migration: Option<&PathMigration>,
        executable: &Path,
        now: Timestamp,
        reporter: &dyn ProgressReporter,
    ) -> Result<D8Activation, StoreError> {
        self.check()?;
        let link = migration.map(|migration| PathLink::prepare(&self.store, migration)).transpose()?;
        let previous = self.store.active()?;
        let (dir, current) = (self.store.dir(), self.store.current());
        if disk::lstat(&current).map_err(StoreError::io("read", &current))?.is_some_and(|found| found.is_dir()) {
            let (path, why) = (current, "it is a directory, not a link to a version".to_owned());
            return Err(StoreError::Broken { name: Component::D8, path, why });
        }
        if let Some(tag) = migration.and_then(|migration| migration.seed.as_ref())
            && *tag != tested.tag
            && self.store.version(tag).is_none()
        {
            let (dir, _) = self.copy_in(executable, tag, now)?;
            self.place(&dir, tag)?;
        }
        failpoint::hit("own.seeded").map_err(StoreError::io("write", self.store.dir()))?;
        let TestedVersion { tag, version, staged, .. } = tested;
        if let Some((dir, receipt)) = &staged {
            // What is there and has these bytes stays as it is; what was staged all the same is damaged.
            let there = disk::digest(&self.store.version_dir(&tag).join(EXECUTABLE)).ok();
            let whole = self.store.version(&tag).is_some() && there.is_some_and(|(there, _)| there == receipt.binary);
            if !whole {
                self.place(dir, &tag)?;
            }
        }
        failpoint::hit("own.placed").map_err(StoreError::io("write", self.store.dir()))?;
        self.check()?;
        let changed = previous.as_ref().is_none_or(|previous| previous.tag != tag);
        let before = fs::read_link(self.store.current()).ok();
        let target = Path::new("versions").join(tag.as_str()).join(EXECUTABLE);
        let switched = || {
            if changed {
                self.point(&target)?;
            }
            failpoint::hit("own.current").map_err(StoreError::io("write", self.store.dir()))?;
            link.map(PathLink::finish).transpose()
        };
        let backup = match switched() {
            Ok(backup) => backup,
            Err(error) => {
                let undone = match before {
                    Some(before) => self.point(&before),
                    None => disk::unlink(&self.store.current()).map(drop).map_err(StoreError::io("remove", &dir)),
                };
                if let Err(error) = undone {
                    tracing::warn!(%error, "what was current could not be made so again");
                }
                return Err(error);
            }
        };
        let memory = self.store.layout.memory();
        if let Some(receipt) = self.store.version(&tag).and_then(|stored| stored.receipt)
            && let Err(error) = digest_log::remember(&memory, &version, &receipt)
        {
            tracing::warn!(%error, "the digest could not be remembered");
        }
        // What was made stays.
        self.made.clear();
        self.placed.clear();
        reporter.report(ProgressEvent::Switched { name: &Component::D8, tag: &tag });
        Ok(D8Activation {
            tag,
            previous: previous.map(|previous| previous.tag),
            linked: migration.map(|migration| migration.path.clone()),
            backup: backup.flatten(),
        })
    }

    /// Renames a filled directory into the store. An entry that is not whole is replaced, in one step
    /// where the system can: it may be the current one.
    fn place(&mut self, dir: &Path, tag: &Tag) -> Result<(), StoreError> {
        let home = self.store.version_dir(tag);
        let versions = self.store.dir().join("versions");
        let failed = || StoreError::io("write", &home);
        disk::make_dirs(&versions, &mut self.made).map_err(failed())?;
        if disk::lstat(&home).map_err(failed())?.is_some() {
            if !disk::exchange(dir, &home).map_err(failed())? {
                let aside = self.staging.dir().join(disk::random_name());
                disk::rename(&home, &aside).map_err(failed())?;
                if let Err(error) = disk::rename(dir, &home) {
                    disk::rename(&aside, &home).map_err(failed())?;
                    return Err(failed()(error));
                }
            }
        } else {
            disk::rename(dir, &home).map_err(failed())?;
            self.placed.push(home.clone());
        }
        disk::sync_dir(&versions).map_err(StoreError::io("write", &versions))?;
        disk::sync_dir(&self.store.dir()).map_err(StoreError::io("write", self.store.dir()))
    }

    fn point(&self, target: &Path) -> Result<(), StoreError> {
        let (current, dir) = (self.store.current(), self.store.dir());
        let temporary = self.staging.dir().join("current");
        disk::place_symlink(target, &current, &temporary).map_err(StoreError::io("switch", &current))?;
        disk::sync_dir(&dir).map_err(StoreError::io("write", dir))
    }

    /// Remembers the d8 that commands go to which this one has not.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if somebody else could change it; the disk's.
    pub fn set_fallback(&mut self, path: &Path) -> Result<(), StoreError> {
        self.check()?;
        trust::way_to(path)?;
        let link = self.store.fallback_link();
        let temporary = self.staging.dir().join("fallback");
        disk::place_symlink(path, &link, &temporary).map_err(StoreError::io("write", &link))?;
        disk::sync_dir(&self.store.dir()).map_err(StoreError::io("write", self.store.dir()))?;
        self.made.clear();
        Ok(())
    }

    /// Forgets it; `false` if there was none.
    ///
    /// # Errors
    /// The disk's.
    pub fn unset_fallback(&mut self) -> Result<bool, StoreError> {
        self.check()?;
        let link = self.store.fallback_link();
        disk::unlink(&link).map_err(StoreError::io("remove", link))
    }
}

impl Drop for LockedD8Store {
    fn drop(&mut self) {
        self.renewing.abort();
        for placed in std::mem::take(&mut self.placed) {
            // Aside first: what is half removed would look like a version.
            let aside = self.staging.dir().join(disk::random_name());
            let _ = disk::rename(&placed, &aside);
        }
        // The lock goes after what it guards, and the directories that it lies in after it.
        let _ = disk::remove_tree(self.staging.dir());
        self.lock = None;
        for made in self.made.iter().rev() {
            let _ = fs::remove_dir(made);
        }
    }
}
