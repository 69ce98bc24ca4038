//! The evaluation of one component: makes the record's new status from what is published, what is recorded and what
//! the cluster runs.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::{
    decisions::selection::is_stable,
    records::{
        release::{Artifact, CliReleaseStatus, Fit, LeftOutTags, ReleaseVersion},
        requirements::Requirements,
    },
    values::{digest::Digest, limits, name::Tag, text::shortened, version::Version},
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    facts::{VersionFacts, VersionProblem},
    inputs::ReleaseInputs,
    ledger::{ReleaseLedger, TagHistory},
    observed::{Observed, TagResolution, VersionError},
    selection::{SelectedVersion, SelectedVersions},
    spec::CheckedSpec,
    status::{SyncSummary, set_conditions},
    trim::trim,
};

/// `lastSyncTime` alone is rewritten at most this often.
const SYNC_TIME_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReleaseEvaluation {
    /// The record's new status.
    pub(crate) status: CliReleaseStatus,
    /// Number of selected versions whose manifests were not tried yet. If there are any, a poll is due.
    pub(crate) pending: usize,
    /// Time after which the status changes without an event.
    pub(crate) recheck_after: Option<Duration>,
}

/// Evaluates a component. The ledger must hold the changes of
/// [`ledger_changes`](super::sightings::ledger_changes) for the same inputs.
pub(crate) fn evaluate(inputs: &ReleaseInputs<'_>, ledger: &ReleaseLedger) -> ReleaseEvaluation {
    let mut summary = SyncSummary::default();
    let mut status = CliReleaseStatus {
        observed_generation: Some(inputs.generation),
        cluster: Some(inputs.cluster.clone()),
        ..CliReleaseStatus::default()
    };
    match inputs.spec {
        Ok((spec, selected)) => set_versions(inputs, spec, selected, ledger, &mut status, &mut summary),
        Err(_) => keep_versions(inputs.previous, &mut status),
    }
    let latest_fitting = status.latest_fitting.as_deref().and_then(|text| Version::parse(text).ok());
    let is_retained = |version: &Version| inputs.retained.contains(version) || Some(version) == latest_fitting.as_ref();
    summary.trimmed = trim(&mut status, is_retained);
    status.last_sync_time = inputs.observed.last_sync.map(Time);
    let recheck_after = set_conditions(inputs, &summary, &mut status);
    keep_sync_time(inputs.previous, &mut status);
    ReleaseEvaluation { status, pending: summary.pending, recheck_after }
}

/// Sets the versions that a valid spec selects, and the withdrawn ones.
fn set_versions(
    inputs: &ReleaseInputs<'_>,
    spec: &CheckedSpec,
    selected: &SelectedVersions,
    ledger: &ReleaseLedger,
    status: &mut CliReleaseStatus,
    summary: &mut SyncSummary,
) {
    let published = inputs.observed.published();
    status.left_out_tags = selected.left_out.clone();
    status.left_out_tags.extend(&inputs.observed.malformed_tags);
    summary.listed = published.len() + count(&inputs.observed.malformed_tags);
    summary.ignored = count(&status.left_out_tags);
    let mut entries = selected_entries(inputs, spec, selected, ledger, summary);
    for tags in &summary.ambiguous {
        for tag in tags {
            let others = join(tags.iter().filter(|other| *other != tag));
            let reason = format!("it is the same version as {others}, with another image; keep one of the tags");
            status.left_out_tags.add(tag.as_str(), &reason);
        }
    }
    add_withdrawn(inputs, spec, &published, &mut entries);
    entries.sort_by(|(a, _), (b, _)| b.cmp(a));
    status.latest = latest(selected, inputs.observed);
    status.latest_fitting = entries
        .iter()
        .find(|(version, entry)| {
            entry.withdrawn.is_none()
                && entry.fit == Fit::Fits
                && is_stable(inputs.component, version)
                && spec.publishes(inputs.component, version)
                && covers_platforms(spec, &entry.artifacts)
        })
        .map(|(_, entry)| entry.version.clone());
    status.versions = entries.into_iter().map(|(_, entry)| entry).collect();
}

/// Makes the entries of the selected versions. Notes the ambiguous and the unread ones in the summary.
fn selected_entries(
    inputs: &ReleaseInputs<'_>,
    spec: &CheckedSpec,
    selected: &SelectedVersions,
    ledger: &ReleaseLedger,
    summary: &mut SyncSummary,
) -> Vec<(Version, ReleaseVersion)> {
    let observed = inputs.observed;
    let mut entries = Vec::new();
    for version in &selected.versions {
        match observed.resolve(version) {
            TagResolution::Unique(tag) => {
                let (Some((digest, facts)), Some(history)) = (observed.of_tag(tag), ledger.tags.get(tag)) else {
                    continue;
                };
                if version.read_layers && facts.is_digest_only() {
                    count_unread(observed, version, summary);
                }
                entries.push((version.version.clone(), entry(inputs, spec, tag, digest, facts, history)));
            }
            TagResolution::Ambiguous => summary.ambiguous.push(version.tags.clone()),
            TagResolution::Unread => {
                count_unread(observed, version, summary);
                let unreadable = version.tags.iter().find_map(|tag| Some((tag, observed.unreadable.get(tag)?)));
                entries.extend(unreadable.map(|(tag, why)| (version.version.clone(), unreadable_entry(tag, why))));
            }
        }
    }
    entries
}

/// Keeps the versions of the previous status, because an invalid spec selects none.
fn keep_versions(previous: &CliReleaseStatus, status: &mut CliReleaseStatus) {
    status.latest.clone_from(&previous.latest);
    status.latest_fitting.clone_from(&previous.latest_fitting);
    status.versions.clone_from(&previous.versions);
    status.left_out_tags.clone_from(&previous.left_out_tags);
}

/// Makes the record's entry of one version.
fn entry(
    inputs: &ReleaseInputs<'_>,
    spec: &CheckedSpec,
    tag: &Tag,
    digest: &Digest,
    facts: &VersionFacts,
    history: &TagHistory,
) -> ReleaseVersion {
    let (fit, reasons) = fit(inputs, &facts.requirements, facts.problem.as_ref());
    let is_selected = |artifact: &&Artifact| match (&spec.platforms, &artifact.platform) {
        (Some(platforms), Some(platform)) => platforms.iter().any(|p| p.as_str() == platform),
        _ => true,
    };
    ReleaseVersion {
        version: tag.to_string(),
        digest: digest.to_string(),
        first_seen: Some(Time(history.first_seen)),
        fit,
        reasons,
        artifacts: facts.artifacts.iter().filter(is_selected).take(limits::PLATFORMS).cloned().collect(),
        left_out: facts.left_out.clone(),
        requirements: facts.requirements.clone(),
        description: facts.description.clone(),
        env: facts.env.clone(),
        flags: facts.flags.clone(),
        moved: history.moved(),
        withdrawn: None,
    }
}

/// Makes the entry of a version whose manifest cannot be read. It has no digest.
fn unreadable_entry(tag: &Tag, why: &VersionError) -> ReleaseVersion {
    let reason = format!("cannot be read: {}", why.message);
    ReleaseVersion {
        version: tag.to_string(),
        digest: String::new(),
        first_seen: None,
        fit: Fit::Unknown,
        reasons: vec![shortened(&reason, limits::FIT_REASON).into_owned()],
        artifacts: Vec::new(),
        left_out: Vec::new(),
        requirements: Requirements::default(),
        description: None,
        env: Vec::new(),
        flags: Vec::new(),
        moved: None,
        withdrawn: None,
    }
}

/// Returns whether a version fits the cluster, and why it does not. The reasons are limited in number and length.
fn fit(
    inputs: &ReleaseInputs<'_>,
    requirements: &Requirements,
    problem: Option<&VersionProblem>,
) -> (Fit, Vec<String>) {
    let (fit, mut reasons) = match problem {
        Some(problem) => problem.fit(),
        None => (inputs.check)(requirements),
    };
    let more = reasons.len().saturating_sub(limits::FIT_REASONS - 1);
    if reasons.len() > limits::FIT_REASONS {
        reasons.truncate(limits::FIT_REASONS - 1);
        reasons.push(format!("and {more} more"));
    }
    (fit, reasons.iter().map(|reason| shortened(reason, limits::FIT_REASON).into_owned()).collect())
}

/// Adds the recorded versions whose tag is gone, marked as withdrawn. Versions older than everything published, and
/// versions beyond the history, are added only if they are retained.
fn add_withdrawn(
    inputs: &ReleaseInputs<'_>,
    spec: &CheckedSpec,
    published: &BTreeSet<Tag>,
    entries: &mut Vec<(Version, ReleaseVersion)>,
) {
    let oldest = entries.iter().map(|(version, _)| version).min().cloned();
    let mut recent_count = 0;
    for old in &inputs.previous.versions {
        let (Ok(tag), Ok(version)) = (old.version.parse::<Tag>(), Version::parse_full(&old.version)) else { continue };
        // A version without a digest was never read. It stays until the first list after a start.
        if old.digest.is_empty() {
            entries.extend((!inputs.observed.is_listed()).then(|| (version, old.clone())));
            continue;
        }
        if published.contains(&tag) {
            continue;
        }
        let is_recent = spec.publishes(inputs.component, &version)
            && oldest.as_ref().is_none_or(|oldest| version > *oldest)
            && recent_count < spec.history;
        if !is_recent && !inputs.retained.contains(&version) {
            continue;
        }
        recent_count += usize::from(is_recent);
        let facts = old.digest.parse::<Digest>().ok().and_then(|digest| inputs.observed.facts.get(&digest));
        let (fit, reasons) = fit(inputs, &old.requirements, facts.and_then(|facts| facts.problem.as_ref()));
        let withdrawn = old.withdrawn.clone().or(Some(Time(inputs.now)));
        entries.push((version, ReleaseVersion { fit, reasons, withdrawn, ..old.clone() }));
    }
}

/// Counts a version that the record does not show in full: unreadable, or not tried yet.
fn count_unread(observed: &Observed, version: &SelectedVersion, summary: &mut SyncSummary) {
    let unreadable = version.tags.iter().find_map(|tag| Some((tag, observed.unreadable.get(tag)?)));
    match unreadable {
        Some((tag, why)) => summary.unreadable.push((tag.to_string(), why.clone())),
        None => summary.pending += 1,
    }
}

/// Returns the tag of the newest stable version; `None` if its tags are ambiguous.
fn latest(selected: &SelectedVersions, observed: &Observed) -> Option<String> {
    let version = selected.latest.as_ref()?;
    match observed.resolve(version) {
        TagResolution::Unique(tag) => Some(tag.to_string()),
        TagResolution::Unread => version.tags.first().map(Tag::to_string),
        TagResolution::Ambiguous => None,
    }
}

/// Returns whether there is an artifact for every platform of the record.
fn covers_platforms(spec: &CheckedSpec, artifacts: &[Artifact]) -> bool {
    let has = |platform: &str| artifacts.iter().any(|a| a.platform.as_deref().is_none_or(|p| p == platform));
    !artifacts.is_empty() && spec.platforms.as_ref().is_none_or(|all| all.iter().all(|p| has(p.as_str())))
}

/// Keeps the time of the last sync if nothing else changed within [`SYNC_TIME_INTERVAL`].
fn keep_sync_time(previous: &CliReleaseStatus, status: &mut CliReleaseStatus) {
    let (Some(old), Some(new)) = (&previous.last_sync_time, &status.last_sync_time) else { return };
    if new.0.duration_since(old.0) >= SYNC_TIME_INTERVAL {
        return;
    }
    let new = status.last_sync_time.replace(old.clone());
    if status != previous {
        status.last_sync_time = new;
    }
}

fn count(tags: &LeftOutTags) -> usize {
    usize::try_from(tags.count).unwrap_or(usize::MAX)
}

/// Writes tags, separated by commas.
pub(super) fn join<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> String {
    tags.into_iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
