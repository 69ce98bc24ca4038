//! The ledger of a component: when each tag was first seen with its digest.
//!
//! These times decide what may be installed, so they must survive the loss of the status. They are stored in ConfigMap
//! `d8-ledger-<component>`, and the status is made from them.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::release::MovedTag,
    values::{
        digest::Digest,
        name::{NameError, Tag},
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::decisions::{
    labels,
    ledger::{Data, Ledger, LedgerError},
};

/// Key of the progress of the first sync. No tag that is a version has this name.
const FIRST_SYNC: &str = "first-sync";
const DONE: &str = "done";

/// The stored history of one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagHistory {
    /// The digest the tag points at.
    pub(crate) digest: Digest,
    /// When the tag was first seen with this digest.
    pub(crate) first_seen: Timestamp,
    /// The last move of the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<TagMove>,
}

impl TagHistory {
    /// Returns the last move, as the record shows it.
    pub(crate) fn moved(&self) -> Option<MovedTag> {
        self.moved.as_ref().map(|moved| MovedTag { from: moved.from.to_string(), at: Time(moved.at) })
    }
}

/// A move of a tag to another digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagMove {
    /// The digest before the move.
    pub(crate) from: Digest,
    /// When the move was seen.
    pub(crate) at: Timestamp,
}

/// Progress of the first sync of a component. Versions of the first list take the image's own date as first seen.
/// Later versions do not, because an image could claim any date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum FirstSync {
    /// No list was read yet.
    #[default]
    Pending,
    /// The first list had these tags. They are being read.
    Running(BTreeSet<Tag>),
    /// Every tag of the first list was read.
    Done,
}

/// The ledger of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReleaseLedger {
    /// The tags that were seen.
    pub(crate) tags: BTreeMap<Tag, TagHistory>,
    /// Progress of the first sync.
    pub(crate) first_sync: FirstSync,
}

/// Changes to a [`ReleaseLedger`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReleaseLedgerChanges {
    /// New histories by tag; `None` drops the tag.
    pub(crate) tags: BTreeMap<Tag, Option<TagHistory>>,
    /// New progress of the first sync; absent: unchanged.
    pub(crate) first_sync: Option<FirstSync>,
}

impl ReleaseLedgerChanges {
    /// Returns whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.first_sync.is_none()
    }
}

impl ReleaseLedger {
    pub(crate) fn apply(&mut self, changes: ReleaseLedgerChanges) {
        for (tag, history) in changes.tags {
            match history {
                Some(history) => drop(self.tags.insert(tag, history)),
                None => drop(self.tags.remove(&tag)),
            }
        }
        if let Some(first_sync) = changes.first_sync {
            self.first_sync = first_sync;
        }
    }
}

impl Ledger for ReleaseLedger {
    const NAME_PREFIX: &'static str = "d8-ledger-";
    const OWNER_LABEL: &'static str = labels::COMPONENT;
    const FALLBACK: &'static str = "the times in the record's status";

    fn from_data(data: &Data) -> Result<Self, LedgerError> {
        // A ConfigMap without data was created and never written: nothing was seen yet.
        let first_sync = if data.is_empty() { FirstSync::Pending } else { FirstSync::Done };
        let mut ledger = Self { first_sync, ..Self::default() };
        for (key, value) in data {
            if key == FIRST_SYNC {
                if value != DONE {
                    let tags: Result<_, NameError> = value.split_whitespace().map(str::parse).collect();
                    ledger.first_sync = FirstSync::Running(tags.map_err(|e| LedgerError::new(key, &e))?);
                }
                continue;
            }
            let tag = key.parse().map_err(|e: NameError| LedgerError::new(key, &e))?;
            let history = serde_json::from_str(value).map_err(|e| LedgerError::new(key, &e))?;
            ledger.tags.insert(tag, history);
        }
        Ok(ledger)
    }

    fn to_data(&self) -> Data {
        let mut data: Data = self
            .tags
            .iter()
            // Texts and times always serialise.
            .filter_map(|(tag, history)| Some((tag.to_string(), serde_json::to_string(history).ok()?)))
            .collect();
        let first_sync = match &self.first_sync {
            FirstSync::Pending => return data,
            FirstSync::Running(tags) => tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" "),
            FirstSync::Done => DONE.to_owned(),
        };
        data.insert(FIRST_SYNC.to_owned(), first_sync);
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn history(second: i64) -> TagHistory {
        TagHistory { digest: Digest::of(b"1"), first_seen: at(second), moved: None }
    }

    #[test]
    fn the_data_of_the_config_map_reads_back() {
        let moved = Some(TagMove { from: Digest::of(b"0"), at: at(2) });
        let history = TagHistory { moved, ..history(1) };
        assert_eq!(ReleaseLedger::from_data(&Data::new()), Ok(ReleaseLedger::default()), "created and never written");
        for first_sync in [FirstSync::Running([tag("v1.0.0"), tag("v2.0.0")].into()), FirstSync::Done] {
            let ledger = ReleaseLedger { tags: [(tag("v1.0.0"), history.clone())].into(), first_sync };
            assert_eq!(ReleaseLedger::from_data(&ledger.to_data()), Ok(ledger));
        }
    }

    #[test]
    fn the_error_of_unreadable_data_names_the_key() {
        for (key, value) in [("v1.0.0", "{"), ("a b", "{}"), ("first-sync", "../x")] {
            let data = Data::from([(key.to_owned(), value.to_owned())]);
            let error = ReleaseLedger::from_data(&data).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn changes_replace_add_and_drop() {
        let mut ledger = ReleaseLedger {
            tags: [(tag("v1.0.0"), history(1)), (tag("v2.0.0"), history(2))].into(),
            first_sync: FirstSync::Pending,
        };
        ledger.apply(ReleaseLedgerChanges {
            tags: [(tag("v1.0.0"), None), (tag("v2.0.0"), Some(history(3))), (tag("v3.0.0"), Some(history(4)))].into(),
            first_sync: Some(FirstSync::Done),
        });
        let tags = [(tag("v2.0.0"), history(3)), (tag("v3.0.0"), history(4))].into();
        assert_eq!(ledger, ReleaseLedger { tags, first_sync: FirstSync::Done });
    }
}
