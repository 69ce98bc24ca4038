//! Warnings about blocks: what else they take. Whether hosts can leave what is blocked is in `exits`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    CheckedPolicy, CheckedRule, CheckedSubjects, PolicyContext, Warnings,
    exits::{self, ActiveVersions},
    is_denied, listed, rule_for,
};
use crate::{
    decisions::{
        intent::Intent,
        reason::Cause,
        verdict::{Candidate, Host, HostPolicies, PolicySet, Verdict},
    },
    records::release::{CliRelease, ReleaseVersion},
    values::{name::Component, platform::Platform, version::Version},
};

pub(super) fn blocks(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let has_blocks = super::rules(policy).any(|(_, rule)| !rule.block.is_empty());
    let is_for_all = policy.subjects == CheckedSubjects::Everyone;
    if context.active.is_none() && policy.paused && has_blocks && is_for_all {
        warnings.add(PAUSED);
    }
    // What a host does once the policy is not paused.
    let alone = PolicySet::to_the_last_host(CheckedPolicy { paused: false, ..policy.clone() });
    for (component, record) in context.records.into_iter().flatten() {
        let Some((field, rule)) = rule_for(policy, component) else { continue };
        let active = context.active.and_then(|active| active.get(component)).zip(context.now);
        // Most rules neither block nor hold versions, and a record can have hundreds.
        let may_hold = active.is_some() && (rule.versions.is_some() || !rule.block.is_empty());
        if is_denied(policy, component, Some(rule)) || (rule.block.is_empty() && !may_hold) {
            continue;
        }
        let versions = parsed(record);
        let block = Block { policy, alone: &alone, field: &field, rule, component, record, versions: &versions };
        if !rule.block.is_empty() {
            block.same_layers(warnings);
        }
        if let Some((versions, now)) = active {
            exits::exits(&block, ActiveVersions { versions, now }, warnings);
        }
    }
}

pub(super) const PAUSED: &str =
    "spec.paused: while the policy is paused, only people leave the versions in `block`, and no agent";

/// A rule, and the record of a component to which it applies.
pub(super) struct Block<'a> {
    pub(super) policy: &'a CheckedPolicy,
    /// The policy without the others, for the last host, and as if it were not paused.
    pub(super) alone: &'a PolicySet,
    pub(super) field: &'a str,
    pub(super) rule: &'a CheckedRule,
    pub(super) component: &'a Component,
    pub(super) record: &'a CliRelease,
    /// From the newest version.
    pub(super) versions: &'a [(Version, &'a ReleaseVersion)],
}

fn layers(entry: &ReleaseVersion) -> impl Iterator<Item = &str> {
    entry.artifacts.iter().map(|artifact| artifact.layer.as_str())
}

/// Returns the versions of a record, the newest first.
pub(super) fn parsed(record: &CliRelease) -> Vec<(Version, &ReleaseVersion)> {
    let entries = record.status.iter().flat_map(|status| &status.versions);
    let mut versions: Vec<_> = entries.filter_map(|e| Some((Version::parse(&e.version).ok()?, e))).collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    versions
}

impl Block<'_> {
    pub(super) fn is_blocked(&self, version: &Version) -> bool {
        self.rule.block.iter().any(|entry| entry.contains(version))
    }

    /// Warns about versions that the block takes only because a blocked version has the same layer.
    fn same_layers(&self, warnings: &mut Warnings) {
        let (blocked, others): (Vec<_>, Vec<_>) =
            self.versions.iter().partition(|(version, _)| self.is_blocked(version));
        let blocked: BTreeSet<&str> = blocked.iter().flat_map(|(_, entry)| layers(entry)).collect();
        let shares = |(_, entry): &&&(Version, &ReleaseVersion)| layers(entry).any(|layer| blocked.contains(layer));
        let sharing: Vec<&Version> = others.iter().filter(shares).map(|(version, _)| version).collect();
        let mut taken: BTreeMap<&Version, Version> = BTreeMap::new();
        for platform in if sharing.is_empty() { BTreeSet::new() } else { self.platforms() } {
            let policies = self.alone.for_host(Host { platform: platform.as_ref(), ..Host::LAST });
            for version in &sharing {
                if let Some(same) = same_layer(&self.verdict(&policies, version)) {
                    taken.insert(version, same);
                }
            }
        }
        let taken: Vec<_> = taken.iter().rev().map(|(version, same)| format!("{version} (as {same})")).collect();
        if !taken.is_empty() {
            warnings.add(format!(
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

    fn verdict(&self, policies: &HostPolicies<'_>, version: &Version) -> Verdict {
        let (host, now) = (policies.host(), Timestamp::UNIX_EPOCH);
        let candidate = Candidate::new(host, self.component, version, Intent::Agent, now);
        policies.evaluate(&candidate.confirmed(Some(now)).release(Some(self.record)))
    }
}

/// Returns the blocked version with the same layer, if that is why the version is blocked.
fn same_layer(verdict: &Verdict) -> Option<Version> {
    verdict.reasons().iter().find_map(|reason| match &reason.cause {
        Cause::Blocked { same_layer_as: Some(same), .. } => Some((**same).clone()),
        _ => None,
    })
}
