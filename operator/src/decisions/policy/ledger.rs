//! The wave ledger of a policy: when the policy began to permit each version, and which waves are halted.
//!
//! These times decide which host may have which version, so they must survive the loss of the status. They are stored
//! in ConfigMap `d8-waves-<policy>`, and the status is made from them. If the ConfigMap is lost, they are restored from
//! the status.

use std::collections::BTreeMap;

use d8_crds::values::{
    name::{Component, NameError},
    version::Version,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::decisions::{
    labels,
    ledger::{Data, Ledger, LedgerError},
};

/// Key of the policy's UID. The keys of waves contain a `.`.
const UID: &str = "policy-uid";
/// Key of the time at which the policy was found deleted.
const DELETED_AT: &str = "deleted-at";
/// Most bytes of keys and values; a ConfigMap holds 1 MiB.
const MAX_BYTES: usize = 900 << 10;
/// How long the waves of a deleted policy are kept, in case it is created again.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// The stored state of the wave of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveRecord {
    /// When the policy began to permit the version, moved by the length of each halt. Absent: the wave has not begun,
    /// because it waits for evidence, or is halted.
    pub(crate) since: Option<Timestamp>,
    /// The halt of the wave; absent: the wave is not halted.
    pub(crate) halt: Option<Halt>,
    /// Number of failed hosts that do not count, because the halt they caused was resumed. It never exceeds the number
    /// of failed hosts, so a host that recovers and fails again counts.
    pub(crate) ignored_failures: u32,
    /// Since when no record has the version.
    pub(crate) missing_since: Option<Timestamp>,
}

/// A halt of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Halt {
    /// When the wave was halted. The annotation that resumes the wave names this time.
    pub(crate) at: Timestamp,
}

impl WaveRecord {
    /// A wave that has not begun.
    pub(crate) const WAITING: Self = Self { since: None, halt: None, ignored_failures: 0, missing_since: None };

    /// Makes the record of a wave that begins at `since`.
    #[cfg(test)]
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since: Some(since), ..Self::WAITING }
    }
}

/// The wave ledger of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WaveLedger {
    /// UID of the policy. Absent: the ledger is new, or its ConfigMap was lost.
    pub(crate) uid: Option<String>,
    /// When the policy was found deleted; absent: it exists, as far as is known.
    pub(crate) deleted_at: Option<Timestamp>,
    /// The waves by component and version.
    pub(crate) waves: BTreeMap<Component, BTreeMap<Version, WaveRecord>>,
}

/// A change of `deleted_at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum DeletionChange {
    #[default]
    None,
    Mark(Timestamp),
    Unmark,
}

/// Changes to a [`WaveLedger`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WaveLedgerChanges {
    uid: Option<String>,
    deletion: DeletionChange,
    /// `None` drops the wave.
    waves: Vec<(Component, Version, Option<WaveRecord>)>,
}

impl WaveLedgerChanges {
    /// Returns the changes that turn `old` into `new`.
    pub(super) fn between(old: &WaveLedger, new: &WaveLedger) -> Self {
        let changed = new.all().filter(|(component, version, wave)| old.wave(component, version) != Some(wave));
        let dropped = old.all().filter(|(component, version, _)| new.wave(component, version).is_none());
        let owned = |component: &Component, version: &Version, wave| (component.clone(), version.clone(), wave);
        Self {
            uid: new.uid.clone().filter(|_| new.uid != old.uid),
            deletion: match new.deleted_at {
                same if same == old.deleted_at => DeletionChange::None,
                Some(at) => DeletionChange::Mark(at),
                None => DeletionChange::Unmark,
            },
            waves: changed
                .map(|(component, version, wave)| owned(component, version, Some(wave.clone())))
                .chain(dropped.map(|(component, version, _)| owned(component, version, None)))
                .collect(),
        }
    }

    /// Returns whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.uid.is_none() && self.deletion == DeletionChange::None && self.waves.is_empty()
    }
}

impl WaveLedger {
    pub(crate) fn apply(&mut self, changes: WaveLedgerChanges) {
        if changes.uid.is_some() {
            self.uid = changes.uid;
        }
        match changes.deletion {
            DeletionChange::None => {}
            DeletionChange::Mark(at) => self.deleted_at = Some(at),
            DeletionChange::Unmark => self.deleted_at = None,
        }
        for (component, version, wave) in changes.waves {
            let waves = self.waves.entry(component).or_default();
            match wave {
                Some(wave) => drop(waves.insert(version, wave)),
                None => drop(waves.remove(&version)),
            }
        }
        self.waves.retain(|_, waves| !waves.is_empty());
    }

    /// Returns whether a wave is halted.
    pub(super) fn has_halts(&self) -> bool {
        self.all().any(|(_, _, wave)| wave.halt.is_some())
    }

    /// Returns the wave of one version.
    pub(crate) fn wave(&self, component: &Component, version: &Version) -> Option<&WaveRecord> {
        self.waves.get(component)?.get(version)
    }

    /// Returns the ledger of a policy that was deleted: its waves for [`KEPT`], its halts for as long as a record has
    /// the version. `None`: nothing of it is needed any more. `in_record`: whether a record has the version.
    pub(crate) fn after_deletion(
        &self,
        in_record: impl Fn(&Component, &Version) -> bool,
        now: Timestamp,
    ) -> Option<Self> {
        let mut kept = Self { deleted_at: Some(self.deleted_at.map_or(now, |at| at.min(now))), ..self.clone() };
        if kept.is_over(now) {
            kept.keep_halts();
        }
        for (component, waves) in &mut kept.waves {
            waves.retain(|version, wave| wave.halt.is_none() || in_record(component, version));
        }
        kept.waves.retain(|_, waves| !waves.is_empty());
        (!kept.waves.is_empty()).then_some(kept)
    }

    /// Returns the ledger for a policy with this UID. A policy that was deleted and created again under its name keeps
    /// its waves if that took less than [`KEPT`], and its halts in any case.
    ///
    /// `created`: when it was created again. `last_seen`: when an operator last saw the former policy, if that is known.
    /// If no operator saw the deletion, it may have been at any time after that, so that the waves begin again unless it
    /// was recent for sure.
    pub(super) fn adopted(&self, uid: Option<String>, created: Timestamp, last_seen: Option<Timestamp>) -> Self {
        let mut ledger = Self { uid, deleted_at: None, ..self.clone() };
        let gone_since = self.deleted_at.or_else(|| last_seen.max(self.last_change()));
        if gone_since.is_some_and(|at| created.duration_since(at) >= KEPT) {
            ledger.keep_halts();
        }
        ledger
    }

    /// Returns the latest time in the ledger. The policy existed then.
    fn last_change(&self) -> Option<Timestamp> {
        let times = |wave: &WaveRecord| [wave.since, wave.halt.map(|halt| halt.at), wave.missing_since];
        self.all().flat_map(|(.., wave)| times(wave)).flatten().max()
    }

    /// Returns whether the policy was deleted so long ago that its waves begin again.
    fn is_over(&self, now: Timestamp) -> bool {
        self.deleted_at.is_some_and(|at| now.duration_since(at) >= KEPT)
    }

    fn keep_halts(&mut self) {
        for waves in self.waves.values_mut() {
            waves.retain(|_, wave| wave.halt.is_some());
            for wave in waves.values_mut() {
                wave.since = None;
            }
        }
        self.waves.retain(|_, waves| !waves.is_empty());
    }

    /// Drops waves until the rest fits into a ConfigMap: each time the oldest wave of the component with most waves.
    /// Halted waves stay. Returns whether a wave was dropped.
    pub(super) fn trim(&mut self) -> bool {
        let mut total: usize = self.all().map(|(c, v, w)| size(&line(c, v, w))).sum();
        let mut trimmed = false;
        while total > MAX_BYTES {
            let Some((component, waves)) = self.waves.iter_mut().max_by_key(|(_, waves)| waves.len()) else {
                break;
            };
            let oldest = waves.iter().find(|(_, wave)| wave.halt.is_none()).map(|(version, _)| version.clone());
            let Some(oldest) = oldest else { break };
            if let Some(wave) = waves.remove(&oldest) {
                total = total.saturating_sub(size(&line(component, &oldest, &wave)));
                trimmed = true;
            }
        }
        self.waves.retain(|_, waves| !waves.is_empty());
        trimmed
    }

    fn all(&self) -> impl Iterator<Item = (&Component, &Version, &WaveRecord)> {
        self.waves
            .iter()
            .flat_map(|(component, waves)| waves.iter().map(move |(version, wave)| (component, version, wave)))
    }
}

impl Ledger for WaveLedger {
    const NAME_PREFIX: &'static str = "d8-waves-";
    const OWNER_LABEL: &'static str = labels::POLICY;
    const FALLBACK: &'static str = "the times in the policy's status";

    fn from_data(data: &Data) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for (key, value) in data {
            if key == UID {
                ledger.uid = Some(value.clone());
                continue;
            }
            if key == DELETED_AT {
                let deleted_at = value.parse().map_err(|error: jiff::Error| LedgerError::new(key, &error))?;
                ledger.deleted_at = Some(deleted_at);
                continue;
            }
            let (component, version) =
                key.split_once('.').ok_or_else(|| LedgerError::new(key, &"it is not `<component>.<version>`"))?;
            let component: Component = component.parse().map_err(|error: NameError| LedgerError::new(key, &error))?;
            let version = Version::parse(version).map_err(|error| LedgerError::new(key, &error))?;
            let stored: StoredWave = serde_json::from_str(value).map_err(|error| LedgerError::new(key, &error))?;
            ledger.waves.entry(component).or_default().insert(version, stored.into());
        }
        Ok(ledger)
    }

    fn to_data(&self) -> Data {
        let uid = self.uid.clone().map(|uid| (UID.to_owned(), uid));
        let deleted_at = self.deleted_at.map(|at| (DELETED_AT.to_owned(), at.to_string()));
        let waves = self.all().map(|(component, version, wave)| line(component, version, wave));
        waves.chain(uid).chain(deleted_at).collect()
    }
}

/// A wave as a value of the ConfigMap.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredWave {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halted_at: Option<Timestamp>,
    /// Former ledgers have it. Only the annotation resumes a wave.
    #[serde(default, rename = "haltedGeneration", skip_serializing)]
    _halted_generation: IgnoredAny,
    #[serde(default, skip_serializing_if = "is_zero", rename = "excused")]
    ignored_failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "goneSince")]
    missing_since: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde calls
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<StoredWave> for WaveRecord {
    fn from(stored: StoredWave) -> Self {
        let halt = stored.halted_at.map(|at| Halt { at });
        Self {
            since: stored.since,
            halt,
            ignored_failures: stored.ignored_failures,
            missing_since: stored.missing_since,
        }
    }
}

impl From<&WaveRecord> for StoredWave {
    fn from(wave: &WaveRecord) -> Self {
        Self {
            since: wave.since,
            halted_at: wave.halt.map(|halt| halt.at),
            _halted_generation: IgnoredAny,
            ignored_failures: wave.ignored_failures,
            missing_since: wave.missing_since,
        }
    }
}

/// Returns key and value of a wave. A component's name is a DNS label, so it contains no `.`. A recorded version is a
/// tag, so all its characters are allowed in a key.
fn line(component: &Component, version: &Version, wave: &WaveRecord) -> (String, String) {
    // Times and numbers always serialise.
    let value = serde_json::to_string(&StoredWave::from(wave)).unwrap_or_default();
    (format!("{}.{}", component.name(), version.without_build()), value)
}

fn size((key, value): &(String, String)) -> usize {
    key.len() + value.len()
}

#[cfg(test)]
mod tests;
