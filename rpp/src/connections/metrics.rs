//! Metrics of the connections of a server.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// A limit of the number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    /// That of all connections.
    All,
    /// That of one client address.
    Address,
}

/// Label of a connection that reached a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabel {
    /// The limit: `all` or `address`.
    bound: &'static str,
}

impl From<Bound> for BoundLabel {
    fn from(bound: Bound) -> Self {
        Self {
            bound: match bound {
                Bound::All => "all",
                Bound::Address => "address",
            },
        }
    }
}

/// The metrics of the connections of a server. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    pub(super) open: Gauge,
    displaced: Family<BoundLabel, Counter>,
    refused: Family<BoundLabel, Counter>,
}

impl ConnectionMetrics {
    /// Registers `connections`, `connections_displaced_total` and `connections_refused_total`.
    pub fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connections", "Open connections", metrics.open.clone());
        let help =
            "Idle or stuck connections that were closed to make room for another one, by the limit that was reached";
        registry.register("connections_displaced", help, metrics.displaced.clone());
        let help = "Connections that were refused, by the limit that was reached";
        registry.register("connections_refused", help, metrics.refused.clone());
        metrics
    }

    pub(super) fn count_displaced(&self, bound: Bound) {
        self.displaced.get_or_create(&bound.into()).inc();
    }

    pub(super) fn count_refused(&self, bound: Bound) {
        self.refused.get_or_create(&bound.into()).inc();
    }
}
