//! The conditions of a `CliRelease`: what they say and when they will change by themselves. No IO.

use std::time::Duration;

use d8_crds::records::release::CliReleaseStatus;
use jiff::{SignedDuration, Timestamp};

use super::{
    conditions::{Conditions, Truth},
    facts::{Problem, Unreadable},
    judge::Case,
    trim::Trimmed,
};

/// A record older than this is not ready any more.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// What the judgement of the versions found, beside the versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Tags listed.
    pub(crate) listed: usize,
    /// Of these, no versions.
    pub(crate) ignored: usize,
    /// Tags of one version that contradict each other, a text for each version.
    pub(crate) ambiguous: Vec<String>,
    /// Versions that could not be read.
    pub(crate) unreadable: Vec<(String, Unreadable)>,
    /// Versions that were not tried yet.
    pub(crate) untried: usize,
    /// What did not fit into the record.
    pub(crate) trimmed: Trimmed,
}

/// What a condition is to say.
struct Saying {
    truth: Truth,
    reason: String,
    message: String,
}

impl Saying {
    fn new(truth: Truth, reason: &str, message: impl Into<String>) -> Self {
        Self { truth, reason: reason.to_owned(), message: message.into() }
    }
}

/// Sets the status's conditions; returns after what time they change by themselves.
pub(crate) fn conditions(case: &Case<'_>, standing: &Standing, status: &mut CliReleaseStatus) -> Option<Duration> {
    let mut conditions = Conditions::new(&case.previous.conditions, case.generation, case.now);
    let mut set = |kind, saying: Saying| conditions.set(kind, saying.truth, &saying.reason, &saying.message);
    set("Synced", synced(case, standing));
    let (ready, again) = ready(case, status);
    set("Ready", ready);
    if let Some(reconciling) = reconciling(case, standing, status) {
        set("Reconciling", reconciling);
    }
    if let Some(stalled) = stalled(case, standing) {
        set("Stalled", stalled);
    }
    status.conditions = conditions.finish();
    again
}

/// The status while the record can't be judged at all: as it was, and why.
pub(crate) fn blocked(
    previous: &CliReleaseStatus,
    generation: i64,
    now: Timestamp,
    reason: &str,
    message: &str,
) -> CliReleaseStatus {
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    conditions.set("Stalled", Truth::True, reason, message);
    let mut status = previous.clone();
    status.conditions.retain(|condition| condition.type_ != "Stalled");
    status.conditions.extend(conditions.finish());
    status
}

fn synced(case: &Case<'_>, standing: &Standing) -> Saying {
    let (Ok(rules), observed) = (case.rules, case.observed) else {
        return Saying::new(Truth::False, "InvalidSpec", "the spec can't be read: see condition Stalled");
    };
    if rules.suspend {
        return Saying::new(Truth::False, "Suspended", "spec.suspend is true: the proxy is not asked");
    }
    if let Some(trouble) = &observed.trouble {
        return Saying { truth: Truth::False, reason: trouble.reason.clone(), message: trouble.message.clone() };
    }
    if observed.synced.is_none() {
        return Saying::new(Truth::Unknown, "FirstSync", "the proxy is being asked for the first time");
    }
    if !standing.ambiguous.is_empty() {
        let message = format!(
            "tags of the same version point at different images, so none of them is published: {}; \
             remove one of each from the registry",
            standing.ambiguous.join("; ")
        );
        return Saying::new(Truth::False, "AmbiguousVersion", message);
    }
    if let [(_, first), ..] = standing.unreadable.as_slice() {
        let all: Vec<String> = standing.unreadable.iter().map(|(tag, why)| format!("{tag}: {}", why.message)).collect();
        return Saying { truth: Truth::False, reason: first.reason.clone(), message: all.join("; ") };
    }
    let message = format!("{} tags are published, {} of them are no versions", standing.listed, standing.ignored);
    Saying::new(Truth::True, "Synced", message)
}

fn ready(case: &Case<'_>, status: &CliReleaseStatus) -> (Saying, Option<Duration>) {
    let Some(synced) = case.observed.synced else {
        let failed = case.observed.trouble.is_some() || case.rules.is_err();
        let truth = if failed { Truth::False } else { Truth::Unknown };
        return (Saying::new(truth, "NeverSynced", "the proxy has not answered yet"), None);
    };
    let age = case.now.duration_since(synced);
    if age >= MAX_AGE {
        let message = format!("the proxy answered last at {synced}, more than 24 h ago");
        return (Saying::new(Truth::False, "RecordOld", message), None);
    }
    let again = (MAX_AGE - age).try_into().ok();
    if status.versions.iter().all(|version| version.withdrawn.is_some()) {
        return (Saying::new(Truth::False, "NothingPublished", "no version is published within spec"), again);
    }
    let fitting = status.latest_fitting.as_deref().unwrap_or("none");
    let message = format!("latest {}, newest that fits {fitting}", status.latest.as_deref().unwrap_or("none"));
    (Saying::new(Truth::True, "Published", message), again)
}

fn reconciling(case: &Case<'_>, standing: &Standing, status: &CliReleaseStatus) -> Option<Saying> {
    let suspended = case.rules.is_ok_and(|rules| rules.suspend);
    if suspended || case.rules.is_err() || case.observed.trouble.is_some() {
        return None;
    }
    if case.observed.synced.is_none() && !case.observed.reading {
        return Some(Saying::new(Truth::True, "FirstSync", "the proxy is being asked for the first time"));
    }
    (standing.untried > 0).then(|| {
        let all = status.versions.len() + standing.untried;
        let message = format!("{} of {all} versions are read", status.versions.len());
        Saying::new(Truth::True, "Reading", message)
    })
}

fn stalled(case: &Case<'_>, standing: &Standing) -> Option<Saying> {
    if let Err(error) = case.rules {
        return Some(Saying::new(Truth::True, "InvalidSpec", error.to_string()));
    }
    let large: Vec<&str> = case
        .observed
        .heads
        .iter()
        .filter(|(_, digest)| {
            let facts = case.observed.facts.get(*digest);
            facts.is_some_and(|facts| matches!(facts.problem, Some(Problem::TooLarge(_))))
        })
        .map(|(tag, _)| tag.as_str())
        .collect();
    if !standing.trimmed.is_empty() {
        return Some(Saying::new(Truth::True, "RecordTooLarge", standing.trimmed.to_string()));
    }
    (!large.is_empty()).then(|| {
        let message = format!("the requirements of {} take more than a record carries", large.join(", "));
        Saying::new(Truth::True, "RecordTooLarge", message)
    })
}
