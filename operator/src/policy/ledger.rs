//! The wave ledger of one policy: since when it permits each version, and which waves were halted. No IO.
//!
//! These times decide who may have what, so they outlive the status: they are kept in ConfigMap
//! `d8-waves-<policy>` and the status is made from them. Only where the ConfigMap is lost, the status is
//! what they are taken from.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::policy::{PluginPolicyStatus, WaveState},
    values::version::Version,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kept::Data;

/// The key of the policy's UID; the others have a `.` in them.
const UID: &str = "policy-uid";
/// Most bytes that keys and values may take: a ConfigMap holds 1 MiB.
const MAX_BYTES: usize = 900 << 10;

/// One version's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When the policy began to permit it.
    pub(crate) since: Timestamp,
    /// Its wave is halted.
    pub(crate) halt: Option<Halt>,
    /// Failed hosts that no longer count, for a halt that they led to was resumed. Never more than there
    /// are: one that recovers and fails again counts.
    pub(crate) excused: u32,
    /// Since when the record has no such version.
    pub(crate) gone_since: Option<Timestamp>,
}

/// A halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Halt {
    /// When; names it for the annotation that resumes it.
    pub(crate) at: Timestamp,
    /// The generation of the policy that was halted: the next one resumes. Absent where nobody knows, so
    /// that only the annotation does.
    pub(crate) generation: Option<i64>,
}

impl Entry {
    /// A version that the policy permits from now on.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, halt: None, excused: 0, gone_since: None }
    }
}

/// The ledger of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The policy it is of: one that was made anew under the same name starts anew. Absent: nothing was
    /// kept yet, or all was lost.
    pub(crate) uid: Option<String>,
    /// By component and version.
    pub(crate) entries: BTreeMap<String, BTreeMap<Version, Entry>>,
}

/// Why a ledger can't be read. Times can't be made up, so nothing is judged without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} is not readable: {why}")]
pub(crate) struct LedgerError {
    key: String,
    why: String,
}

/// An entry as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halted_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    excused: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_since: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde calls
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Ledger {
    /// Reads the data of the ConfigMap.
    pub(crate) fn from_data(data: &Data) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for (key, value) in data {
            let bad = |why: &dyn ToString| LedgerError { key: key.clone(), why: why.to_string() };
            if key == UID {
                ledger.uid = Some(value.clone());
                continue;
            }
            let (component, version) = key.split_once('.').ok_or_else(|| bad(&"it is no `<component>.<version>`"))?;
            let version = Version::parse(version).map_err(|error| bad(&error))?;
            let wire: Wire = serde_json::from_str(value).map_err(|error| bad(&error))?;
            let entry = Entry {
                since: wire.since,
                halt: wire.halted_at.map(|at| Halt { at, generation: wire.halted_generation }),
                excused: wire.excused,
                gone_since: wire.gone_since,
            };
            ledger.entries.entry(component.to_owned()).or_default().insert(version, entry);
        }
        Ok(ledger)
    }

    /// The data of the ConfigMap.
    pub(crate) fn to_data(&self) -> Data {
        self.all().map(|(component, version, entry)| line(component, version, entry)).chain(self.uid_line()).collect()
    }

    /// One version's entry.
    pub(crate) fn entry(&self, component: &str, version: &Version) -> Option<&Entry> {
        self.entries.get(component)?.get(version)
    }

    /// Takes over what a status says, where the ConfigMap was lost; times are never later than now.
    /// Returns the components of which the status shows what still matters: a wave that it does not show
    /// there is over.
    pub(crate) fn adopt(&mut self, status: &PluginPolicyStatus, generation: i64, now: Timestamp) -> BTreeSet<String> {
        for component in &status.components {
            for wave in &component.waves {
                let Ok(version) = Version::parse(&wave.version) else { continue };
                let since = wave.since.as_ref().map_or(now, |time| time.0.min(now));
                let halted = wave.halted_at.as_ref().filter(|_| wave.state == Some(WaveState::Halted));
                let halt = halted.map(|at| Halt { at: at.0.min(now), generation: status.observed_generation });
                let entry = Entry { halt, ..Entry::new(since) };
                self.entries.entry(component.name.clone()).or_default().insert(version, entry);
            }
        }
        if status.observed_generation != Some(generation) {
            return BTreeSet::new();
        }
        status.components.iter().map(|component| component.name.clone()).collect()
    }

    /// Drops the oldest versions of the components that have most, until the rest fits a ConfigMap.
    /// Halted waves stay. Says whether anything was dropped.
    pub(crate) fn trim(&mut self) -> bool {
        let mut size: usize = self.all().map(|(c, v, e)| size(&line(c, v, e))).sum();
        let mut trimmed = false;
        while size > MAX_BYTES {
            let Some((component, versions)) = self.entries.iter_mut().max_by_key(|(_, versions)| versions.len()) else {
                break;
            };
            let oldest = versions.iter().find(|(_, entry)| entry.halt.is_none()).map(|(version, _)| version.clone());
            let Some(oldest) = oldest else { break };
            if let Some(entry) = versions.remove(&oldest) {
                size = size.saturating_sub(self::size(&line(component, &oldest, &entry)));
                trimmed = true;
            }
        }
        self.entries.retain(|_, versions| !versions.is_empty());
        trimmed
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Version, &Entry)> {
        self.entries.iter().flat_map(|(component, versions)| {
            versions.iter().map(move |(version, entry)| (component.as_str(), version, entry))
        })
    }

    fn uid_line(&self) -> Option<(String, String)> {
        self.uid.clone().map(|uid| (UID.to_owned(), uid))
    }
}

/// Key and value of an entry. A component's name is a DNS label and has no `.`; a recorded version is a
/// tag, so that no character of it is foreign to a key.
fn line(component: &str, version: &Version, entry: &Entry) -> (String, String) {
    let wire = Wire {
        since: entry.since,
        halted_at: entry.halt.map(|halt| halt.at),
        halted_generation: entry.halt.and_then(|halt| halt.generation),
        excused: entry.excused,
        gone_since: entry.gone_since,
    };
    // Times and numbers always serialise.
    let value = serde_json::to_string(&wire).unwrap_or_default();
    (format!("{component}.{}", version.without_build()), value)
}

fn size((key, value): &(String, String)) -> usize {
    key.len() + value.len()
}

#[cfg(test)]
mod tests {
    use d8_crds::records::policy::{ComponentProgress, WaveStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn ledger(entries: &[(&str, &str, Entry)]) -> Ledger {
        let mut ledger = Ledger { uid: Some("uid-1".into()), ..Ledger::default() };
        for (component, version, entry) in entries {
            ledger.entries.entry((*component).to_owned()).or_default().insert(v(version), entry.clone());
        }
        ledger
    }

    #[test]
    fn data_of_the_config_map_reads_back() {
        let halt = Some(Halt { at: at(60), generation: Some(4) });
        let ledger = ledger(&[
            ("stronghold", "v1.3.3", Entry::new(at(0))),
            ("stronghold", "v1.4.0-rc.1", Entry { halt, excused: 2, ..Entry::new(at(1)) }),
            ("d8", "0.13.0", Entry { gone_since: Some(at(9)), ..Entry::new(at(2)) }),
        ]);
        let data = ledger.to_data();
        assert_eq!(data["stronghold.v1.3.3"], r#"{"since":"1970-01-01T00:00:00Z"}"#);
        assert_eq!(
            data["stronghold.v1.4.0-rc.1"],
            r#"{"since":"1970-01-01T00:00:01Z","haltedAt":"1970-01-01T00:01:00Z","haltedGeneration":4,"excused":2}"#
        );
        assert_eq!(data["policy-uid"], "uid-1");
        assert!(data.contains_key("d8.v0.13.0"));
        assert_eq!(Ledger::from_data(&data), Ok(ledger));
        assert_eq!(Ledger::from_data(&Data::new()), Ok(Ledger::default()));
    }

    #[test]
    fn what_is_not_readable_names_the_key() {
        for (key, value) in [
            ("stronghold", "{}"),
            ("stronghold.v1.x", r#"{"since":"1970-01-01T00:00:00Z"}"#),
            ("stronghold.v1.3.3", "nonsense"),
            ("stronghold.v1.3.3", r#"{"since":"yesterday"}"#),
            ("stronghold.v1.3.3", r#"{"since":"1970-01-01T00:00:00Z","halted":true}"#),
        ] {
            let data = Data::from([(key.to_owned(), value.to_owned())]);
            let error = Ledger::from_data(&data).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_lost_config_map_is_taken_from_the_status() {
        let wave = |version: &str, since: i64, state, halted_at: Option<i64>| WaveStatus {
            version: version.to_owned(),
            since: Some(Time(at(since))),
            state: Some(state),
            failed: 0,
            halted_at: halted_at.map(|second| Time(at(second))),
        };
        let waves = vec![
            wave("v1.3.3", 50, WaveState::Running, None),
            wave("v1.3.2", 40, WaveState::Halted, Some(60)),
            wave("v1.3.1", 500, WaveState::Running, None),
            wave("nonsense", 1, WaveState::Running, None),
        ];
        let status = PluginPolicyStatus {
            observed_generation: Some(4),
            components: vec![ComponentProgress { name: "stronghold".into(), waves, ..ComponentProgress::default() }],
            ..PluginPolicyStatus::default()
        };
        let halt = Some(Halt { at: at(60), generation: Some(4) });
        let mut expected = ledger(&[
            ("stronghold", "v1.3.3", Entry::new(at(50))),
            ("stronghold", "v1.3.2", Entry { halt, ..Entry::new(at(40)) }),
            ("stronghold", "v1.3.1", Entry::new(at(100))),
        ]);
        expected.uid = None;
        for (generation, known) in [(4, ["stronghold".to_owned()].into()), (5, BTreeSet::new())] {
            let mut ledger = Ledger::default();
            assert_eq!(ledger.adopt(&status, generation, at(100)), known);
            assert_eq!(ledger, expected);
        }
    }

    #[test]
    fn what_does_not_fit_goes_oldest_first_and_no_halt() {
        let mut large = ledger(&[("small", "v1.0.0", Entry::new(at(0)))]);
        let many = large.entries.entry("large".to_owned()).or_default();
        for n in 0..20_000 {
            many.insert(v(&format!("v1.{n}.0")), Entry::new(at(n)));
        }
        many.insert(v("v0.0.1"), Entry { halt: Some(Halt { at: at(1), generation: None }), ..Entry::new(at(0)) });
        assert!(large.trim());
        let bytes: usize = large.to_data().iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= 1 << 20, "{bytes}");
        assert!(large.entry("small", &v("v1.0.0")).is_some());
        assert!(large.entry("large", &v("v0.0.1")).is_some());
        assert!(large.entry("large", &v("v1.0.0")).is_none());
        assert!(large.entry("large", &v("v1.19999.0")).is_some());
        assert!(!large.trim());
    }
}
