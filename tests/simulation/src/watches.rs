//! The watches of all hosts. A host has one, which ends after some minutes and begins again where it ended. Which host it
//! is matters only after an outage, so that the watches are counted.

use std::collections::{BTreeMap, VecDeque};

use d8_agent::{tick_schedule, watched_policies::watch_timeout};
use rand::{RngExt as _, rngs::StdRng};

use crate::{
    simulation::Reaction,
    time::{Millis, SECOND, of_delay},
    traffic::{Kind, Traffic},
};

/// How long a watch stayed open, and the delay before a watch that failed is opened again, where hosts do not spread.
const SAME_TIMEOUT: usize = 290;
const SAME_RETRY: Millis = 5 * SECOND;

/// The watches.
pub(crate) struct Watches {
    reaction: Reaction,
    /// How many end in each of the coming seconds.
    ends: VecDeque<u32>,
    /// How many open again after an outage, by second.
    opens: BTreeMap<Millis, u32>,
    /// The next second to count.
    next: Millis,
}

impl Watches {
    /// Makes the watches of hosts, which were opened at different times.
    pub(crate) fn new(hosts: usize, reaction: Reaction, random: &mut StdRng) -> Self {
        let mut watches = Self { reaction, ends: VecDeque::from(vec![0; 2]), opens: BTreeMap::new(), next: 0 };
        for _ in 0..hosts {
            let left = random.random_range(1..=SAME_TIMEOUT);
            watches.end_in(left, 1);
        }
        watches
    }

    /// Counts what the watches do until a time.
    pub(crate) fn advance(&mut self, to: Millis, traffic: &mut Traffic, random: &mut StdRng) {
        while self.next <= to {
            let again = self.ends.pop_front().unwrap_or_default();
            let anew = self.opens.remove(&(self.next / SECOND)).unwrap_or_default();
            traffic.add(Kind::WatchOpen, self.next, again + anew);
            traffic.add(Kind::WatchList, self.next, anew);
            match self.reaction {
                Reaction::AtOnce => self.end_in(SAME_TIMEOUT - 1, again + anew),
                Reaction::Spread => (0..again + anew).for_each(|_| {
                    let seconds = watch_timeout(random.random()).as_secs();
                    self.end_in(usize::try_from(seconds).unwrap_or(SAME_TIMEOUT), 1);
                }),
            }
            self.next += SECOND;
        }
    }

    fn end_in(&mut self, seconds: usize, watches: u32) {
        if self.ends.len() <= seconds {
            self.ends.resize(seconds + 1, 0);
        }
        self.ends[seconds] += watches;
    }

    /// Ends all watches: the API server does not answer in this span. Returns when each host has a watch again.
    pub(crate) fn interrupt(&mut self, hosts: usize, from: Millis, to: Millis, random: &mut StdRng) -> Vec<Millis> {
        self.ends.clear();
        let mut opened = Vec::with_capacity(hosts);
        for _ in 0..hosts {
            let at = self.retry(from, to, random);
            *self.opens.entry(at / SECOND).or_default() += 1;
            opened.push(at);
        }
        opened
    }

    /// Returns the first retry after the outage.
    fn retry(&self, from: Millis, to: Millis, random: &mut StdRng) -> Millis {
        let mut at = from + random.random_range(0..SECOND);
        let mut failures = 0;
        while at < to {
            failures += 1;
            at += match self.reaction {
                Reaction::AtOnce => SAME_RETRY,
                Reaction::Spread => of_delay(tick_schedule::wait_after_failures(failures, random.random())),
            };
        }
        at
    }
}
