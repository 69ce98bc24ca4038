//! Which generation of the protocol an endpoint supports, learned from its answers.
//!
//! An answer on a route proves its generation. A generation is ruled out only if its route had nothing and
//! an older route then delivered. Version numbers are not used.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::protocol::generation::Generation;

/// How long an observation counts. Longer than any command runs; a process that runs longer must notice an
/// upgrade of the proxy.
const LIFETIME: Duration = Duration::from_hours(1);

/// The generations that one endpoint was observed to support or to lack.
#[derive(Debug, Default)]
pub(crate) struct ObservedGenerations(Mutex<Observations>);

#[derive(Debug, Clone, Copy, Default)]
struct Observations {
    /// The newest generation whose route delivered.
    supported: Option<(Generation, Instant)>,
    /// The oldest generation whose route had nothing where an older route delivered.
    missing: Option<(Generation, Instant)>,
}

impl ObservedGenerations {
    /// Whether the route of a generation has delivered. If so, its 404 means "not published".
    pub(crate) fn supports(&self, generation: Generation) -> bool {
        self.read().supports(generation, Instant::now())
    }

    /// Whether the endpoint is known not to have the route of a generation.
    pub(crate) fn lacks(&self, generation: Generation) -> bool {
        self.read().lacks(generation, Instant::now())
    }

    /// Records that the route of a generation delivered.
    pub(crate) fn record_supported(&self, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record_supported(generation, Instant::now());
    }

    /// Records that the route of a generation had nothing for a listed tag, and an older route delivered.
    pub(crate) fn record_missing(&self, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record_missing(generation, Instant::now());
    }

    fn read(&self) -> Observations {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observations {
    fn supports(&self, generation: Generation, now: Instant) -> bool {
        self.supported.is_some_and(|(newest, at)| newest >= generation && now.duration_since(at) < LIFETIME)
    }

    fn lacks(&self, generation: Generation, now: Instant) -> bool {
        self.missing.is_some_and(|(oldest, at)| oldest <= generation && now.duration_since(at) < LIFETIME)
    }

    fn record_supported(&mut self, generation: Generation, now: Instant) {
        let newer = self.supported.filter(|(newest, _)| *newest > generation && self.supports(*newest, now));
        self.supported = newer.or(Some((generation, now)));
        self.missing = self.missing.filter(|(oldest, _)| *oldest > generation);
    }

    fn record_missing(&mut self, generation: Generation, now: Instant) {
        // One 404 does not refute a generation that has delivered.
        if self.supports(generation, now) {
            return;
        }
        tracing::debug!(?generation, "the proxy is older than this generation");
        let oldest = self.missing.map_or(generation, |(oldest, _)| oldest.min(generation));
        self.missing = Some((oldest, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_by_answer_and_age() {
        /// What is recorded, how long after the start, and for each generation whether it is supported and
        /// whether it is missing.
        type Step = (&'static str, fn(&mut Observations, Instant), Duration, [(bool, bool); 3]);
        use Generation::{One, Three, Two};
        let (unknown, has, lacks) = ((false, false), (true, false), (false, true));
        let start = Instant::now();
        let mut observed = Observations::default();
        let steps: [Step; 8] = [
            ("nothing", |_, _| {}, Duration::ZERO, [unknown; 3]),
            ("a layer by platform", |o, now| o.record_supported(Two, now), Duration::ZERO, [has, has, unknown]),
            ("a 404 after a success", |o, now| o.record_missing(Two, now), Duration::ZERO, [has, has, unknown]),
            ("no manifests", |o, now| o.record_missing(Three, now), Duration::ZERO, [has, has, lacks]),
            ("an older route delivers", |o, now| o.record_supported(One, now), Duration::ZERO, [has, has, lacks]),
            ("an upgrade", |o, now| o.record_supported(Three, now), Duration::ZERO, [has; 3]),
            ("the observations expire", |_, _| {}, LIFETIME, [unknown; 3]),
            ("generation 1 only", |o, now| o.record_missing(Two, now), LIFETIME, [unknown, lacks, lacks]),
        ];
        for (what, record, after, expected) in steps {
            let now = start + after;
            record(&mut observed, now);
            let state = [One, Two, Three]
                .map(|generation| (observed.supports(generation, now), observed.lacks(generation, now)));
            assert_eq!(state, expected, "{what}");
        }
    }
}
