//! Gates that rule versions out: access, block, versions, a set channel, and the host's own rules.

use std::{cell::LazyCell, sync::Arc};

use super::{Causes, GateInput, bytes};
use crate::{
    decisions::{
        reason::{Cause, Field, Source},
        verdict::merge::{ACCESS, CHANNEL, PermittedVersions, permitted_versions},
    },
    records::policy::Access,
    values::{channel::Channel, text::printable, version::Version, version_set::VersionSet},
};

/// `access: Deny` in any policy.
pub(super) fn denied(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let access = ACCESS.merge(input.rules);
    if access.value == Access::Deny {
        causes.extend(access.setters().map(|(rule, by)| Cause::Denied { by, message: rule.message() }));
    }
    if input.policies.local_rules().is_some_and(|local| local.denies(input.candidate.component)) {
        causes.push(Cause::Denied { by: Source::LocalRules { field: Field::Refuse }, message: None });
    }
}

/// `block`: the union of all. It holds for the same layer under other versions, too.
pub(super) fn blocked(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    // Computed only if a policy or the host blocks versions of the component.
    let same_layer = LazyCell::new(|| bytes::versions_with_same_layer(input));
    for applicable in input.rules {
        let Some((origin, rule)) = applicable.rule().filter(|(_, rule)| !rule.block.is_empty()) else { continue };
        let by = || applicable.source(origin, Some(Field::Block));
        causes.extend(block(input.candidate.version, &rule.block, &same_layer, by, rule.message.as_ref()));
    }
    let Some(local_rules) = input.policies.local_rules() else { return };
    let refused = local_rules.blocked(input.candidate.component).cloned().map(VersionSet::One).collect::<Vec<_>>();
    if !refused.is_empty() {
        let by = || Source::LocalRules { field: Field::Refuse };
        causes.extend(block(input.candidate.version, &refused, &same_layer, by, None));
    }
}

/// Returns the cause of the first entry that takes the version, else of the first one that takes a version with the same
/// layer.
fn block(
    version: &Version,
    entries: &[VersionSet],
    same_layer: &[Version],
    by: impl Fn() -> Source,
    message: Option<&Arc<str>>,
) -> Option<Cause> {
    let entry_of = |version: &Version| entries.iter().find(|entry| entry.contains(version));
    let cause = |entry: &VersionSet, same_layer_as: Option<&Version>| Cause::Blocked {
        by: by(),
        range: matches!(entry, VersionSet::Range(_)).then(|| entry.to_string().into()),
        same_layer_as: same_layer_as.map(|version| Box::new(version.clone())),
        message: message.cloned(),
    };
    if let Some(entry) = entry_of(version) {
        return Some(cause(entry, None));
    }
    same_layer.iter().find_map(|twin| Some(cause(entry_of(twin)?, Some(twin))))
}

/// `versions`: those of every policy must permit the version.
pub(super) fn versions(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    for rule in input.rules {
        let Some(PermittedVersions { constraint, origin, channel }) = permitted_versions(rule) else { continue };
        if !constraint.permits(input.candidate.version, channel) {
            causes.push(Cause::VersionNotPermitted {
                by: rule.source(origin, Some(Field::Versions)),
                constraint: printable(constraint.as_str()).into(),
                message: rule.message(),
            });
        }
    }
}

/// `minimumVersions` of the host's own rules.
pub(super) fn minimum(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let local_rules = input.policies.local_rules();
    let below = local_rules.and_then(|local| local.below(input.candidate.component, input.candidate.version));
    causes.extend(below.map(|minimum| Cause::BelowMinimum {
        by: Source::LocalRules { field: Field::MinimumVersions },
        minimum: Box::new(minimum.clone()),
    }));
}

/// `channel: Stable` in any policy: no pre-release is permitted.
pub(super) fn channel(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    if !input.is_pre_release() {
        return;
    }
    let channel = CHANNEL.merge(input.rules);
    if channel.value == Channel::Stable {
        causes.extend(channel.setters().map(|(rule, by)| Cause::ChannelNotPermitted { by, message: rule.message() }));
    }
}
