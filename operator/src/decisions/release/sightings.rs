//! Decides what changes in the ledger of a component: when each known version was first seen, and moved tags. Pure.

use std::collections::BTreeSet;

use d8_crds::{
    records::release::{CliReleaseStatus, ReleaseVersion},
    values::{digest::Digest, name::Tag},
};
use jiff::Timestamp;

use super::{
    facts::VersionFacts,
    inputs::ReleaseInputs,
    ledger::{FirstSync, ReleaseLedger, ReleaseLedgerChanges, TagHistory, TagMove},
    observed::{NOT_PUBLISHED, Observed, TagResolution},
};
use crate::decisions::conditions;

/// Most tags in a ledger. With about 200 bytes a tag, that stays far below the 1 MiB of a ConfigMap.
const MAX_TAGS: usize = 1000;

/// Decides what changes in the ledger. With an invalid spec nothing is selected, so nothing changes.
pub(crate) fn ledger_changes(inputs: &ReleaseInputs<'_>, ledger: &ReleaseLedger) -> ReleaseLedgerChanges {
    let Ok((_, selected)) = inputs.spec else { return ReleaseLedgerChanges::default() };
    let mut draft = Draft { ledger, changes: ReleaseLedgerChanges::default() };
    draft.restore(inputs.previous, inputs.now);
    if let Some(first_list) = &inputs.observed.first_list
        && *draft.first_sync() == FirstSync::Pending
    {
        // Only versions in the first answer use the date of their image, even if that answer has no versions.
        let tags = selected.versions.iter().flat_map(|version| &version.tags);
        let tags = tags.filter(|tag| first_list.contains(*tag)).cloned().collect();
        draft.changes.first_sync = Some(FirstSync::Running(tags));
    }
    let mut shown = BTreeSet::new();
    for version in &selected.versions {
        let TagResolution::Unique(tag) = inputs.observed.resolve(version) else { continue };
        let Some((digest, facts)) = inputs.observed.of_tag(tag) else { continue };
        let recorded = inputs.previous.versions.iter().find(|recorded| recorded.version == tag.as_str());
        draft.see(tag, digest, facts, recorded, inputs.now);
        shown.insert(tag);
    }
    draft.finish_first_sync(inputs.observed);
    draft.trim(&shown, &inputs.observed.published());
    draft.changes
}

/// A ledger with the changes so far.
struct Draft<'a> {
    ledger: &'a ReleaseLedger,
    changes: ReleaseLedgerChanges,
}

impl Draft<'_> {
    fn tag(&self, tag: &Tag) -> Option<&TagHistory> {
        match self.changes.tags.get(tag) {
            Some(changed) => changed.as_ref(),
            None => self.ledger.tags.get(tag),
        }
    }

    fn set(&mut self, tag: Tag, history: TagHistory) {
        self.changes.tags.insert(tag, Some(history));
    }

    fn first_sync(&self) -> &FirstSync {
        self.changes.first_sync.as_ref().unwrap_or(&self.ledger.first_sync)
    }

    /// Takes the times from the status if the ledger was lost. A time is never later than now. A status without
    /// versions shows that an earlier poll found none.
    fn restore(&mut self, status: &CliReleaseStatus, now: Timestamp) {
        let was_answered = !status.versions.is_empty()
            || status.last_sync_time.is_some()
            || conditions::find(&status.conditions, "Synced") == Some(("False", NOT_PUBLISHED));
        if *self.first_sync() != FirstSync::Pending || !was_answered {
            return;
        }
        self.changes.first_sync = Some(FirstSync::Done);
        for version in &status.versions {
            let (Ok(tag), Ok(digest)) = (version.version.parse(), version.digest.parse()) else { continue };
            let first_seen = version.first_seen.as_ref().map_or(now, |t| t.0.min(now));
            let moved = version
                .moved
                .as_ref()
                .and_then(|moved| Some(TagMove { from: moved.from.parse().ok()?, at: moved.at.0.min(now) }));
            self.set(tag, TagHistory { digest, first_seen, moved });
        }
    }

    /// Notes that a tag points at a digest with these facts. `recorded` is the record's entry of the tag so far.
    fn see(
        &mut self,
        tag: &Tag,
        digest: &Digest,
        facts: &VersionFacts,
        recorded: Option<&ReleaseVersion>,
        now: Timestamp,
    ) {
        let digest = digest.clone();
        let history = match self.tag(tag) {
            Some(known) if known.digest == digest => return,
            Some(known) => {
                let same = recorded.is_some_and(|recorded| {
                    recorded.digest == known.digest.as_str() && facts.is_same_version(&digest, recorded)
                });
                if same {
                    TagHistory { digest, ..known.clone() }
                } else {
                    let moved = Some(TagMove { from: known.digest.clone(), at: now });
                    TagHistory { digest, first_seen: now, moved }
                }
            }
            None => {
                let first_seen = match self.first_sync() {
                    FirstSync::Running(tags) if tags.contains(tag) => facts.created.map_or(now, |at| at.min(now)),
                    _ => now,
                };
                TagHistory { digest, first_seen, moved: None }
            }
        };
        self.set(tag.clone(), history);
    }

    /// Ends the first sync once every tag of its list was read, is unreadable or is no longer published.
    fn finish_first_sync(&mut self, observed: &Observed) {
        let FirstSync::Running(tags) = self.first_sync() else { return };
        let is_pending = |tag: &Tag| {
            observed.needs_reading(tag) && !observed.unreadable.contains_key(tag) && observed.may_be_published(tag)
        };
        if !tags.iter().any(is_pending) {
            self.changes.first_sync = Some(FirstSync::Done);
        }
    }

    /// Drops tags beyond [`MAX_TAGS`]: first those that are not published, then those that the record does not show,
    /// each time the earliest seen first.
    fn trim(&mut self, shown: &BTreeSet<&Tag>, published: &BTreeSet<Tag>) {
        let known: BTreeSet<&Tag> = self.ledger.tags.keys().chain(self.changes.tags.keys()).collect();
        let excess = known.len().saturating_sub(MAX_TAGS);
        if excess == 0 {
            return;
        }
        let mut order: Vec<(bool, bool, Timestamp, Tag)> = known
            .into_iter()
            .filter_map(|tag| {
                Some((published.contains(tag), shown.contains(tag), self.tag(tag)?.first_seen, tag.clone()))
            })
            .collect();
        order.sort();
        for (_, _, _, tag) in order.into_iter().take(excess) {
            if self.ledger.tags.contains_key(&tag) {
                self.changes.tags.insert(tag, None);
            } else {
                self.changes.tags.remove(&tag);
            }
        }
    }
}

#[cfg(test)]
mod tests;
