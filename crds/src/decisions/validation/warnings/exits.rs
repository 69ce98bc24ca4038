//! Warnings about hosts that must leave a version and cannot.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    CheckedSubjects, Warnings,
    blocks::{Block, PAUSED},
    channel_of, listed,
};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Class, Reason, ReasonCode},
        requirements::Findings,
        verdict::{Candidate, Host, HostPolicies, Verdict},
    },
    records::{policy::Updates, release::ReleaseVersion},
    values::version::Version,
};

/// The versions of a component that are active on hosts, and the current time.
#[derive(Clone, Copy)]
pub(super) struct ActiveVersions<'a> {
    pub(super) versions: &'a BTreeSet<Version>,
    pub(super) now: Timestamp,
}

pub(super) fn exits(block: &Block<'_>, active: ActiveVersions<'_>, warnings: &mut Warnings) {
    stranded(block, active, warnings);
    // Nobody has to leave a version because of a policy for some people.
    if block.policy.subjects == CheckedSubjects::Everyone {
        kept_outside(block, active.versions, warnings);
    }
}

/// How hosts leave a blocked version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    /// At once, or how is not known here.
    Open,
    /// Some hosts at once, and the last of them at the end of the wave of this version.
    Wave { end: Option<Timestamp>, version: Version },
    /// Once this version is old enough.
    Age { until: Timestamp, version: Version },
    /// Once this version has succeeded on enough hosts.
    Evidence { version: Version },
    /// Not at all.
    None,
}

/// Warns about active versions that are blocked, if hosts cannot leave them at once.
fn stranded(block: &Block<'_>, ActiveVersions { versions, now }: ActiveVersions<'_>, warnings: &mut Warnings) {
    let (policy, field) = (block.policy, block.field);
    let policies = block.alone.for_host(Host::LAST);
    let mut exits: BTreeMap<Exit, Vec<&Version>> = BTreeMap::new();
    for version in versions.iter().filter(|version| block.is_blocked(version)) {
        exits.entry(exit(block, &policies, version, now)).or_default().push(version);
    }
    let by_label = policy.rollout.as_ref().is_some_and(|rollout| rollout.canaries.is_some());
    let canaries = if by_label { ", except canaries," } else { "" };
    for (exit, blocked) in exits {
        let hosts = hosts_with(block, &blocked);
        match exit {
            Exit::Open if policy.paused && policy.subjects == CheckedSubjects::Everyone => {
                warnings.add(format!("{PAUSED}: {hosts} wait"));
            }
            Exit::Open => {}
            Exit::Wave { end, version } => {
                let last = end.map(|end| format!(", and the last of them at {end:.0}")).unwrap_or_default();
                warnings.add(format!(
                    "{field}.block: {hosts} leave it in the wave of {version}{last}; to let all leave at once, add \
                     `expedite: [{version}]`"
                ));
                if let Some(end) = end {
                    warnings.change_at(end);
                }
            }
            Exit::Age { until, version } => {
                warnings.add(format!(
                    "{field}.block: {hosts}{canaries} cannot leave it before {until:.0}; expedite {version}?"
                ));
                warnings.change_at(until);
            }
            Exit::Evidence { version } => warnings.add(format!(
                "{field}.block: {hosts}, except canaries, cannot leave it before {version} has succeeded on enough hosts; \
                 expedite {version}?"
            )),
            Exit::None => warnings.add(format!("{field}.block: {hosts} cannot leave it: no other version is eligible")),
        }
    }
}

/// Returns how hosts leave a blocked version under this policy alone: the soonest way of all versions.
fn exit(block: &Block<'_>, policies: &HostPolicies<'_>, active: &Version, now: Timestamp) -> Exit {
    let others = block.versions.iter().filter(|(version, _)| version != active);
    let exits = others.map(|(version, entry)| {
        let verdict = verdict(block, policies, (active, now), version, entry);
        exit_to(block, version, &verdict)
    });
    // The versions come from the newest on: of two ways that are equally soon, hosts take the newer version.
    exits.min_by(|a, b| a.soonness().cmp(&b.soonness())).unwrap_or(Exit::None)
}

impl Exit {
    /// Returns the rank of the way, and when it opens.
    fn soonness(&self) -> (u8, Option<Timestamp>) {
        match self {
            Self::Open => (0, None),
            Self::Wave { end, .. } => (1, end.or(Some(Timestamp::MAX))),
            Self::Age { until, .. } => (2, Some(*until)),
            Self::Evidence { .. } => (3, None),
            Self::None => (4, None),
        }
    }
}

/// Returns whether hosts can leave for this version, or what holds it. Only what `expedite` lifts is a way.
fn exit_to(block: &Block<'_>, version: &Version, verdict: &Verdict) -> Exit {
    if verdict.is_eligible() {
        return Exit::Open;
    }
    let reasons = || verdict.reasons().iter();
    let may_expedite =
        |code| matches!(code, ReasonCode::Soaking | ReasonCode::NotInWave | ReasonCode::AwaitingEvidence);
    if verdict.class() != Class::Held || !reasons().all(|reason| may_expedite(reason.code())) {
        return Exit::None;
    }
    let version = version.clone();
    let found = |code| reasons().find(|reason| reason.code() == code);
    if found(ReasonCode::AwaitingEvidence).is_some() {
        // A policy in a file has no status, so that it is not known which waves have begun.
        return if block.policy.waves.is_empty() { Exit::Open } else { Exit::Evidence { version } };
    }
    match found(ReasonCode::Soaking) {
        Some(soaking) => soaking.until().map_or(Exit::None, |until| Exit::Age { until, version }),
        None => Exit::Wave { end: found(ReasonCode::NotInWave).and_then(Reason::until), version },
    }
}

/// Returns the verdict on a change away from the active version: for an agent, or for the people of the policy.
fn verdict(
    block: &Block<'_>,
    policies: &HostPolicies<'_>,
    (active, now): (&Version, Timestamp),
    version: &Version,
    entry: &ReleaseVersion,
) -> Verdict {
    let is_for_all = block.policy.subjects == CheckedSubjects::Everyone;
    let intent = if is_for_all { Intent::Agent } else { Intent::Update };
    let findings = Findings::recorded(entry, None);
    let candidate = Candidate::new(policies.host(), block.component, version, intent, now)
        .confirmed(Some(now))
        .active(Some(active))
        .unmet(&findings.unmet)
        .unchecked(&findings.unchecked)
        .release(Some(block.record));
    policies.evaluate(&candidate)
}

/// Warns about active versions outside `versions` that hosts cannot leave, because nothing may change there.
fn kept_outside(block: &Block<'_>, active: &BTreeSet<Version>, warnings: &mut Warnings) {
    let updates = block.rule.settings.updates.or(block.policy.defaults.updates);
    let holds = match (block.policy.paused, updates) {
        (true, _) => "spec.paused",
        (false, Some(Updates::Frozen)) => "`updates: Frozen`",
        _ => return,
    };
    let channel = channel_of(block.policy, Some(block.rule));
    let is_outside = |version: &&Version| {
        let permitted = block.rule.versions.as_ref().is_none_or(|versions| versions.permits(version, channel));
        !permitted && !block.is_blocked(version)
    };
    let outside: Vec<&Version> = active.iter().filter(is_outside).collect();
    if !outside.is_empty() {
        let hosts = hosts_with(block, &outside);
        warnings.add(format!("{}.versions: {hosts} must leave it, but {holds} keeps them there", block.field));
    }
}

/// `hosts with tool v1.2.1, v1.2.0`.
fn hosts_with(block: &Block<'_>, versions: &[&Version]) -> String {
    let versions: Vec<_> = versions.iter().rev().map(ToString::to_string).collect();
    format!("hosts with {} {}", block.component, listed(&versions))
}
