//! A trial: the agent switched d8, and the new d8 must prove that it can run an agent.
//!
//! ```text
//! <root>/cli/trial      {from, to, starts, begun}, while the trial lasts
//! <root>/cli/recovery   -> versions/<from>/d8, relative: what the service manager runs if the new d8 does not even start
//! ```
//! The new d8 counts its starts here before it reads anything else. A tick that succeeds ends the trial. Otherwise the
//! former version becomes active again.

use std::path::{Path, PathBuf};

use d8_crds::values::{
    digest::Digest,
    limits,
    name::{Component, Tag},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{D8Store, D8Version, EXECUTABLE, LockedD8Store};
use crate::{disk, error::StoreError, install_root::trust};

const TRIAL: &str = "trial";
const RECOVERY: &str = "recovery";

/// The start at which the former version becomes active again: the new one did not complete a tick in the starts before.
const LAST_START: u32 = 3;

/// A switch of d8 that the new d8 has not proven yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The version before the switch.
    pub from: Tag,
    /// The version on trial.
    pub to: Tag,
    /// Digest of the layer of the version on trial, as it was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Starts of the agent in the version on trial.
    pub starts: u32,
    /// When the switch was made.
    pub begun: Timestamp,
}

/// What an agent that starts does about a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialStart {
    /// The trial goes on, with this count.
    GoesOn(Trial),
    /// The version on trial started too often without a tick: the former version becomes active again.
    Fails,
    /// The trial is about another version than the active one: a person switched meanwhile. It is over.
    IsOver,
}

impl Trial {
    /// Returns a new trial of a version and the layer that it was planned with.
    pub fn new(from: Tag, (to, layer): (Tag, Option<Digest>), now: Timestamp) -> Self {
        Self { from, to, layer, starts: 0, begun: now }
    }

    /// Counts a start of the agent in the active version.
    pub fn start(self, active: &Tag) -> TrialStart {
        if self.to != *active {
            return TrialStart::IsOver;
        }
        let starts = self.starts.saturating_add(1);
        if starts >= LAST_START { TrialStart::Fails } else { TrialStart::GoesOn(Self { starts, ..self }) }
    }

    /// Takes back the count of a start that ended with a signal: somebody stopped the agent, and it did not fail.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { starts: self.starts.saturating_sub(1), ..self }
    }
}

impl D8Store {
    /// Returns the path of the file of the trial.
    pub fn trial_path(&self) -> PathBuf {
        self.dir().join(TRIAL)
    }

    /// Returns the trial, if one lasts. A damaged file is none.
    ///
    /// # Errors
    /// [`StoreError::Untrusted`] as root, if other users could have written it; a file that cannot be read.
    pub fn trial(&self) -> Result<Option<Trial>, StoreError> {
        let path = self.trial_path();
        if disk::lstat(&path).map_err(StoreError::io("read", &path))?.is_none() {
            return Ok(None);
        }
        trust::whole_path(&path)?;
        let bytes = disk::read_small_regular(&path, limits::RECEIPT_BYTES).map_err(StoreError::io("read", &path))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Stores the count of starts. Only the agent of the host does.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn save_trial(&self, trial: &Trial) -> Result<(), StoreError> {
        let failed = StoreError::io("write", self.trial_path());
        let Ok(text) = serde_json::to_vec(trial) else { return Ok(()) };
        disk::replace(&self.trial_path(), &text, Some(disk::PLAIN)).map_err(failed)
    }

    /// Ends the trial. Returns whether there was one.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn end_trial(&self) -> Result<bool, StoreError> {
        let path = self.trial_path();
        let ended =
            disk::unlink(&path).and_then(|was| if was { disk::sync_dir(&self.dir()) } else { Ok(()) }.map(|()| was));
        ended.map_err(StoreError::io("remove", path))
    }
}

impl LockedD8Store {
    /// Begins a trial, before the version on trial is activated.
    ///
    /// # Errors
    /// The former version is not in the store ([`StoreError::NotStored`]); errors of the disk.
    pub fn begin_trial(&mut self, trial: &Trial) -> Result<(), StoreError> {
        self.check_lock()?;
        let former = self.former(trial)?;
        let link = self.store.dir().join(RECOVERY);
        let temporary = self.staging.dir().join(RECOVERY);
        disk::place_symlink(&relative(&former.tag), &link, &temporary).map_err(StoreError::io("write", &link))?;
        self.store.save_trial(trial)
    }

    /// Returns whether a trial still lasts: nobody switched to another version since.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_on_trial(&self, trial: &Trial) -> Result<bool, StoreError> {
        let stored = self.store.trial()?.is_some_and(|stored| (&stored.from, &stored.to) == (&trial.from, &trial.to));
        Ok(stored && self.store.active()?.is_some_and(|active| active.tag == trial.to))
    }

    /// Makes the version before a trial active again, and ends the trial. It ran before, so it is not tested.
    ///
    /// # Errors
    /// The former version is not in the store ([`StoreError::NotStored`]); [`StoreError::LockLost`]; errors of the disk.
    pub fn revert(&mut self, trial: &Trial) -> Result<(), StoreError> {
        self.check_lock()?;
        let former = self.former(trial)?;
        self.point_current(&relative(&former.tag))?;
        self.store.end_trial().map(drop)
    }

    fn former(&self, trial: &Trial) -> Result<D8Version, StoreError> {
        self.store.version(&trial.from).ok_or_else(|| StoreError::NotStored {
            name: Component::D8,
            tag: trial.from.clone(),
            why: format!("{} is missing or damaged", self.store.version_dir(&trial.from).display()),
        })
    }
}

/// Returns the target of a link in the store to a version.
fn relative(tag: &Tag) -> PathBuf {
    Path::new("versions").join(tag.as_str()).join(EXECUTABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn the_third_start_ends_a_trial() {
        let trial = Trial::new(tag("v1.0.0"), (tag("v1.1.0"), None), Timestamp::UNIX_EPOCH);
        for (starts, active, expected) in [
            (0, "v1.1.0", TrialStart::GoesOn(Trial { starts: 1, ..trial.clone() })),
            (1, "v1.1.0", TrialStart::GoesOn(Trial { starts: 2, ..trial.clone() })),
            (2, "v1.1.0", TrialStart::Fails),
            (u32::MAX, "v1.1.0", TrialStart::Fails),
            (2, "v1.0.0", TrialStart::IsOver),
            (0, "v1.2.0", TrialStart::IsOver),
        ] {
            let before = Trial { starts, ..trial.clone() };
            assert_eq!(before.start(&tag(active)), expected, "{starts} {active}");
        }
    }
}
