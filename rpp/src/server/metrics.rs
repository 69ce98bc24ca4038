//! Metrics of the server for Prometheus. Labels have few values: routes, statuses, kinds of requests. Names, tags
//! and users are no labels.

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::connections::ConnectionMetrics;

/// Labels of a request to the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabel {
    /// `tags`, `layer`, `old_layer`, `manifest` or `none`.
    pub(super) route: &'static str,
    /// HTTP status of the response.
    pub(super) code: u16,
}

/// Labels of a request that the server makes to the registry or the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutboundLabel {
    /// `tags`, `manifest`, `blob`, `token` or `access`.
    pub(super) kind: &'static str,
    /// Either `ok` or `failed`.
    pub(super) result: &'static str,
}

/// The metrics of the server, registered for `/metrics`.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) requests: Family<RequestLabel, Counter>,
    pub(super) seconds: Histogram,
    pub(super) bytes: Counter<u64, AtomicU64>,
    pub(super) in_flight: Gauge,
    pub(super) connections: ConnectionMetrics,
    upstream: Family<OutboundLabel, Counter>,
    reviews: Family<OutboundLabel, Counter>,
    pub(super) cache_hits: Counter,
    pub(super) cache_misses: Counter,
    pub(super) cache_evictions: Counter,
    pub(super) cache_bytes: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("d8_rpp");
        let connections = ConnectionMetrics::registered(&mut registry);
        let mut metrics = Self {
            registry,
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            bytes: Counter::default(),
            in_flight: Gauge::default(),
            connections,
            upstream: Family::default(),
            reviews: Family::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_evictions: Counter::default(),
            cache_bytes: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests by route and status", metrics.requests.clone());
        let help = "Time from a request to the last byte of its response";
        registry.register_with_unit("request_duration", help, Unit::Seconds, metrics.seconds.clone());
        registry.register_with_unit("sent", "Bytes sent in responses", Unit::Bytes, metrics.bytes.clone());
        registry.register("in_flight", "Requests in progress", metrics.in_flight.clone());
        registry.register("upstream", "Requests to the registry", metrics.upstream.clone());
        registry.register("reviews", "Reviews of tokens and access by the cluster", metrics.reviews.clone());
        registry.register("cache_hits", "Layers found in the cache", metrics.cache_hits.clone());
        registry.register("cache_misses", "Layers fetched from the registry", metrics.cache_misses.clone());
        registry.register("cache_evictions", "Layers evicted from the cache", metrics.cache_evictions.clone());
        registry.register_with_unit("cache", "Bytes in the cache", Unit::Bytes, metrics.cache_bytes.clone());
        metrics
    }

    /// Counts a request to the registry.
    pub(super) fn count_upstream(&self, kind: &'static str, ok: bool) {
        self.upstream.get_or_create(&outbound(kind, ok)).inc();
    }

    /// Counts a review by the cluster.
    pub(super) fn count_review(&self, kind: &'static str, ok: bool) {
        self.reviews.get_or_create(&outbound(kind, ok)).inc();
    }

    /// Returns the metrics as text, in the format of `OpenMetrics`.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn outbound(kind: &'static str, ok: bool) -> OutboundLabel {
    OutboundLabel { kind, result: if ok { "ok" } else { "failed" } }
}
