//! Which waves a status has room for.

use std::collections::BTreeSet;

use d8_crds::{
    records::policy::{ComponentProgress, WaveState, WaveStatus},
    values::{limits, version::Version},
};

/// Most waves in a status, halted ones not counted. With about 110 bytes each, they stay far below the 1.5 MiB that
/// etcd accepts.
const MAX_WAVES: usize = 4096;

/// How much is lost with a wave that the status does not have; the least is the last to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// Hosts would take a version on which too many failed.
    Halt,
    /// Hosts would have nothing to update to, because the version that they take would wait for evidence again: the
    /// target, or the newest version of a major version, on which hosts may stay.
    Taken,
    /// A version that few hosts still take.
    Older,
    /// Nothing but counts: a wave that has not begun waits in any case.
    Counts,
}

/// Keeps at most `limit` waves of a component, which are sorted from the newest version. Returns whether clients lack a
/// wave that has begun or is halted.
pub(super) fn limit_waves(component: &mut ComponentProgress, limit: usize) -> bool {
    let halted = halted(component);
    let ComponentProgress { waves, target, .. } = component;
    // The API server refuses a list beyond this limit.
    let limit = limit.max(halted).min(limits::WAVES);
    if waves.len() <= limit {
        return false;
    }
    let mut majors = BTreeSet::new();
    let mut loss = |wave: &WaveStatus| {
        let has_begun = wave.since.is_some();
        let major = Version::parse(&wave.version).map_or(0, |version| version.major());
        let is_newest = has_begun && majors.insert(major);
        match wave.state {
            Some(WaveState::Halted) => Loss::Halt,
            _ if !has_begun => Loss::Counts,
            _ if is_newest || target.as_ref() == Some(&wave.version) => Loss::Taken,
            _ => Loss::Older,
        }
    };
    let mut ranked: Vec<_> = waves.iter().map(&mut loss).enumerate().collect();
    // The sort is stable: of waves with the same loss, the newest come first.
    ranked.sort_by_key(|(_, loss)| *loss);
    let dropped = ranked.split_off(limit);
    let kept: BTreeSet<usize> = ranked.into_iter().map(|(index, _)| index).collect();
    let mut index = 0..;
    waves.retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
    dropped.iter().any(|(_, loss)| *loss != Loss::Counts)
}

fn halted(component: &ComponentProgress) -> usize {
    component.waves.iter().filter(|wave| wave.state == Some(WaveState::Halted)).count()
}

/// Limits the number of components, and of their waves together. Returns whether something was dropped.
pub(super) fn limit_components(components: &mut Vec<ComponentProgress>) -> bool {
    let limit = limits::COMPONENTS;
    let mut trimmed = components.len() > limit;
    if trimmed {
        // Components without waves are dropped first, those with halted waves last.
        components.sort_by_key(|component| (halted(component) == 0, component.waves.is_empty()));
        components.truncate(limit);
        components.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let all: usize = components.iter().map(|component| component.waves.len() - halted(component)).sum();
    if all > MAX_WAVES {
        let each = (MAX_WAVES / components.len()).max(1);
        for component in components.iter_mut() {
            let halted = halted(component);
            trimmed |= limit_waves(component, halted + each);
        }
    }
    trimmed
}

#[cfg(test)]
mod tests;
