//! Counts the open connections, all of them and those of each client address.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    ConnectionLimits,
    activity::{Activity, Displaceable},
    metrics::{Bound, ConnectionMetrics},
};

/// The places for connections.
pub(super) struct Slots {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
    metrics: ConnectionMetrics,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// How many of them the metric contains.
    shown: i64,
    /// The connections of each client.
    by_client: HashMap<IpAddr, Vec<Arc<Activity>>>,
}

/// The place of one connection. It is free again on drop.
pub(super) struct Slot {
    slots: Arc<Slots>,
    client: IpAddr,
    activity: Arc<Activity>,
}

impl Slots {
    pub(super) fn new(limits: &ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        let (max, max_per_address) = (limits.connections, limits.per_address);
        Self { max, max_per_address, taken: Mutex::default(), metrics }
    }

    /// Takes a place for a connection from an address. If there is none, a connection that is idle or stuck makes room:
    /// one of the same client, or else one of the client that has the most of them.
    ///
    /// # Errors
    /// No connection may make room.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, activity: &Arc<Activity>) -> io::Result<Slot> {
        let client = client(address);
        let mut taken = self.lock();
        if let Some(bound) = self.reached_bound(&taken, client) {
            let from = match bound {
                Bound::Address => Some(client),
                Bound::All => taken.client_with_most_displaceable(),
            };
            let Some((displaced, why)) = from.and_then(|from| taken.remove_displaceable(from)) else {
                self.metrics.count_refused(bound);
                tracing::debug!(%client, ?bound, "a connection was refused");
                return Err(io::Error::other("too many connections"));
            };
            self.metrics.count_displaced(bound);
            displaced.displace(why);
        }
        taken.all += 1;
        taken.by_client.entry(client).or_default().push(Arc::clone(activity));
        taken.show(&self.metrics);
        Ok(Slot { slots: Arc::clone(self), client, activity: Arc::clone(activity) })
    }

    fn reached_bound(&self, taken: &Taken, client: IpAddr) -> Option<Bound> {
        if taken.by_client.get(&client).map_or(0, Vec::len) >= self.max_per_address {
            Some(Bound::Address)
        } else {
            (taken.all >= self.max).then_some(Bound::All)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn client_with_most_displaceable(&self) -> Option<IpAddr> {
        let displaceable = |connections: &Vec<Arc<Activity>>| {
            connections.iter().filter(|connection| connection.displaceable().is_some()).count()
        };
        let (client, _) = self.by_client.iter().max_by_key(|(_, connections)| displaceable(connections))?;
        Some(*client)
    }

    /// Removes the connection that is idle for the longest time. If none is idle, the one whose client has read the
    /// least of what it must. Returns it with the reason why it may make room.
    fn remove_displaceable(&mut self, client: IpAddr) -> Option<(Arc<Activity>, Displaceable)> {
        let displaceable = self.by_client.get(&client)?.iter().filter_map(|one| Some((one.displaceable()?, one)));
        let (why, first) = displaceable.min_by_key(|(why, _)| *why)?;
        let first = Arc::clone(first);
        self.remove(client, &first);
        Some((first, why))
    }

    /// Removes a connection, if it is there.
    fn remove(&mut self, client: IpAddr, connection: &Arc<Activity>) {
        let Some(connections) = self.by_client.get_mut(&client) else { return };
        let Some(index) = connections.iter().position(|one| Arc::ptr_eq(one, connection)) else { return };
        connections.swap_remove(index);
        if connections.is_empty() {
            self.by_client.remove(&client);
        }
        self.all -= 1;
    }

    /// Shows the number of connections. The listeners of a process share the metric.
    fn show(&mut self, metrics: &ConnectionMetrics) {
        let all = i64::try_from(self.all).unwrap_or(i64::MAX);
        metrics.open.inc_by(all - self.shown);
        self.shown = all;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // While no other connection takes the place: the metric never exceeds the limit. The place of a displaced
        // connection belongs to another one already.
        let mut taken = self.slots.lock();
        taken.remove(self.client, &self.activity);
        taken.show(&self.slots.metrics);
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
    use std::task::Waker;

    use super::*;
    use crate::connections::activity::{Phase, RunningRequest};

    fn slots(connections: usize, per_address: usize) -> Arc<Slots> {
        let limits = ConnectionLimits { connections, per_address, ..ConnectionLimits::default() };
        Arc::new(Slots::new(&limits, ConnectionMetrics::default()))
    }

    /// A connection, and a request on it unless it is idle.
    struct Connection {
        _slot: Slot,
        activity: Arc<Activity>,
        request: Option<RunningRequest>,
    }

    impl Connection {
        fn open(slots: &Arc<Slots>, address: &str) -> Option<Self> {
            let activity = Arc::new(Activity::new(&ConnectionLimits::default()));
            let slot = slots.take(address.parse().unwrap(), &activity).ok()?;
            Some(Self { _slot: slot, activity, request: None })
        }

        fn busy(slots: &Arc<Slots>, address: &str) -> Option<Self> {
            let mut connection = Self::open(slots, address)?;
            connection.request = Some(RunningRequest::begin(Arc::clone(&connection.activity), http::Version::HTTP_11));
            Some(connection)
        }

        fn is_open(&self) -> bool {
            self.activity.status_unless_displaced(Waker::noop()).is_some()
        }
    }

    #[test]
    fn places_are_bounded_and_free_again() {
        let slots = slots(4, 2);
        let take = |address: &str| Connection::busy(&slots, address);
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
        assert!(slots.lock().by_client.is_empty());
        assert_eq!((slots.lock().all, slots.metrics.open.get()), (0, 0));
    }

    #[test]
    fn the_metric_never_exceeds_the_limit() {
        let slots = slots(4, 4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let connection = Connection::busy(&slots, "10.0.0.1");
                        let open = slots.metrics.open.get();
                        assert!((0..=4).contains(&open), "{open}");
                        drop(connection);
                    }
                });
            }
        });
        assert_eq!(slots.metrics.open.get(), 0);
    }

    #[test]
    fn listeners_that_share_a_metric_count_together() {
        let first = slots(4, 4);
        let limits = ConnectionLimits { connections: 1, per_address: 1, ..ConnectionLimits::default() };
        let second = Arc::new(Slots::new(&limits, first.metrics.clone()));
        let open = || first.metrics.open.get();
        let (one, two) = (Connection::open(&first, "10.0.0.1"), Connection::open(&first, "10.0.0.1"));
        let other = Connection::open(&second, "10.0.0.1");
        assert_eq!(open(), 3);
        let next = Connection::open(&second, "10.0.0.1");
        assert_eq!(open(), 3, "one connection made room");
        drop((one, other));
        assert_eq!(open(), 2);
        drop((two, next));
        assert_eq!(open(), 0);
    }

    #[test]
    fn a_request_that_began_before_the_connection_ended_is_answered() {
        let slots = slots(1, 1);
        let mut chosen = Connection::open(&slots, "10.0.0.1").unwrap();
        let phase =
            |connection: &Connection| connection.activity.status_unless_displaced(Waker::noop()).map(|now| now.phase);
        assert_eq!(phase(&chosen), Some(Phase::Idle));
        let other = Connection::open(&slots, "10.0.0.1").unwrap();
        assert_eq!((phase(&chosen), phase(&other)), (None, Some(Phase::Idle)));
        chosen.request = Some(RunningRequest::begin(Arc::clone(&chosen.activity), http::Version::HTTP_2));
        assert_eq!(phase(&chosen), Some(Phase::Server));
        chosen.request = None;
        assert_eq!(phase(&chosen), Some(Phase::Client), "the client reads the rest");
    }

    #[test]
    fn the_connection_that_is_idle_for_the_longest_time_makes_room() {
        let slots = slots(4, 3);
        let open = |address: &str| Connection::open(&slots, address).unwrap();
        let [mut oldest, second, busy] =
            [open("10.0.0.1"), open("10.0.0.1"), Connection::busy(&slots, "10.0.0.1").unwrap()];
        let other = open("10.0.0.2");
        // A request that ends now: the connection was idle for a shorter time than the second one.
        drop(RunningRequest::begin(Arc::clone(&oldest.activity), http::Version::HTTP_11));
        let of_same = open("10.0.0.1");
        assert_eq!(
            [&oldest, &second, &busy, &other, &of_same].map(Connection::is_open),
            [true, false, true, true, true]
        );
        let of_third = open("10.0.0.3");
        assert_eq!(
            [&oldest, &busy, &other, &of_same, &of_third].map(Connection::is_open),
            [false, true, true, true, true]
        );
        // A request on a displaced connection, and its end, change nothing for the others.
        oldest.request = Some(RunningRequest::begin(Arc::clone(&oldest.activity), http::Version::HTTP_11));
        drop((oldest, second));
        assert_eq!((slots.lock().all, slots.metrics.open.get()), (4, 4));
        drop((busy, other, of_same, of_third));
        assert_eq!((slots.lock().all, slots.metrics.open.get()), (0, 0));
    }

    #[test]
    fn a_connection_whose_client_does_not_read_makes_room_after_the_idle_ones() {
        let slots = slots(3, 3);
        let take = |activity: &Arc<Activity>| slots.take("10.0.0.1".parse().unwrap(), activity);
        // Without a minimum of time.
        let limits = ConnectionLimits { headers: std::time::Duration::ZERO, ..ConnectionLimits::default() };
        let [stuck, running, idle] = [(); 3].map(|()| Arc::new(Activity::new(&limits)));
        let _held = [&stuck, &running, &idle].map(|activity| take(activity).unwrap());
        let begin = |activity: &Arc<Activity>| RunningRequest::begin(Arc::clone(activity), http::Version::HTTP_2);
        let mut unread = begin(&stuck);
        unread.set_at_server(false);
        // A request that the server answers does not hide the other one.
        let _requests = [unread, begin(&stuck), begin(&running)];
        let is_open = |activity: &Activity| activity.status_unless_displaced(Waker::noop()).is_some();
        let mut new = Vec::new();
        for expected in [[true, true, false], [false, true, false]] {
            let busy = Arc::new(Activity::new(&limits));
            let request = begin(&busy);
            new.push((take(&busy).unwrap(), request));
            assert_eq!([&stuck, &running, &idle].map(|activity| is_open(activity)), expected);
        }
        assert!(take(&Arc::new(Activity::new(&limits))).is_err(), "all others run");
    }
}
