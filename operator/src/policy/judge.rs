//! The judgement of one policy: from its spec, the records, its hosts and the ledger of its waves to its
//! new status. No IO, no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        validation::{CheckedPolicy, Rejection},
        verdict::PolicySet,
    },
    records::{
        policy::{ComponentProgress, PluginPolicy, PluginPolicyStatus},
        release::CliRelease,
    },
};
use jiff::Timestamp;

use super::{
    ledger::Ledger,
    progress::{Record, Word, bound_all, progress, with_waves},
    status::{Facts, status, window_changes},
    waves::{self, Failures, News, Offer},
};
use crate::hosts::Matched;

/// Everything a judgement is made from, besides the ledger.
pub(super) struct Situation<'a> {
    /// The policy.
    pub(super) policy: &'a PluginPolicy,
    /// Its spec, or what is wrong with it.
    pub(super) checked: &'a Result<CheckedPolicy, Rejection>,
    /// All records.
    pub(super) releases: &'a [Arc<CliRelease>],
    /// Its hosts.
    pub(super) matched: &'a Matched,
    /// The status that it shows.
    pub(super) previous: &'a PluginPolicyStatus,
    /// The cluster's identity.
    pub(super) cluster_uid: Option<&'a str>,
    /// Now, in whole seconds: the API keeps no fractions.
    pub(super) now: Timestamp,
}

/// What a judgement comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// The policy's new status.
    pub(super) status: PluginPolicyStatus,
    /// What happened to its waves.
    pub(super) news: Vec<News>,
    /// When something changes by itself.
    pub(super) next: Option<Timestamp>,
}

/// Where a policy leads.
#[derive(Default)]
struct Way {
    components: Vec<ComponentProgress>,
    rolling: Vec<(String, Timestamp)>,
    trimmed: bool,
    news: Vec<News>,
    next: Option<Timestamp>,
}

/// Judges a policy. The ledger is changed where waves begin, halt or go on.
pub(super) fn judge(situation: &Situation<'_>, ledger: &mut Ledger) -> Outcome {
    let records: Vec<Record<'_>> = situation.releases.iter().filter_map(|release| Record::read(release)).collect();
    let way = match situation.checked {
        Ok(checked) => way(situation, checked, &records, ledger),
        // It acts as paused, and a slip must not restart its waves.
        Err(_) => Way { components: situation.previous.components.clone(), ..Way::default() },
    };
    let channels = records.iter().map(|record| (record.component.clone(), record.channel())).collect();
    let facts = Facts {
        cluster_uid: situation.cluster_uid,
        hosts: situation.matched.counts.clone(),
        channels: &channels,
        components: way.components,
        rolling: &way.rolling,
        trimmed: way.trimmed,
        previous: situation.previous,
        now: situation.now,
    };
    Outcome { status: status(situation.policy, situation.checked, facts), news: way.news, next: way.next }
}

fn way(situation: &Situation<'_>, checked: &CheckedPolicy, records: &[Record<'_>], ledger: &mut Ledger) -> Way {
    let now = situation.now;
    let mut way = Way::default();
    let policies = PolicySet::to_the_last_host(checked.clone());
    let word = Word::new(checked, &policies, now);
    let governed: BTreeSet<_> = records.iter().map(|r| &r.component).filter(|c| word.governs(c)).collect();
    let failures = Failures::count(&situation.matched.troubles, now);
    if checked.rollout.is_some() {
        let offers = records.iter().map(|record| {
            let offers = if governed.contains(&record.component) { word.offers(record) } else { record.refused() };
            (record.component.name().to_owned(), offers)
        });
        (way.news, way.trimmed) = keep(situation, checked, &offers.collect(), &failures, ledger);
        way.next = failures.next;
    }
    let policies = with_waves(checked, ledger);
    let word = Word::new(checked, &policies, now);
    for record in records.iter().filter(|record| governed.contains(&record.component)) {
        let progress = progress(&word, record, ledger, &failures, situation.matched);
        let name = &progress.shown.name;
        way.rolling.extend(
            progress
                .rolling
                .map(|end| (format!("{name} {}", progress.shown.target.as_deref().unwrap_or_default()), end)),
        );
        way.trimmed |= progress.trimmed;
        way.next = earlier(way.next, progress.next);
        way.components.push(progress.shown);
    }
    way.components.sort_by(|a, b| a.name.cmp(&b.name));
    way.trimmed |= bound_all(&mut way.components);
    way.next = earlier(way.next, window_changes(checked, now));
    way
}

/// Brings the ledger up to date; says what happened, and whether not all of it fits.
fn keep(
    situation: &Situation<'_>,
    checked: &CheckedPolicy,
    offers: &BTreeMap<String, Vec<Offer>>,
    failures: &Failures,
    ledger: &mut Ledger,
) -> (Vec<News>, bool) {
    let uid = &situation.policy.metadata.uid;
    let generation = situation.policy.metadata.generation.unwrap_or_default();
    // A ledger has the UID from the first judgement on, versions or not: without it, it is new or lost.
    let settled = match &ledger.uid {
        None => ledger.adopt(situation.previous, generation, situation.now),
        known if known == uid => BTreeSet::new(),
        Some(_) => {
            *ledger = Ledger::default();
            BTreeSet::new()
        }
    };
    ledger.uid.clone_from(uid);
    let case = waves::Case {
        generation,
        max_failed: checked.rollout.as_ref().and_then(|rollout| rollout.max_failed),
        resumed: checked.resumed.as_ref(),
        offers,
        failures,
        settled: &settled,
        now: situation.now,
    };
    let news = waves::keep(&case, ledger);
    (news, ledger.trim())
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests;
