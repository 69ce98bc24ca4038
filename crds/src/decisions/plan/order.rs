//! The order of changes: dependencies before what requires them.

use std::collections::{BTreeMap, BTreeSet};

use super::dependencies::{Dependencies, any_mandatory};
use crate::values::name::Component;

/// How many of the other components a component still waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Waits {
    mandatory: usize,
    conditional: usize,
}

/// Orders components so that each comes after those that it requires. A cycle is broken at a conditional
/// dependency if it has one. Otherwise, and among components that are equally far, names decide.
pub(super) fn dependencies_first<'k>(dependencies: &BTreeMap<&'k Component, &'k Dependencies>) -> Vec<&'k Component> {
    let mut waits: BTreeMap<&Component, Waits> =
        dependencies.keys().map(|component| (*component, Waits::default())).collect();
    let mut dependents: BTreeMap<&Component, Vec<(&'k Component, bool)>> = BTreeMap::new();
    for (component, dependencies) in dependencies {
        for (target, on_target) in dependencies.by_component().filter(|(target, _)| target != component) {
            if !waits.contains_key(target) {
                continue;
            }
            let mandatory = any_mandatory(on_target);
            dependents.entry(target).or_default().push((component, mandatory));
            let waits = waits.entry(component).or_default();
            *(if mandatory { &mut waits.mandatory } else { &mut waits.conditional }) += 1;
        }
    }
    let mut rest: BTreeSet<&'k Component> = dependencies.keys().copied().collect();
    let mut ready: BTreeSet<&'k Component> =
        rest.iter().copied().filter(|component| waits.get(component) == Some(&Waits::default())).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    loop {
        let without_mandatory =
            || rest.iter().copied().find(|component| waits.get(component).is_none_or(|waits| waits.mandatory == 0));
        let next = ready.pop_first().or_else(without_mandatory).or_else(|| rest.first().copied());
        let Some(next) = next else { break };
        rest.remove(next);
        ordered.push(next);
        for (dependent, mandatory) in dependents.get(next).into_iter().flatten() {
            let Some(waits) = waits.get_mut(dependent) else { continue };
            let count = if *mandatory { &mut waits.mandatory } else { &mut waits.conditional };
            *count = count.saturating_sub(1);
            if *waits == Waits::default() && rest.contains(dependent) {
                ready.insert(dependent);
            }
        }
    }
    ordered
}
