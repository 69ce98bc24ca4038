//! The judgement of one component: from what is published, what is recorded and what the cluster is
//! to the record's new status. No IO, no clock: tables of cases say what it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use d8_crds::{
    decisions::selection::is_stable,
    records::{
        release::{Artifact, CliReleaseStatus, Fit, ObservedCluster, ReleaseVersion},
        requirements::Requirements,
    },
    values::{
        digest::Digest,
        limits,
        name::{Component, Tag},
        text::printable_to,
        version::Version,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    facts::{Facts, Observed, Problem},
    ledger::{FirstSync, Ledger},
    rules::{RuleError, Rules},
    survey::{Candidate, Naming, Survey, Wanted, survey},
    trim::trim,
    verdict::{Standing, conditions},
};

/// `lastSyncTime` is rewritten at most this often while nothing else changes.
const SYNC_TIME: SignedDuration = SignedDuration::from_hours(1);
/// Most reasons a version shows, and the longest of them in characters.
const MAX_REASONS: usize = 8;
const MAX_REASON: usize = 256;

/// What the cluster says of a version's demands.
pub(crate) type Check<'a> = &'a dyn Fn(&Requirements) -> (Fit, Vec<String>);

/// Everything a judgement is made from, besides the ledger.
pub(crate) struct Case<'a> {
    /// The component the record is about.
    pub(crate) component: &'a Component,
    /// The record's generation.
    pub(crate) generation: i64,
    /// The record's spec, or what is wrong with it.
    pub(crate) rules: Result<&'a Rules, &'a RuleError>,
    /// The status judged before.
    pub(crate) previous: &'a CliReleaseStatus,
    /// What is known of the component's versions.
    pub(crate) observed: &'a Observed,
    /// Versions to keep besides.
    pub(crate) wanted: &'a Wanted,
    /// The cluster, as the record shows it.
    pub(crate) cluster: &'a ObservedCluster,
    /// Judges demands against it.
    pub(crate) check: Check<'a>,
    /// Now, in whole seconds: the API keeps no fractions.
    pub(crate) now: Timestamp,
}

/// What a judgement comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The record's new status.
    pub(crate) status: CliReleaseStatus,
    /// Versions of the record whose manifests were not tried yet: a poll is due.
    pub(crate) unread: usize,
    /// When to judge again although nothing changes.
    pub(crate) again: Option<Duration>,
}

/// Judges a component. The ledger is changed where something is seen for the first time.
pub(crate) fn judge(case: &Case<'_>, ledger: &mut Ledger) -> Outcome {
    let mut standing = Standing::default();
    let mut status = CliReleaseStatus {
        observed_generation: Some(case.generation),
        cluster: Some(case.cluster.clone()),
        ..CliReleaseStatus::default()
    };
    match case.rules {
        Ok(rules) => publish(case, rules, ledger, &mut status, &mut standing),
        Err(_) => keep(case, &mut status),
    }
    let answer = status.latest_fitting.as_deref().and_then(|text| Version::parse(text).ok());
    standing.trimmed = trim(&mut status, |version| case.wanted.contains(version) || Some(version) == answer.as_ref());
    status.last_sync_time = case.observed.synced.map(Time);
    let again = conditions(case, &standing, &mut status);
    keep_sync_time(case.previous, &mut status);
    Outcome { status, unread: standing.untried, again }
}

/// Everything a spec that can be read leads to.
fn publish(
    case: &Case<'_>,
    rules: &Rules,
    ledger: &mut Ledger,
    status: &mut CliReleaseStatus,
    standing: &mut Standing,
) {
    ledger.adopt(case.previous, case.now);
    let listed: BTreeSet<Tag> = match &case.observed.tags {
        Some(tags) => tags.clone(),
        // Not polled since the start: what the record says is what is known.
        None => case.observed.heads.keys().cloned().collect(),
    };
    let found = survey(case.component, &listed, rules, case.wanted);
    if ledger.first_sync == FirstSync::Ahead && case.observed.tags.is_some() {
        ledger.first_sync = FirstSync::Running(found.chosen.iter().flat_map(|c| c.tags.clone()).collect());
    }
    let recorded: BTreeMap<&str, &ReleaseVersion> =
        case.previous.versions.iter().map(|v| (v.version.as_str(), v)).collect();
    let mut entries: Vec<(Version, ReleaseVersion)> = Vec::new();
    for candidate in &found.chosen {
        match candidate.naming(case.observed) {
            Naming::One(tag) => {
                let Some((digest, facts)) = case.observed.of_tag(tag) else { continue };
                if candidate.deep && facts.is_not_read() {
                    unread(case.observed, candidate, standing);
                }
                let old = recorded.get(tag.as_str()).copied();
                let entry = entry(case, rules, tag, digest, facts, old, ledger);
                entries.push((candidate.version.clone(), entry));
            }
            Naming::Ambiguous => standing.ambiguous.push(text(&candidate.tags)),
            Naming::Unread => unread(case.observed, candidate, standing),
        }
    }
    standing.listed = listed.len() + case.observed.malformed_tags;
    standing.ignored = found.ignored + case.observed.malformed_tags;
    withdrawn(case, rules, &listed, &mut entries);
    finish_first_sync(case.observed, ledger);
    ledger.trim(&listed);

    entries.sort_by(|(a, _), (b, _)| b.cmp(a));
    status.latest = latest(&found, case.observed);
    status.latest_fitting = entries
        .iter()
        .find(|(version, entry)| {
            entry.withdrawn.is_none()
                && entry.fit == Fit::Fits
                && is_stable(case.component, version)
                && rules.publishes(case.component, version)
                && covers(rules, &entry.artifacts)
        })
        .map(|(_, entry)| entry.version.clone());
    status.versions = entries.into_iter().map(|(_, entry)| entry).collect();
}

/// A spec that can't be read changes nothing of what is recorded.
fn keep(case: &Case<'_>, status: &mut CliReleaseStatus) {
    status.latest.clone_from(&case.previous.latest);
    status.latest_fitting.clone_from(&case.previous.latest_fitting);
    status.versions.clone_from(&case.previous.versions);
}

/// One version of the record.
fn entry(
    case: &Case<'_>,
    rules: &Rules,
    tag: &Tag,
    digest: &Digest,
    facts: &Facts,
    recorded: Option<&ReleaseVersion>,
    ledger: &mut Ledger,
) -> ReleaseVersion {
    let seen = ledger.see(tag, digest, facts, recorded, case.now);
    let (fit, reasons) = fit(case, &facts.requirements, facts.problem.as_ref());
    let chosen = |artifact: &&Artifact| match (&rules.platforms, &artifact.platform) {
        (Some(platforms), Some(platform)) => platforms.iter().any(|p| p.as_str() == platform),
        _ => true,
    };
    ReleaseVersion {
        version: tag.to_string(),
        digest: digest.to_string(),
        first_seen: Some(Time(seen.first_seen)),
        fit,
        reasons,
        artifacts: facts.artifacts.iter().filter(chosen).take(limits::PLATFORMS).cloned().collect(),
        requirements: facts.requirements.clone(),
        description: facts.description.clone(),
        env: facts.env.clone(),
        flags: facts.flags.clone(),
        moved: seen.moved(),
        withdrawn: None,
    }
}

fn fit(case: &Case<'_>, requirements: &Requirements, problem: Option<&Problem>) -> (Fit, Vec<String>) {
    let (fit, mut reasons) = match problem {
        Some(problem) => (Fit::Unknown, vec![problem.text().to_owned()]),
        None => (case.check)(requirements),
    };
    let more = reasons.len().saturating_sub(MAX_REASONS - 1);
    if reasons.len() > MAX_REASONS {
        reasons.truncate(MAX_REASONS - 1);
        reasons.push(format!("and {more} more"));
    }
    (fit, reasons.iter().map(|reason| printable_to(reason, MAX_REASON).into_owned()).collect())
}

/// Versions that are recorded and whose tag is gone: kept, marked, judged like the others. Of those
/// older than everything published, and of those beyond the history, only the wanted ones stay.
fn withdrawn(case: &Case<'_>, rules: &Rules, listed: &BTreeSet<Tag>, entries: &mut Vec<(Version, ReleaseVersion)>) {
    let oldest = entries.iter().map(|(version, _)| version).min().cloned();
    let mut kept = 0;
    for old in &case.previous.versions {
        let (Ok(tag), Ok(version)) = (old.version.parse::<Tag>(), Version::parse(&old.version)) else { continue };
        if listed.contains(&tag) {
            continue;
        }
        let recent = rules.publishes(case.component, &version)
            && oldest.as_ref().is_none_or(|oldest| version > *oldest)
            && kept < rules.history;
        if !recent && !case.wanted.contains(&version) {
            continue;
        }
        kept += usize::from(recent);
        let facts = old.digest.parse::<Digest>().ok().and_then(|digest| case.observed.facts.get(&digest));
        let (fit, reasons) = fit(case, &old.requirements, facts.and_then(|facts| facts.problem.as_ref()));
        let withdrawn = old.withdrawn.clone().or(Some(Time(case.now)));
        entries.push((version, ReleaseVersion { fit, reasons, withdrawn, ..old.clone() }));
    }
}

/// Counts a version that is not in the record yet, or not with all that it should have there, and why.
fn unread(observed: &Observed, candidate: &Candidate, standing: &mut Standing) {
    let unreadable = candidate.tags.iter().find_map(|tag| Some((tag, observed.unreadable.get(tag)?)));
    match unreadable {
        Some((tag, why)) => standing.unreadable.push((tag.to_string(), why.clone())),
        None => standing.untried += 1,
    }
}

/// The newest stable version: the tag that names it, unless its tags contradict each other.
fn latest(found: &Survey, observed: &Observed) -> Option<String> {
    let candidate = found.latest.as_ref()?;
    match candidate.naming(observed) {
        Naming::One(tag) => Some(tag.to_string()),
        Naming::Unread => candidate.tags.first().map(Tag::to_string),
        Naming::Ambiguous => None,
    }
}

/// The first sync is over once every tag of its list was read, or could not be.
fn finish_first_sync(observed: &Observed, ledger: &mut Ledger) {
    let FirstSync::Running(tags) = &ledger.first_sync else { return };
    let pending = |tag: &Tag| {
        observed.is_unread(tag)
            && !observed.unreadable.contains_key(tag)
            && observed.tags.as_ref().is_none_or(|listed| listed.contains(tag))
    };
    if !tags.iter().any(pending) {
        ledger.first_sync = FirstSync::Done;
    }
}

/// Whether there is something to download for every platform the record is about.
fn covers(rules: &Rules, artifacts: &[Artifact]) -> bool {
    let offers = |wanted: &str| artifacts.iter().any(|a| a.platform.as_deref().is_none_or(|p| p == wanted));
    !artifacts.is_empty() && rules.platforms.as_ref().is_none_or(|all| all.iter().all(|p| offers(p.as_str())))
}

/// Keeps the time of the last sync as it was while nothing but it would change.
fn keep_sync_time(previous: &CliReleaseStatus, status: &mut CliReleaseStatus) {
    let (Some(old), Some(new)) = (&previous.last_sync_time, &status.last_sync_time) else { return };
    if new.0.duration_since(old.0) >= SYNC_TIME {
        return;
    }
    let new = status.last_sync_time.replace(old.clone());
    if status != previous {
        status.last_sync_time = new;
    }
}

fn text(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
