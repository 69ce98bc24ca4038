//! Warnings about the annotation that resumes halted waves.

use super::{CheckedPolicy, PolicyContext, Warnings, listed};
use crate::{
    decisions::validation::rollout::{RESUME, ResumedHalt},
    values::name::Component,
};

/// Warns about entries of the annotation that resume nothing. An entry stays in the annotation after its wave was resumed,
/// so that an entry is suspicious only while a wave is halted, or if nothing can be halted under its name.
pub(super) fn resumed(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let halted = halted(policy);
    let remedy = match halted.as_slice() {
        [] => String::new(),
        _ => format!("; halted now: {}", listed(&halted)),
    };
    for why in policy.resumed.errors() {
        warnings.add(format!("annotation {RESUME}: {why}; it resumes nothing{remedy}"));
    }
    for halt in policy.resumed.halts() {
        let is_known = names_wave(policy, halt);
        let is_impossible = is_unknown(&halt.component, context) || context.now.is_some_and(|now| now < halt.halted_at);
        if !is_known && (is_impossible || !halted.is_empty()) {
            warnings.add(format!("annotation {RESUME}: `{halt}` names no halt of this policy{remedy}"));
        }
    }
}

/// Returns whether the entry names a halt in the policy's status.
fn names_wave(policy: &CheckedPolicy, halt: &ResumedHalt) -> bool {
    policy.wave(&halt.component, &halt.version).is_some_and(|wave| wave.halted_at == Some(halt.halted_at))
}

/// Returns whether the cluster has no record of the component.
fn is_unknown(component: &Component, context: PolicyContext<'_>) -> bool {
    context.records.is_some_and(|records| !records.contains_key(component))
}

/// Returns the values of the annotation that would resume the halted waves.
fn halted(policy: &CheckedPolicy) -> Vec<String> {
    let waves = policy.waves.iter().flat_map(|(component, waves)| waves.iter().map(move |wave| (component, wave)));
    let halted = waves
        .filter(|(_, wave)| wave.halted)
        .filter_map(|(component, wave)| Some(format!("`{component}/{}@{:.0}`", wave.version, wave.halted_at?)));
    halted.collect()
}
