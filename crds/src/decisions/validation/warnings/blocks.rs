//! Warnings about blocks: what else they take, and whether hosts can leave a blocked version.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{CheckedPolicy, CheckedRule, PolicyContext, listed, rule_for};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Class, ReasonCode},
        requirements::Findings,
        verdict::{Candidate, Host, HostPolicies, PolicySet, Verdict},
    },
    records::{
        policy::{Access, Updates},
        release::{CliRelease, ReleaseVersion},
    },
    values::{name::Component, platform::Platform, version::Version},
};

pub(super) fn blocks(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Vec<String>) {
    let has_blocks = super::rules(policy).any(|(_, rule)| !rule.block.is_empty());
    if context.active.is_none() && policy.paused && has_blocks {
        warnings.push(PAUSED.to_owned());
    }
    // What a host does once the policy is not paused.
    let alone = PolicySet::to_the_last_host(CheckedPolicy { paused: false, ..policy.clone() });
    for (component, record) in context.records.into_iter().flatten() {
        let Some((field, rule)) = rule_for(policy, component) else { continue };
        if rule.settings.access == Some(Access::Deny) {
            continue;
        }
        let block = Block { policy, alone: &alone, field: &field, rule, component, record, versions: &parsed(record) };
        if !rule.block.is_empty() {
            block.same_layers(warnings);
        }
        if let Some((active, now)) = context.active.and_then(|active| active.get(component)).zip(context.now) {
            block.stranded(active, now, warnings);
            block.kept_outside(active, warnings);
        }
    }
}

const PAUSED: &str = "spec.paused: while the policy is paused, only people leave the versions in `block`, and no agent";

/// A rule, and the record of a component to which it applies.
struct Block<'a> {
    policy: &'a CheckedPolicy,
    /// The policy without the others, for the last host, and as if it were not paused.
    alone: &'a PolicySet,
    field: &'a str,
    rule: &'a CheckedRule,
    component: &'a Component,
    record: &'a CliRelease,
    versions: &'a [(Version, &'a ReleaseVersion)],
}

fn layers(entry: &ReleaseVersion) -> impl Iterator<Item = &str> {
    entry.artifacts.iter().map(|artifact| artifact.layer.as_str())
}

fn parsed(record: &CliRelease) -> Vec<(Version, &ReleaseVersion)> {
    let entries = record.status.iter().flat_map(|status| &status.versions);
    let mut versions: Vec<_> = entries.filter_map(|e| Some((Version::parse(&e.version).ok()?, e))).collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    versions
}

impl Block<'_> {
    fn is_blocked(&self, version: &Version) -> bool {
        self.rule.block.iter().any(|entry| entry.contains(version))
    }

    /// Warns about versions that the block takes only because a blocked version has the same layer.
    fn same_layers(&self, warnings: &mut Vec<String>) {
        let (blocked, others): (Vec<_>, Vec<_>) =
            self.versions.iter().partition(|(version, _)| self.is_blocked(version));
        let blocked: BTreeSet<&str> = blocked.iter().flat_map(|(_, entry)| layers(entry)).collect();
        let shares = |(_, entry): &&&(Version, &ReleaseVersion)| layers(entry).any(|layer| blocked.contains(layer));
        let sharing: Vec<&Version> = others.iter().filter(shares).map(|(version, _)| version).collect();
        let mut taken: BTreeMap<&Version, Version> = BTreeMap::new();
        for platform in if sharing.is_empty() { BTreeSet::new() } else { self.platforms() } {
            let policies = self.alone.for_host(Host { platform: platform.as_ref(), ..Host::LAST });
            for version in &sharing {
                if let Some(same) = same_layer(&self.verdict(&policies, version, None, Timestamp::UNIX_EPOCH)) {
                    taken.insert(version, same);
                }
            }
        }
        let taken: Vec<_> = taken.iter().rev().map(|(version, same)| format!("{version} (as {same})")).collect();
        if !taken.is_empty() {
            warnings.push(format!(
                "{}.block also takes versions of {} that have the same layer as a blocked one: {}",
                self.field,
                self.component,
                listed(&taken)
            ));
        }
    }

    /// Returns the platforms of the versions, and a host whose platform is not known.
    fn platforms(&self) -> BTreeSet<Option<Platform>> {
        let artifacts = self.versions.iter().flat_map(|(_, entry)| &entry.artifacts);
        let platforms = artifacts.filter_map(|artifact| artifact.platform.as_ref()?.parse().ok());
        platforms.map(Some).chain([None]).collect()
    }

    /// Warns about active versions that are blocked, if hosts cannot leave them.
    fn stranded(&self, active: &BTreeSet<Version>, now: Timestamp, warnings: &mut Vec<String>) {
        let blocked: Vec<&Version> = active.iter().filter(|version| self.is_blocked(version)).collect();
        let Some(exit) = blocked.last().map(|active| self.exit(active, now)) else { return };
        let (hosts, field) = (self.hosts_with(&blocked), self.field);
        match exit {
            Exit::Open if self.policy.paused => warnings.push(format!("{PAUSED}: {hosts} wait")),
            Exit::Open => {}
            Exit::Held { version, until } => {
                let until = until.map(|until| format!(" before {until:.0}")).unwrap_or_default();
                warnings.push(format!("{field}.block: {hosts} cannot leave it{until}; expedite {version}?"));
            }
            Exit::None => {
                warnings.push(format!("{field}.block: {hosts} cannot leave it: no other version is eligible"));
            }
        }
    }

    /// Warns about active versions outside `versions` that hosts cannot leave, because nothing may change there.
    fn kept_outside(&self, active: &BTreeSet<Version>, warnings: &mut Vec<String>) {
        let updates = self.rule.settings.updates.or(self.policy.defaults.updates);
        let holds = match (self.policy.paused, updates) {
            (true, _) => "spec.paused",
            (false, Some(Updates::Frozen)) => "`updates: Frozen`",
            _ => return,
        };
        let channel = self.rule.settings.channel.or(self.policy.defaults.channel).unwrap_or_default();
        let is_outside = |version: &&Version| {
            let permitted = self.rule.versions.as_ref().is_none_or(|versions| versions.permits(version, channel));
            !permitted && !self.is_blocked(version)
        };
        let outside: Vec<&Version> = active.iter().filter(is_outside).collect();
        if !outside.is_empty() {
            let hosts = self.hosts_with(&outside);
            warnings.push(format!("{}.versions: {hosts} must leave it, but {holds} keeps them there", self.field));
        }
    }

    /// `hosts with tool v1.2.1, v1.2.0`.
    fn hosts_with(&self, versions: &[&Version]) -> String {
        let versions: Vec<_> = versions.iter().rev().map(ToString::to_string).collect();
        format!("hosts with {} {}", self.component, listed(&versions))
    }

    /// Returns whether a host can leave a blocked version under this policy alone.
    fn exit(&self, active: &Version, now: Timestamp) -> Exit {
        let policies = self.alone.for_host(Host::LAST);
        let mut best = Exit::None;
        for (version, entry) in self.versions.iter().filter(|(version, _)| version != active) {
            let verdict = self.verdict(&policies, version, Some((active, entry)), now);
            if verdict.is_eligible() {
                return Exit::Open;
            }
            let may_expedite =
                |code| matches!(code, ReasonCode::Soaking | ReasonCode::NotInWave | ReasonCode::AwaitingEvidence);
            let is_held = verdict.class() == Class::Held;
            if matches!(best, Exit::None)
                && is_held
                && verdict.reasons().iter().all(|reason| may_expedite(reason.code()))
            {
                best = Exit::Held { version: version.clone(), until: verdict.until() };
            }
        }
        best
    }

    /// Returns the verdict for an agent, on a change from the active version if there is one.
    fn verdict(
        &self,
        policies: &HostPolicies<'_>,
        version: &Version,
        from: Option<(&Version, &ReleaseVersion)>,
        now: Timestamp,
    ) -> Verdict {
        let findings = from.map(|(_, entry)| Findings::recorded(entry, None)).unwrap_or_default();
        let candidate = Candidate::new(policies.host(), self.component, version, Intent::Agent, now)
            .confirmed(Some(now))
            .active(from.map(|(active, _)| active))
            .unmet(&findings.unmet)
            .unchecked(&findings.unchecked)
            .release(Some(self.record));
        policies.evaluate(&candidate)
    }
}

/// How a host leaves a blocked version.
enum Exit {
    /// Another version is eligible.
    Open,
    /// This version is held by nothing but what `expedite` lifts.
    Held {
        version: Version,
        until: Option<Timestamp>,
    },
    None,
}

/// Returns the blocked version with the same layer, if that is why the version is blocked.
fn same_layer(verdict: &Verdict) -> Option<Version> {
    verdict.reasons().iter().find_map(|reason| match &reason.cause {
        Cause::Blocked { same_layer_as: Some(same), .. } => Some((**same).clone()),
        _ => None,
    })
}
