//! Gates that rule versions out: access, block, versions, a set channel, and the host's own rules.

use super::{GateInput, bytes};
use crate::{
    decisions::{
        reason::{Cause, Source},
        verdict::merge::{ACCESS, CHANNEL},
    },
    records::policy::Access,
    values::{channel::Channel, text::printable, version::Version},
};

/// `access: Deny` in any policy.
pub(super) fn denied(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let access = ACCESS.merge(input.rules);
    if access.value == Access::Deny {
        causes.extend(access.setters().map(|(rule, by)| Cause::Denied { by, message: rule.message() }));
    }
    if input.policies.local_rules().is_some_and(|local| local.denies(input.candidate.component)) {
        causes.push(Cause::Denied { by: Source::LocalRules { field: "refuse" }, message: None });
    }
}

/// `block`: the union of all. It holds for the same layer under other versions, too.
pub(super) fn blocked(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let mut add = |by, blocked: &Version, message| {
        let same_layer_as = (blocked != input.candidate.version).then(|| blocked.clone());
        causes.push(Cause::Blocked { by, same_layer_as, message });
    };
    for applicable in input.rules {
        let Some((origin, rule)) = applicable.rule() else { continue };
        if let Some(blocked) = block_of(input, rule.block.iter()) {
            add(applicable.source(origin, "block"), blocked, rule.message.clone());
        }
    }
    let local_rules = input.policies.local_rules();
    if let Some(blocked) = local_rules.and_then(|local| block_of(input, local.blocked(input.candidate.component))) {
        add(Source::LocalRules { field: "refuse" }, blocked, None);
    }
}

/// Returns the first of these versions that is the candidate's, else the first that has the same layer.
fn block_of<'v>(input: &GateInput<'_>, mut blocked: impl Iterator<Item = &'v Version> + Clone) -> Option<&'v Version> {
    let is_version = |blocked: &&Version| *blocked == input.candidate.version;
    blocked.clone().find(is_version).or_else(|| blocked.find(|blocked| bytes::has_layer_of(input, blocked)))
}

/// `versions`: those of every policy must permit the version. Each constraint is read under its own policy's
/// channel, or the channel of one policy would widen the range of another.
pub(super) fn versions(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    for applicable in input.rules {
        let Some((origin, rule)) = applicable.rule() else { continue };
        let Some(versions) = &rule.versions else { continue };
        let channel = CHANNEL.of(applicable).map_or(Channel::Stable, |setting| setting.value);
        if !versions.permits(input.candidate.version, channel) {
            causes.push(Cause::VersionNotPermitted {
                by: applicable.source(origin, "versions"),
                constraint: printable(versions.as_str()).into_owned(),
                message: rule.message.clone(),
            });
        }
    }
}

/// `minimumVersions` of the host's own rules.
pub(super) fn minimum(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let local_rules = input.policies.local_rules();
    let below = local_rules.and_then(|local| local.below(input.candidate.component, input.candidate.version));
    causes.extend(below.map(|minimum| Cause::BelowMinimum {
        by: Source::LocalRules { field: "minimumVersions" },
        minimum: minimum.clone(),
    }));
}

/// `channel: Stable` in any policy: no pre-release is permitted.
pub(super) fn channel(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    if !input.is_pre_release() {
        return;
    }
    let channel = CHANNEL.merge(input.rules);
    if channel.value == Channel::Stable {
        causes.extend(channel.setters().map(|(rule, by)| Cause::ChannelNotPermitted { by, message: rule.message() }));
    }
}
