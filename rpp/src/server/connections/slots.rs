//! Counts the open connections, all of them and those of each client address.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ConnectionLimits;
use crate::server::metrics::Metrics;

/// The places for connections.
pub(super) struct Slots {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection. It is free again on drop.
pub(super) struct Slot {
    slots: Arc<Slots>,
    client: IpAddr,
}

impl Slots {
    pub(super) fn new(limits: &ConnectionLimits, metrics: Arc<Metrics>) -> Self {
        let (max, max_per_address) = (limits.connections, limits.per_address);
        Self { max, max_per_address, taken: Mutex::default(), metrics }
    }

    /// Takes a place for a connection from an address.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> io::Result<Slot> {
        let client = client(address);
        let mut taken = self.lock();
        let of_client = taken.by_address.get(&client).copied().unwrap_or_default();
        let bound = match (taken.all < self.max, of_client < self.max_per_address) {
            (true, true) => None,
            (true, false) => Some("address"),
            (false, _) => Some("all"),
        };
        if let Some(bound) = bound {
            drop(taken);
            self.metrics.count_refused(bound);
            tracing::debug!(%client, bound, "a connection was refused");
            return Err(io::Error::other("too many connections"));
        }
        taken.all += 1;
        taken.by_address.insert(client, of_client + 1);
        self.metrics.connections.inc();
        drop(taken);
        Ok(Slot { slots: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.client);
            }
        }
        self.slots.metrics.connections.dec();
    }
}

/// Returns what counts as one client: an address, for IPv6 its /64 network, which one machine has for itself.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_free_again() {
        let limits = ConnectionLimits { connections: 4, per_address: 2, ..ConnectionLimits::default() };
        let slots = Arc::new(Slots::new(&limits, Arc::new(Metrics::new())));
        let take = |address: &str| slots.take(address.parse().unwrap()).ok();
        let first = take("10.0.0.1");
        let mapped = take("::ffff:10.0.0.1");
        assert!(first.is_some() && mapped.is_some());
        assert!(take("10.0.0.1").is_none(), "two connections of one address");
        let (network, same) = (take("2001:db8::1"), take("2001:db8::2:0:0:1"));
        assert!(network.is_some() && same.is_some());
        assert!(take("10.0.0.2").is_none(), "four connections in all");
        drop((network, mapped));
        assert!(take("10.0.0.2").is_some());
        let again = take("10.0.0.1");
        assert!(again.is_some() && take("10.0.0.1").is_none());
        drop((first, same, again));
        assert!(slots.lock().by_address.is_empty());
        assert_eq!(slots.lock().all, 0);
    }
}
