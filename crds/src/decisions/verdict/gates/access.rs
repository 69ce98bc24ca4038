//! Gates that rule versions out: access, block, versions, a set channel, and the host's own rules.

use super::GateInput;
use crate::{
    decisions::{
        reason::{Cause, Source},
        verdict::merge::{ACCESS, CHANNEL},
    },
    records::policy::Access,
    values::{channel::Channel, text::printable},
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

/// `block`: the union of all.
pub(super) fn blocked(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let (component, version) = (input.candidate.component, input.candidate.version);
    for applicable in input.rules {
        if let Some((origin, rule)) = applicable.rule().filter(|(_, rule)| rule.block.contains(version)) {
            causes.push(Cause::Blocked { by: applicable.source(origin, "block"), message: rule.message.clone() });
        }
    }
    if input.policies.local_rules().is_some_and(|local| local.blocks(component, version)) {
        causes.push(Cause::Blocked { by: Source::LocalRules { field: "refuse" }, message: None });
    }
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

/// `channel: Stable`.
pub(super) fn channel(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    if !input.is_pre_release() {
        return;
    }
    let channel = CHANNEL.merge(input.rules);
    if channel.value == Channel::Stable {
        causes.extend(channel.setters().map(|(rule, by)| Cause::ChannelNotPermitted { by, message: rule.message() }));
    }
}
