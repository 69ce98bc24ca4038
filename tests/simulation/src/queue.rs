//! What happens next.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::Millis;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next step of the scenario.
    Step(usize),
    /// The operator polls the proxy.
    Poll,
    /// The operator reconciles its policies.
    Reconcile,
    /// A host ticks, unless its schedule has changed meanwhile.
    Tick { host: usize, number: u32 },
    /// A host has downloaded and tested a version.
    Finish { host: usize },
    /// The share of each version is noted.
    Sample,
}

/// The events to come, in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    pushed: u64,
}

impl Queue {
    /// Adds an event. Those of the same time happen in the order in which they were added.
    pub(crate) fn push(&mut self, at: Millis, event: Event) {
        self.pushed += 1;
        self.events.push(Reverse((at, self.pushed, event)));
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Millis, Event)> {
        self.events.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
