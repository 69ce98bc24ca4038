//! Warnings about waves that wait for more hosts than get the version first.

use super::{CheckedPolicy, PolicyContext, Warnings, blocks::parsed, channel_of, is_denied, listed, rule_for};
use crate::{
    decisions::validation::{Pattern, RequiredEvidence, rollout::CheckedRollout},
    records::{policy::Access, release::CliRelease},
    values::{channel::Channel, name::Component, version::Version},
};

/// Most components whose canaries are counted: a count reads the names of all hosts.
const COUNTED: usize = 64;

const FIELD: &str = "spec.rollout.requireSucceeded";

/// Warns about waves that wait for more hosts than there are canaries.
pub(super) fn canaries(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let Some(rollout) = &policy.rollout else { return };
    let (Some(evidence), Some(hosts)) = (rollout.evidence, context.hosts) else { return };
    if hosts < evidence.hosts {
        let required = evidence.hosts;
        warnings.add(format!("{FIELD} needs {required} hosts, and the policy selects {hosts}: no wave can begin"));
    } else if !of_versions(policy, rollout, evidence, context, warnings) {
        expected(rollout, evidence, context, warnings);
    }
}

/// Warns about each version for which `canaryPercent` chooses too few hosts. Returns whether there is one.
fn of_versions(
    policy: &CheckedPolicy,
    rollout: &CheckedRollout,
    evidence: RequiredEvidence,
    context: PolicyContext<'_>,
    warnings: &mut Warnings,
) -> bool {
    let (Some(share), Some(counter), Some(records)) = (rollout.canary_share, context.canary_counter, context.records)
    else {
        return false;
    };
    let by_label = context.canaries.filter(|_| rollout.canaries.is_some()).unwrap_or_default();
    if by_label >= evidence.hosts {
        return false;
    }
    let awaited = records
        .iter()
        .filter_map(|(component, record)| Some((component, awaited(policy, component, record, context)?)));
    let (mut none, mut few) = (Vec::new(), Vec::new());
    for (component, version) in awaited.take(COUNTED) {
        match counter.canaries(component, &version) {
            0 => none.push(format!("{component} {version}")),
            count if count < evidence.hosts => few.push(format!("{component} {version} ({count})")),
            _ => {}
        }
    }
    let hosts = context.hosts.unwrap_or_default();
    let percent = share.percent();
    let people = "the wave begins only if people install the version on other hosts";
    if !none.is_empty() {
        let chooses = if hosts == 1 {
            "does not choose the only host".to_owned()
        } else {
            format!("chooses none of the {hosts} hosts")
        };
        let chosen = format!("canaryPercent: {percent} {chooses} for {}", listed(&none));
        warnings.add(format!("spec.rollout: {chosen}: {people}"));
    }
    if !few.is_empty() {
        let chosen = format!("fewer than {} of the {hosts} hosts are canaries for {}", evidence.hosts, listed(&few));
        warnings.add(format!("{FIELD}: {chosen}: {people}"));
    }
    !none.is_empty() || !few.is_empty()
}

/// Returns the version of a component for which hosts wait: the newest that the policy permits, if its wave has not begun
/// and the component is on hosts or required there.
fn awaited(
    policy: &CheckedPolicy,
    component: &Component,
    record: &CliRelease,
    context: PolicyContext<'_>,
) -> Option<Version> {
    let rule = rule_for(policy, component).map(|(_, rule)| rule);
    let active = context.active.and_then(|active| active.get(component));
    let is_required = rule.is_some_and(|rule| {
        let names =
            |pattern: &Pattern| matches!((pattern, component), (Pattern::Name(a), Component::Plugin(b)) if a == b);
        rule.settings.access == Some(Access::Require) && rule.plugins.iter().any(names)
    });
    if (active.is_none() && !is_required) || is_denied(policy, component, rule) {
        return None;
    }
    let channel = channel_of(policy, rule);
    let is_permitted = |version: &Version| {
        (channel == Channel::Prerelease || !version.is_prerelease())
            && rule.is_none_or(|rule| {
                rule.versions.as_ref().is_none_or(|versions| versions.permits(version, channel))
                    && !rule.block.iter().any(|entry| entry.contains(version))
            })
    };
    let published = parsed(record).into_iter().filter(|(_, entry)| entry.withdrawn.is_none());
    let (newest, _) = published.into_iter().find(|(version, _)| is_permitted(version))?;
    let has_begun = policy.wave(component, &newest).is_some_and(|wave| wave.since.is_some());
    let is_expedited = rule.is_some_and(|rule| rule.expedite.contains(&newest));
    let is_everywhere = active.is_some_and(|active| active.iter().all(|version| *version >= newest));
    // A policy in a file has no status, so that the wave of a version that hosts have may have begun.
    let may_have_begun = policy.waves.is_empty() && active.is_some_and(|active| active.contains(&newest));
    (!has_begun && !is_expedited && !is_everywhere && !may_have_begun).then_some(newest)
}

/// Warns if fewer hosts are canaries than the waves wait for, as far as that does not depend on the version.
fn expected(rollout: &CheckedRollout, evidence: RequiredEvidence, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let (hosts, required) = (context.hosts.unwrap_or_default(), evidence.hosts);
    // The share differs from version to version.
    let by_share = rollout.canary_share.map_or(0, |share| hosts.saturating_mul(share.percent()).div_ceil(100));
    let by_label = if rollout.canaries.is_some() { context.canaries } else { Some(0) };
    if let Some(canaries) = by_label.map(|by_label| by_label.saturating_add(by_share)).filter(|all| *all < required) {
        let about = if by_share > 0 { "about " } else { "" };
        warnings.add(format!(
            "{FIELD} needs {required} hosts, and there are {about}{canaries} canaries: waves begin only if people \
             install the version on other hosts"
        ));
    }
}
