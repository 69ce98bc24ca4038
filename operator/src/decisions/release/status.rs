//! The conditions of a `CliRelease`, and when they change without an event.

use std::time::Duration;

use d8_crds::{
    records::release::{CliReleaseStatus, MAX_SYNC_AGE},
    values::name::Tag,
};
use jiff::Timestamp;

use super::{
    evaluation::join, facts::VersionProblem, inputs::ReleaseInputs, observed::VersionError, trim::TrimmedVersions,
};
use crate::decisions::conditions::{
    ConditionDraft,
    ConditionStatus::{False, True, Unknown},
    Conditions,
};

/// What the evaluation of the versions found, besides the versions themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SyncSummary {
    /// Number of tags in the list.
    pub(super) listed: usize,
    /// Number of them that are not versions.
    pub(super) ignored: usize,
    /// The tags of each ambiguous version.
    pub(super) ambiguous: Vec<Vec<Tag>>,
    /// Tags of versions that could not be read.
    pub(super) unreadable: Vec<(String, VersionError)>,
    /// Number of versions that were not tried yet.
    pub(super) pending: usize,
    /// Versions that do not fit into the record.
    pub(super) trimmed: TrimmedVersions,
}

/// Sets the conditions of a status. Returns the time after which they change without an event.
pub(super) fn set_conditions(
    inputs: &ReleaseInputs<'_>,
    summary: &SyncSummary,
    status: &mut CliReleaseStatus,
) -> Option<Duration> {
    let mut conditions = Conditions::new(&inputs.previous.conditions, inputs.generation, inputs.now);
    conditions.set("Synced", &synced(inputs, summary));
    let (ready, recheck_after) = ready(inputs, summary, status);
    conditions.set("Ready", &ready);
    if let Some(reconciling) = reconciling(inputs, summary, status) {
        conditions.set("Reconciling", &reconciling);
    }
    if let Some(stalled) = stalled(inputs, summary) {
        conditions.set("Stalled", &stalled);
    }
    status.conditions = conditions.finish();
    recheck_after
}

/// Returns the status of a record that cannot be evaluated: as before, with condition `Stalled`.
pub(crate) fn stalled_status(
    previous: &CliReleaseStatus,
    generation: i64,
    now: Timestamp,
    reason: &str,
    message: &str,
) -> CliReleaseStatus {
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    conditions.set("Stalled", &ConditionDraft::new(True, reason, message));
    let mut status = previous.clone();
    status.conditions.retain(|condition| condition.type_ != "Stalled");
    status.conditions.extend(conditions.finish());
    status
}

fn synced(inputs: &ReleaseInputs<'_>, summary: &SyncSummary) -> ConditionDraft {
    let Ok((spec, _)) = inputs.spec else {
        return ConditionDraft::new(False, "InvalidSpec", "the spec is invalid; see condition Stalled");
    };
    if spec.suspend {
        return ConditionDraft::new(False, "Suspended", "spec.suspend is true, so the proxy is not polled");
    }
    if let Some(error) = &inputs.observed.poll_error {
        return ConditionDraft::new(False, &error.reason, error.message.clone());
    }
    if inputs.observed.last_sync.is_none() {
        return ConditionDraft::new(Unknown, "FirstSync", "the first poll of the proxy has not finished");
    }
    if !summary.ambiguous.is_empty() {
        let before = "tags of the same version point at different images, so the version is not published: ";
        let after = "; remove all but one tag of each version from the registry";
        let tags: Vec<_> = summary.ambiguous.iter().map(join).collect();
        return ConditionDraft::listing_between(False, "AmbiguousVersion", before, &tags, after);
    }
    if let [(_, first), ..] = summary.unreadable.as_slice() {
        let all: Vec<String> = summary.unreadable.iter().map(|(tag, why)| format!("{tag}: {}", why.message)).collect();
        return ConditionDraft::listing(False, &first.reason, &all);
    }
    let message =
        format!("listed tags: {}; ignored, because they are not versions: {}", summary.listed, summary.ignored);
    ConditionDraft::new(True, "Synced", message)
}

fn ready(
    inputs: &ReleaseInputs<'_>,
    summary: &SyncSummary,
    status: &CliReleaseStatus,
) -> (ConditionDraft, Option<Duration>) {
    let Some(last_sync) = inputs.observed.last_sync else { return (never_synced(inputs), None) };
    let age = inputs.now.duration_since(last_sync);
    if age >= MAX_SYNC_AGE {
        let message = format!("the last successful poll was at {last_sync}, more than 24 h ago; see condition Synced");
        return (ConditionDraft::new(False, "RecordOld", message), None);
    }
    let recheck_after = (MAX_SYNC_AGE - age).try_into().ok();
    if status.versions.iter().all(|version| version.withdrawn.is_some() || version.digest.is_empty()) {
        return (no_version(summary), recheck_after);
    }
    let fitting = match status.latest_fitting.as_deref() {
        Some(version) => format!("the latest version that fits this cluster is {version}"),
        None => "no version fits this cluster".to_owned(),
    };
    let message = format!("the latest version is {}; {fitting}", status.latest.as_deref().unwrap_or("unknown"));
    (ConditionDraft::new(True, "Published", message), recheck_after)
}

/// `Ready` of a record that no poll has filled yet. Why is in condition `Synced` or `Stalled`.
fn never_synced(inputs: &ReleaseInputs<'_>) -> ConditionDraft {
    let (status, message) = match (inputs.spec, &inputs.observed.poll_error) {
        (Err(_), _) => (False, "no poll has succeeded yet, and the spec is invalid; see condition Stalled"),
        (_, Some(_)) => (False, "no poll has succeeded yet; see condition Synced"),
        (Ok((spec, _)), None) if spec.suspend => (Unknown, "no poll has succeeded yet, and spec.suspend is true"),
        (Ok(_), None) => (Unknown, "the first poll of the proxy has not finished"),
    };
    ConditionDraft::new(status, "NeverSynced", message)
}

/// `Ready` of a record without an installable version.
fn no_version(summary: &SyncSummary) -> ConditionDraft {
    let message = if !summary.ambiguous.is_empty() || !summary.unreadable.is_empty() {
        "none of the published versions can be used; see condition Synced"
    } else if summary.pending > 0 {
        "no published version has been read yet"
    } else {
        "no published version matches spec.channel and spec.versions"
    };
    ConditionDraft::new(False, "NothingPublished", message)
}

fn reconciling(inputs: &ReleaseInputs<'_>, summary: &SyncSummary, status: &CliReleaseStatus) -> Option<ConditionDraft> {
    let observed = inputs.observed;
    if inputs.spec.map_or(true, |(spec, _)| spec.suspend) || observed.poll_error.is_some() {
        return None;
    }
    if observed.last_sync.is_none() && !observed.reading {
        return Some(ConditionDraft::new(True, "FirstSync", "the first poll of the proxy is about to start"));
    }
    (summary.pending > 0).then(|| {
        let all = status.versions.len() + summary.pending;
        let message = format!("read {} of {all} versions", status.versions.len());
        ConditionDraft::new(True, "Reading", message)
    })
}

fn stalled(inputs: &ReleaseInputs<'_>, summary: &SyncSummary) -> Option<ConditionDraft> {
    if let Err(error) = inputs.spec {
        return Some(ConditionDraft::new(True, "InvalidSpec", error.to_string()));
    }
    if !summary.trimmed.is_empty() {
        return Some(ConditionDraft::new(True, "RecordTooLarge", summary.trimmed.to_string()));
    }
    let is_too_large = |tag| {
        let facts = inputs.observed.of_tag(tag).map(|(_, facts)| facts);
        facts.is_some_and(|facts| matches!(facts.problem, Some(VersionProblem::TooLarge(_))))
    };
    let large: Vec<&str> = inputs.observed.digests.keys().filter(|tag| is_too_large(tag)).map(Tag::as_str).collect();
    (!large.is_empty()).then(|| {
        let (before, after) = ("the requirements of these versions exceed the limits of a record: ", "");
        ConditionDraft::listing_between(True, "RecordTooLarge", before, &large, after)
    })
}
