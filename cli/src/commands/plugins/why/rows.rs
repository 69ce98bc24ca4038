//! The rows of `d8 plugins why`: the verdict on each version, with all its reasons.

use std::cmp::Reverse;

use d8_crds::{
    decisions::{
        explain::{self, Listed},
        intent::Intent,
        reason::{Class, Reason, ReasonCode},
        selection::{PublishedVersion, TagList},
        verdict::Verdict,
    },
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    planning::{Planning, messages::lookup_failure},
    terminal::failure::{Code, Failure},
};

/// A version, the verdict on it and its reasons.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionVerdict {
    pub(super) version: String,
    pub(super) verdict: Class,
    pub(super) reasons: Vec<Listed>,
    /// Notes that do not prevent the installation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<Listed>,
    /// What else to know about the hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remarks: Vec<String>,
    /// When the hold ends without a change of policies or versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    pub(super) active: bool,
    /// Why the active version is not among the published ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unlisted: Option<String>,
    #[serde(skip)]
    pub(super) parsed: Version,
}

impl VersionVerdict {
    /// Returns the row of an active version that is not listed.
    fn unlisted(planning: &Planning<'_>, component: &Component, active: &Version, why: String) -> Self {
        let verdict = planning.staying(component, active);
        Self {
            version: active.to_string(),
            verdict: verdict.class(),
            reasons: verdict.reasons().iter().cloned().map(Listed).collect(),
            notes: Vec::new(),
            remarks: Vec::new(),
            until: verdict.until(),
            active: true,
            unlisted: Some(why),
            parsed: active.clone(),
        }
    }

    /// Combines the verdict with the reasons of other plugins.
    fn new(
        published: &PublishedVersion,
        active: bool,
        verdict: &Verdict,
        notes: Vec<Reason>,
        plugin_reasons: Vec<Reason>,
    ) -> Self {
        let mut reasons = verdict.reasons().to_vec();
        let added: Vec<Reason> = plugin_reasons.into_iter().filter(|reason| !reasons.contains(reason)).collect();
        let until = if added.is_empty() { verdict.until() } else { None };
        reasons.extend(added);
        reasons.sort_by_key(|reason| Reverse(reason.class()));
        let verdict = reasons.first().map_or(Class::Eligible, Reason::class);
        let [reasons, notes] = [reasons, notes].map(|reasons| reasons.into_iter().map(Listed).collect());
        let parsed = published.version.clone();
        let (version, remarks) = (published.tag.to_string(), Vec::new());
        Self { version, verdict, until, reasons, notes, remarks, active, unlisted: None, parsed }
    }

    /// Adds a remark for each policy that expedites the version while others hold it.
    fn with_expedited(mut self, planning: &Planning<'_>, component: &Component) -> Self {
        let lifted = |code| {
            use ReasonCode::{AwaitingEvidence, NotInWave, OutsideWindow, Soaking};
            matches!(code, Soaking | NotInWave | AwaitingEvidence | OutsideWindow)
        };
        let held = self.reasons.iter().chain(&self.notes);
        let holding: Vec<_> = held.filter(|Listed(r)| lifted(r.code())).filter_map(|Listed(r)| r.policy()).collect();
        let by = planning.policies().expedited_by(component, &self.parsed).into_iter();
        let by = by.filter(|by| holding.iter().any(|policy| *policy != by.policy()));
        self.remarks = by.map(|by| explain::expedited_elsewhere(&by)).collect();
        self
    }

    /// Returns whether a person who names the version or its major version gets it.
    pub(super) fn is_eligible_by_name(&self) -> bool {
        self.is_held_only_as(ReasonCode::MajorStays)
    }

    /// Returns whether there are no other reasons against the version.
    pub(super) fn is_held_only_as(&self, code: ReasonCode) -> bool {
        self.reasons.iter().all(|Listed(reason)| reason.code() == code)
    }

    /// Returns whether only waves hold the version. They do not hold a person who names it.
    pub(super) fn waits_for_its_wave(&self) -> bool {
        let is_wave = |code| matches!(code, ReasonCode::NotInWave | ReasonCode::AwaitingEvidence);
        self.verdict == Class::Held && self.reasons.iter().all(|Listed(reason)| is_wave(reason.code()))
    }

    /// Returns whether a person who names exactly this version gets it.
    pub(super) fn is_eligible_by_exact_name(&self) -> bool {
        use ReasonCode::{AwaitingEvidence, MajorStays, NotInWave, PreRelease};
        let is_lifted = |code| matches!(code, NotInWave | AwaitingEvidence | MajorStays | PreRelease);
        self.reasons.iter().all(|Listed(reason)| is_lifted(reason.code()))
    }

    /// Returns a version whose details cannot be read.
    fn unreadable(
        planning: &Planning<'_>,
        component: &Component,
        published: &PublishedVersion,
        failure: &Failure,
    ) -> Self {
        let reason = planning.unreadable(component, &published.version, &failure.summary());
        Self {
            version: published.tag.to_string(),
            verdict: reason.class(),
            reasons: vec![Listed(reason)],
            notes: Vec::new(),
            remarks: Vec::new(),
            until: None,
            active: planning.active(component) == Some(&published.version),
            unlisted: None,
            parsed: published.version.clone(),
        }
    }
}

/// Adds the active version, unless it is listed.
pub(super) fn add_unlisted(
    planning: &Planning<'_>,
    component: &Component,
    is_recorded: bool,
    versions: &mut Vec<VersionVerdict>,
) {
    let Some(active) = planning.active(component).filter(|_| versions.iter().all(|version| !version.active)) else {
        return;
    };
    let why = if is_recorded {
        format!(
            "the record of {component} does not list it: it was withdrawn, or channel, versions or history of the \
             record leave it out"
        )
    } else {
        "it is not published any more".to_owned()
    };
    let index = versions.partition_point(|version| version.parsed > *active);
    versions.insert(index, VersionVerdict::unlisted(planning, component, active, why));
}

/// Evaluates the version that a person typed, or all versions. One that cannot be read does not hide the others.
pub(super) async fn evaluate_all(
    planning: &mut Planning<'_>,
    component: &Component,
    listing: &TagList,
    typed: Option<&str>,
) -> Result<Vec<VersionVerdict>, Failure> {
    if let Some(typed) = typed {
        let found = listing.find(typed).map_err(|error| lookup_failure(component, &error))?;
        return Ok(vec![evaluate(planning, component, found).await?]);
    }
    let mut versions = Vec::with_capacity(listing.published.len());
    for published in &listing.published {
        versions.push(match evaluate(planning, component, published).await {
            Err(failure) if failure.code == Code::Failed => {
                VersionVerdict::unreadable(planning, component, published, &failure)
            }
            result => result?,
        });
    }
    Ok(versions)
}

/// Evaluates a version for an update there, and for a person notes the windows and blackouts that bind the agent only.
async fn evaluate(
    planning: &mut Planning<'_>,
    component: &Component,
    published: &PublishedVersion,
) -> Result<VersionVerdict, Failure> {
    let active = planning.active(component).cloned();
    let active = active.as_ref();
    let intent = planning.intent();
    let verdict = if active == Some(&published.version) {
        planning.staying_published(component, published).await?
    } else {
        planning.verdict(component, published, intent).await?
    };
    let mut notes = verdict.notes().to_vec();
    if intent != Intent::Agent && active.is_none_or(|active| *active < published.version) {
        notes.extend(window_reasons(&planning.verdict(component, published, Intent::Agent).await?, &verdict));
    }
    let plugin_reasons = planning.plugin_reasons(component, &published.version).await;
    let row = VersionVerdict::new(published, active == Some(&published.version), &verdict, notes, plugin_reasons);
    Ok(row.with_expedited(planning, component))
}

/// Returns the reasons about windows and blackouts in a verdict for the agent that do not hold people, who see them as
/// notes.
fn window_reasons(agent: &Verdict, person: &Verdict) -> Vec<Reason> {
    let is_window = |reason: &&Reason| {
        matches!(reason.code(), ReasonCode::OutsideWindow | ReasonCode::Blackout | ReasonCode::WindowsNeverMeet)
    };
    let holds = |reason: &Reason, other: &Reason| (reason.code(), reason.policy()) == (other.code(), other.policy());
    let is_new = |reason: &&Reason| !person.reasons().iter().any(|other| holds(reason, other));
    agent.reasons().iter().filter(is_window).filter(is_new).cloned().collect()
}
