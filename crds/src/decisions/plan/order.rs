//! The order of changes: what a change needs comes before it.

use std::collections::{BTreeMap, BTreeSet};

use super::dependencies::Dependencies;
use crate::values::name::Component;

/// How many of the others a plugin waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Waits {
    mandatory: usize,
    conditional: usize,
}

/// Orders names so that a plugin comes after those of them it dependencies something of. Where that goes in
/// a circle, conditional dependencies give way first; then, and among equals, names decide.
pub(super) fn dependency_first<'k>(dependencies: &BTreeMap<&'k Component, &'k Dependencies>) -> Vec<&'k Component> {
    let mut waits: BTreeMap<&Component, Waits> = dependencies.keys().map(|name| (*name, Waits::default())).collect();
    let mut wanted_by: BTreeMap<&Component, Vec<(&'k Component, bool)>> = BTreeMap::new();
    for (name, dependencies) in dependencies {
        for (target, wanted) in dependencies.by_component().filter(|(target, _)| target != name) {
            if !waits.contains_key(target) {
                continue;
            }
            let mandatory = wanted.iter().any(|dependency| dependency.mandatory);
            wanted_by.entry(target).or_default().push((name, mandatory));
            let waits = waits.entry(name).or_default();
            *(if mandatory { &mut waits.mandatory } else { &mut waits.conditional }) += 1;
        }
    }
    let mut rest: BTreeSet<&'k Component> = dependencies.keys().copied().collect();
    let mut ready: BTreeSet<&'k Component> =
        rest.iter().copied().filter(|name| waits.get(name) == Some(&Waits::default())).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    loop {
        let stuck = || rest.iter().copied().find(|name| waits.get(name).is_none_or(|w| w.mandatory == 0));
        let Some(next) = ready.pop_first().or_else(stuck).or_else(|| rest.first().copied()) else { break };
        rest.remove(next);
        ordered.push(next);
        for (waiting, mandatory) in wanted_by.get(next).into_iter().flatten() {
            let Some(left) = waits.get_mut(waiting) else { continue };
            let count = if *mandatory { &mut left.mandatory } else { &mut left.conditional };
            *count = count.saturating_sub(1);
            if *left == Waits::default() && rest.contains(waiting) {
                ready.insert(waiting);
            }
        }
    }
    ordered
}
