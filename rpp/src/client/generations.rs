//! Which generation of the protocol an endpoint speaks, as its answers show. Never guessed from a
//! version: an answer proves a generation, and only what an older route delivered after a newer one
//! had nothing rules a newer one out.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::protocol::generation::Generation;

/// How long what an endpoint showed is believed. Longer than any command runs: for a process that lives
/// on, since the proxy may be updated meanwhile.
const BELIEVED: Duration = Duration::from_hours(1);

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Known>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The newest whose route has answered.
    proven: Option<(Generation, Instant)>,
    /// The oldest whose route had nothing where an older one delivered.
    absent: Option<(Generation, Instant)>,
}

impl Memory {
    /// Whether the route of a generation has delivered here: then its 404 means "not published".
    pub(crate) fn has(&self, generation: Generation) -> bool {
        self.read().has(generation, Instant::now())
    }

    /// Whether it is known that there is no such route.
    pub(crate) fn lacks(&self, generation: Generation) -> bool {
        self.read().lacks(generation, Instant::now())
    }

    /// The route of a generation delivered.
    pub(crate) fn prove(&self, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).prove(generation, Instant::now());
    }

    /// The route of a generation had nothing under a tag that is listed, and an older one delivered.
    pub(crate) fn rule_out(&self, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rule_out(generation, Instant::now());
    }

    fn read(&self) -> Known {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has(&self, generation: Generation, now: Instant) -> bool {
        self.proven.is_some_and(|(proven, at)| proven >= generation && now.duration_since(at) < BELIEVED)
    }

    fn lacks(&self, generation: Generation, now: Instant) -> bool {
        self.absent.is_some_and(|(absent, at)| absent <= generation && now.duration_since(at) < BELIEVED)
    }

    fn prove(&mut self, generation: Generation, now: Instant) {
        let newer = self.proven.filter(|(proven, _)| *proven > generation && self.has(*proven, now));
        self.proven = newer.or(Some((generation, now)));
        self.absent = self.absent.filter(|(absent, _)| *absent > generation);
    }

    fn rule_out(&mut self, generation: Generation, now: Instant) {
        // What was proven is not undone by one answer.
        if self.has(generation, now) {
            return;
        }
        tracing::debug!(?generation, "the proxy is older than this generation");
        let oldest = self.absent.map_or(generation, |(absent, _)| absent.min(generation));
        self.absent = Some((oldest, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, how long after the start, and for each generation whether it is there or is not.
    type Step = (&'static str, fn(&mut Known, Instant), Duration, [(bool, bool); 3]);

    #[test]
    fn what_answers_show() {
        use Generation::{One, Three, Two};
        let (unknown, has, lacks) = ((false, false), (true, false), (false, true));
        let start = Instant::now();
        let mut known = Known::default();
        let steps: [Step; 8] = [
            ("nothing", |_, _| {}, Duration::ZERO, [unknown; 3]),
            ("a layer by platform", |k, now| k.prove(Two, now), Duration::ZERO, [has, has, unknown]),
            ("a proof is not undone by a 404", |k, now| k.rule_out(Two, now), Duration::ZERO, [has, has, unknown]),
            ("no manifests", |k, now| k.rule_out(Three, now), Duration::ZERO, [has, has, lacks]),
            ("an older route takes nothing away", |k, now| k.prove(One, now), Duration::ZERO, [has, has, lacks]),
            ("it was updated", |k, now| k.prove(Three, now), Duration::ZERO, [has; 3]),
            ("it may have been changed", |_, _| {}, BELIEVED, [unknown; 3]),
            ("the oldest of all", |k, now| k.rule_out(Two, now), BELIEVED, [unknown, lacks, lacks]),
        ];
        for (what, step, after, expected) in steps {
            let now = start + after;
            step(&mut known, now);
            let state = [One, Two, Three].map(|generation| (known.has(generation, now), known.lacks(generation, now)));
            assert_eq!(state, expected, "{what}");
        }
    }
}
