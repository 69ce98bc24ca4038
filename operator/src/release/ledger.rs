//! The first-seen ledger: since when each version has had its digest. No IO.
//!
//! First-seen times decide what may be installed, so they outlive the status: they are kept in
//! ConfigMap `d8-ledger-<component>` and the status is made from them, never the reverse.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::release::{CliReleaseStatus, MovedTag, ReleaseVersion},
    values::{
        digest::Digest,
        name::{NameError, Tag},
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// Most entries kept: what is no longer published goes first, earliest seen first. With some 200
/// bytes an entry this stays far from a ConfigMap's 1 MiB.
const MAX_ENTRIES: usize = 1000;
/// The key that says how far the first sync is; no version can have this name.
const FIRST_SYNC: &str = "first-sync";
const DONE: &str = "done";

/// One version's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// What the tag points at.
    pub(crate) digest: Digest,
    /// When it was first seen with this digest.
    pub(crate) first_seen: Timestamp,
    /// What it pointed at before it was moved, and when the move was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<Move>,
}

/// A move of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    /// What it pointed at before.
    pub(crate) from: Digest,
    /// When that was seen.
    pub(crate) at: Timestamp,
}

/// How far the first sync of a component is. Only what was published before it may take the
/// image's own date as first seen: a later image could claim any date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum FirstSync {
    /// Nothing was seen yet.
    #[default]
    Ahead,
    /// These tags were listed by the first poll and are still being read.
    Running(BTreeSet<Tag>),
    /// It is over.
    Done,
}

/// The ledger of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// By tag.
    pub(crate) entries: BTreeMap<Tag, Entry>,
    /// How far the first sync is.
    pub(crate) first_sync: FirstSync,
}

/// Why a ledger can't be read. Times can't be made up, so nothing is judged without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} of the ledger is not readable: {why}")]
pub(crate) struct LedgerError {
    key: String,
    why: String,
}

impl Ledger {
    /// Reads the data of the ConfigMap.
    pub(crate) fn from_data(data: &BTreeMap<String, String>) -> Result<Self, LedgerError> {
        let bad = |key: &str, why: String| LedgerError { key: key.to_owned(), why };
        // Made, and not written yet: nothing was seen.
        let first_sync = if data.is_empty() { FirstSync::Ahead } else { FirstSync::Done };
        let mut ledger = Self { first_sync, ..Self::default() };
        for (key, value) in data {
            if key == FIRST_SYNC {
                if value != DONE {
                    let tags: Result<_, NameError> = value.split_whitespace().map(str::parse).collect();
                    ledger.first_sync = FirstSync::Running(tags.map_err(|e| bad(key, e.to_string()))?);
                }
                continue;
            }
            let tag = key.parse().map_err(|e: NameError| bad(key, e.to_string()))?;
            let entry = serde_json::from_str(value).map_err(|e| bad(key, e.to_string()))?;
            ledger.entries.insert(tag, entry);
        }
        Ok(ledger)
    }

    /// The data of the ConfigMap.
    pub(crate) fn to_data(&self) -> BTreeMap<String, String> {
        let mut data: BTreeMap<String, String> = self
            .entries
            .iter()
            // An entry holds two texts and two times: it always serialises.
            .filter_map(|(tag, entry)| Some((tag.to_string(), serde_json::to_string(entry).ok()?)))
            .collect();
        let sync = match &self.first_sync {
            FirstSync::Ahead => return data,
            FirstSync::Running(tags) => tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" "),
            FirstSync::Done => DONE.to_owned(),
        };
        data.insert(FIRST_SYNC.to_owned(), sync);
        data
    }

    /// Takes over what a status says where the ledger was lost. Never later than now.
    pub(crate) fn adopt(&mut self, status: &CliReleaseStatus, now: Timestamp) {
        if self.first_sync != FirstSync::Ahead || status.versions.is_empty() {
            return;
        }
        self.first_sync = FirstSync::Done;
        for version in &status.versions {
            let (Ok(tag), Ok(digest)) = (version.version.parse(), version.digest.parse()) else { continue };
            let first_seen = version.first_seen.as_ref().map_or(now, |t| t.0.min(now));
            let moved = version
                .moved
                .as_ref()
                .and_then(|moved| Some(Move { from: moved.from.parse().ok()?, at: moved.at.0.min(now) }));
            self.entries.insert(tag, Entry { digest, first_seen, moved });
        }
    }

    /// Notes that a tag points at a digest with these facts, and says since when. `recorded` is what
    /// the record said of the tag before.
    pub(crate) fn see(
        &mut self,
        tag: &Tag,
        digest: &Digest,
        facts: &Facts,
        recorded: Option<&ReleaseVersion>,
        now: Timestamp,
    ) -> Entry {
        let entry = match self.entries.get(tag) {
            Some(entry) if entry.digest == *digest => return entry.clone(),
            Some(entry) => {
                let grown =
                    recorded.is_some_and(|old| old.digest == entry.digest.as_str() && facts.only_adds_to(digest, old));
                if grown {
                    Entry { digest: digest.clone(), ..entry.clone() }
                } else {
                    let moved = Some(Move { from: entry.digest.clone(), at: now });
                    Entry { digest: digest.clone(), first_seen: now, moved }
                }
            }
            None => {
                let first_seen = match &self.first_sync {
                    FirstSync::Running(tags) if tags.contains(tag) => facts.created.map_or(now, |at| at.min(now)),
                    _ => now,
                };
                Entry { digest: digest.clone(), first_seen, moved: None }
            }
        };
        self.entries.insert(tag.clone(), entry.clone());
        entry
    }

    /// Drops entries beyond the bound, those that are not published first, then the earliest seen.
    pub(crate) fn trim(&mut self, published: &BTreeSet<Tag>) {
        let excess = self.entries.len().saturating_sub(MAX_ENTRIES);
        if excess == 0 {
            return;
        }
        let mut order: Vec<(bool, Timestamp, Tag)> =
            self.entries.iter().map(|(tag, e)| (published.contains(tag), e.first_seen, tag.clone())).collect();
        order.sort();
        for (_, _, tag) in order.into_iter().take(excess) {
            self.entries.remove(&tag);
        }
    }
}

impl Entry {
    /// As the record shows a move.
    pub(crate) fn moved(&self) -> Option<MovedTag> {
        self.moved.as_ref().map(|moved| MovedTag { from: moved.from.to_string(), at: Time(moved.at) })
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::records::{
        release::{Artifact, Fit},
        requirements::Requirements,
    };

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn artifact(platform: &str, bytes: &[u8]) -> Artifact {
        Artifact {
            platform: Some(platform.into()),
            manifest: Digest::of(bytes).to_string(),
            layer: Digest::of(bytes).to_string(),
            size_bytes: 1,
        }
    }

    fn recorded(digest: &Digest, artifacts: Vec<Artifact>) -> ReleaseVersion {
        ReleaseVersion {
            version: "v1.0.0".into(),
            digest: digest.to_string(),
            first_seen: Some(Time(at(50))),
            fit: Fit::Fits,
            reasons: vec![],
            artifacts,
            requirements: Requirements::default(),
            description: None,
            env: vec![],
            flags: vec![],
            moved: None,
            withdrawn: None,
        }
    }

    #[test]
    fn first_seen_of_a_new_version() {
        let listed = || FirstSync::Running([tag("v1.0.0")].into());
        for (what, first_sync, created, expected) in [
            ("first sync: the image's date", listed(), Some(at(50)), 50),
            ("first sync: never later than now", listed(), Some(at(500)), 100),
            ("first sync: an image without a date", listed(), None, 100),
            ("first sync: published after its list", FirstSync::Running([tag("v0.9.0")].into()), Some(at(50)), 100),
            ("after the first sync", FirstSync::Done, Some(at(50)), 100),
        ] {
            let mut ledger = Ledger { first_sync, ..Ledger::default() };
            let facts = Facts { created, ..Facts::default() };
            let entry = ledger.see(&tag("v1.0.0"), &Digest::of(b"1"), &facts, None, at(100));
            assert_eq!((entry.first_seen, entry.moved), (at(expected), None), "{what}");
        }
    }

    #[test]
    fn moves() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let (linux, darwin, other) =
            (artifact("linux-amd64", b"l"), artifact("darwin-arm64", b"d"), artifact("linux-amd64", b"x"));
        let described = Some("changed".to_owned());
        for (what, before, now_has, description, moved) in [
            ("a platform was added", vec![linux.clone()], vec![linux.clone(), darwin.clone()], None, false),
            ("the index changed, nothing in it", vec![linux.clone()], vec![linux.clone()], None, false),
            ("a platform's manifest changed", vec![linux.clone()], vec![other.clone(), darwin.clone()], None, true),
            ("a platform went", vec![linux.clone(), darwin.clone()], vec![linux.clone()], None, true),
            ("the contract changed", vec![linux.clone()], vec![linux.clone()], described, true),
        ] {
            let mut ledger = Ledger { first_sync: FirstSync::Done, ..Ledger::default() };
            let version = recorded(&old, before);
            ledger.entries.insert(tag("v1.0.0"), Entry { digest: old.clone(), first_seen: at(50), moved: None });
            let facts = Facts { artifacts: now_has, description, ..Facts::default() };
            let entry = ledger.see(&tag("v1.0.0"), &new, &facts, Some(&version), at(100));
            let expected = moved.then(|| Move { from: old.clone(), at: at(100) });
            assert_eq!(entry.moved, expected, "{what}");
            assert_eq!(entry.first_seen, if moved { at(100) } else { at(50) }, "{what}");
            assert_eq!(ledger.see(&tag("v1.0.0"), &new, &facts, Some(&version), at(200)), entry, "{what}: stays");
        }
    }

    #[test]
    fn a_change_without_a_record_to_compare_with_is_a_move() {
        let mut ledger = Ledger { first_sync: FirstSync::Done, ..Ledger::default() };
        ledger.see(&tag("v1.0.0"), &Digest::of(b"old"), &Facts::default(), None, at(50));
        let entry = ledger.see(&tag("v1.0.0"), &Digest::of(b"new"), &Facts::default(), None, at(100));
        assert_eq!(entry.moved, Some(Move { from: Digest::of(b"old"), at: at(100) }));
    }

    #[test]
    fn a_lost_ledger_is_taken_over_from_the_status_and_is_no_first_sync() {
        let mut version = recorded(&Digest::of(b"1"), vec![]);
        version.moved = Some(MovedTag { from: Digest::of(b"0").to_string(), at: Time(at(40)) });
        let status = CliReleaseStatus { versions: vec![version], ..CliReleaseStatus::default() };
        let mut ledger = Ledger::default();
        ledger.adopt(&status, at(45));
        assert_eq!(ledger.first_sync, FirstSync::Done);
        let entry = &ledger.entries[&tag("v1.0.0")];
        assert_eq!(entry.first_seen, at(45), "never later than now");
        assert_eq!(entry.moved, Some(Move { from: Digest::of(b"0"), at: at(40) }));
    }

    #[test]
    fn data_of_the_config_map_reads_back() {
        let entry = Entry {
            digest: Digest::of(b"1"),
            first_seen: at(1),
            moved: Some(Move { from: Digest::of(b"0"), at: at(2) }),
        };
        assert_eq!(Ledger::from_data(&BTreeMap::new()), Ok(Ledger::default()), "made and never written");
        for first_sync in [FirstSync::Running([tag("v1.0.0"), tag("v2.0.0")].into()), FirstSync::Done] {
            let ledger = Ledger { entries: [(tag("v1.0.0"), entry.clone())].into(), first_sync };
            assert_eq!(Ledger::from_data(&ledger.to_data()), Ok(ledger));
        }
    }

    #[test]
    fn an_unreadable_ledger_names_the_key() {
        for (key, value) in [("v1.0.0", "{"), ("a b", "{}"), ("first-sync", "../x")] {
            let data = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let error = Ledger::from_data(&data).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_full_ledger_drops_what_is_not_published_first() {
        let entry = |second| Entry { digest: Digest::of(b"1"), first_seen: at(second), moved: None };
        let mut ledger = Ledger { first_sync: FirstSync::Done, ..Ledger::default() };
        let mut published = BTreeSet::new();
        for n in 0..MAX_ENTRIES {
            published.insert(tag(&format!("v1.{n}.0")));
            ledger.entries.insert(tag(&format!("v1.{n}.0")), entry(1));
        }
        ledger.entries.insert(tag("v9.0.0"), entry(1000));
        ledger.trim(&published);
        assert_eq!(ledger.entries.len(), MAX_ENTRIES);
        assert!(!ledger.entries.contains_key(&tag("v9.0.0")));
    }
}
