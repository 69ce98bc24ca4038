//! When waves begin, halt, go on and are forgotten (`docs/policies.md`, rollout). Pure: the policy's
//! word, what its hosts report, the ledger and `now` are arguments.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{decisions::validation::ResumedHalt, values::version::Version};
use jiff::{SignedDuration, Timestamp};

use super::ledger::{Entry, Halt, Ledger};
use crate::{hosts::Trouble, records::KEEP};

/// A host that has been switching for so long counts as failed.
pub(crate) const STUCK: SignedDuration = SignedDuration::from_mins(30);

/// How many hosts failed on a version, by component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    count: BTreeMap<String, BTreeMap<Version, u32>>,
    /// When the next host that is switching will count as failed.
    pub(crate) next: Option<Timestamp>,
}

impl Failures {
    /// Counts the hosts that failed, or are stuck at a switch. `troubles` has each host once for a
    /// component and version.
    pub(crate) fn count(troubles: &[Trouble], now: Timestamp) -> Self {
        let mut failures = Self::default();
        for trouble in troubles {
            let Ok(version) = Version::parse(&trouble.version) else { continue };
            if let Some(since) = trouble.switching_since {
                // Beyond the end of time it never does.
                let Ok(stuck) = since.checked_add(STUCK) else { continue };
                if stuck > now {
                    failures.next = Some(failures.next.map_or(stuck, |next| next.min(stuck)));
                    continue;
                }
            }
            let versions = failures.count.entry(trouble.component.to_string()).or_default();
            *versions.entry(version).or_default() += 1;
        }
        failures
    }

    /// Hosts that failed on this version.
    pub(crate) fn of(&self, component: &str, version: &Version) -> u32 {
        self.count.get(component).and_then(|versions| versions.get(version)).copied().unwrap_or_default()
    }
}

/// What a record has, and whether the policy permits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The version.
    pub(crate) version: Version,
    /// Nothing that the policy says forbids it: it may be held.
    pub(crate) permitted: bool,
    /// When it was first seen.
    pub(crate) first_seen: Option<Timestamp>,
}

/// Everything that a ledger is kept by.
pub(crate) struct Case<'a> {
    /// The policy's generation.
    pub(crate) generation: i64,
    /// At how many failed hosts a wave is halted.
    pub(crate) max_failed: Option<u32>,
    /// The halt that an admin declared over.
    pub(crate) resumed: Option<&'a ResumedHalt>,
    /// What each record has, by component.
    pub(crate) offers: &'a BTreeMap<String, Vec<Offer>>,
    /// What the policy's hosts report.
    pub(crate) failures: &'a Failures,
    /// Components whose waves are over where the ledger has nothing: it was lost, and this was known.
    pub(crate) settled: &'a BTreeSet<String>,
    /// Now, in whole seconds.
    pub(crate) now: Timestamp,
}

/// Something that happened to a wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// The component.
    pub(crate) component: String,
    /// The version.
    pub(crate) version: Version,
    /// Hosts that failed on it.
    pub(crate) failed: u32,
    /// What happened.
    pub(crate) what: Happened,
}

/// What may happen to a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Too many hosts failed; when.
    Halted(Timestamp),
    /// The policy was edited.
    ResumedByEdit,
    /// An annotation named the halt.
    ResumedByAnnotation,
}

/// Brings the ledger up to date; says what happened.
pub(crate) fn keep(case: &Case<'_>, ledger: &mut Ledger) -> Vec<News> {
    for (component, offers) in case.offers {
        permit(case, component, offers, ledger);
    }
    forget(case, ledger);
    let mut news = Vec::new();
    for (component, versions) in &mut ledger.entries {
        for (version, entry) in versions {
            let failed = case.failures.of(component, version);
            if let Some(what) = watch(case, version, failed, entry) {
                news.push(News { component: component.clone(), version: version.clone(), failed, what });
            }
        }
    }
    news
}

/// A version's clock starts when the policy begins to permit it. One that it forbids has none, so that it
/// starts anew when it is permitted again.
fn permit(case: &Case<'_>, component: &str, offers: &[Offer], ledger: &mut Ledger) {
    let entries = ledger.entries.entry(component.to_owned()).or_default();
    for offer in offers {
        if !offer.permitted {
            entries.remove(&offer.version);
            continue;
        }
        let entry = entries.entry(offer.version.clone()).or_insert_with(|| {
            let known_before = offer.first_seen.filter(|_| case.settled.contains(component));
            Entry::new(known_before.map_or(case.now, |first_seen| first_seen.min(case.now)))
        });
        entry.gone_since = None;
    }
}

/// What no record has any more stays for a while: a record may be made anew.
fn forget(case: &Case<'_>, ledger: &mut Ledger) {
    for (component, versions) in &mut ledger.entries {
        let offers = case.offers.get(component).map(Vec::as_slice).unwrap_or_default();
        versions.retain(|version, entry| {
            if offers.iter().any(|offer| offer.version == *version) {
                return true;
            }
            let since = *entry.gone_since.get_or_insert(case.now);
            case.now.duration_since(since) < KEEP
        });
    }
    ledger.entries.retain(|_, versions| !versions.is_empty());
}

/// Halts a wave, or lets it go on.
fn watch(case: &Case<'_>, version: &Version, failed: u32, entry: &mut Entry) -> Option<Happened> {
    if let Some(halt) = entry.halt {
        let by_annotation = case.resumed.is_some_and(|r| r.version == *version && r.halted_at == halt.at);
        let by_edit = halt.generation.is_some_and(|generation| generation != case.generation);
        if !by_annotation && !by_edit {
            return None;
        }
        entry.halt = None;
        entry.excused = failed;
        return Some(if by_annotation { Happened::ResumedByAnnotation } else { Happened::ResumedByEdit });
    }
    entry.excused = entry.excused.min(failed);
    let halts = case.max_failed.is_some_and(|max| failed >= max) && failed > entry.excused;
    if !halts {
        return None;
    }
    // An annotation that is left over from a halt in this very second must not name this one.
    let named = case.resumed.is_some_and(|r| r.version == *version && r.halted_at == case.now);
    let at = if named { case.now + SignedDuration::from_secs(1) } else { case.now };
    entry.halt = Some(Halt { at, generation: Some(case.generation) });
    Some(Happened::Halted(at))
}

#[cfg(test)]
mod tests;
