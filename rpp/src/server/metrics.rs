//! What Prometheus sees of the server. Labels are bounded: routes, statuses, kinds of questions; never a
//! name, a tag or a user.

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

/// A route and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabel {
    /// `tags`, `layer`, `old_layer`, `manifest` or `none`.
    pub(super) route: &'static str,
    /// The status.
    pub(super) code: u16,
}

/// What was asked of the registry or of the cluster, and whether it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AskedLabel {
    /// `tags`, `manifest`, `blob`, `token` or `access`.
    pub(super) kind: &'static str,
    /// `ok` or `failed`.
    pub(super) result: &'static str,
}

/// Every metric, registered once.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) requests: Family<RequestLabel, Counter>,
    pub(super) seconds: Histogram,
    pub(super) bytes: Counter<u64, AtomicU64>,
    pub(super) in_flight: Gauge,
    upstream: Family<AskedLabel, Counter>,
    reviews: Family<AskedLabel, Counter>,
    pub(super) cache_hits: Counter,
    pub(super) cache_misses: Counter,
    pub(super) cache_evictions: Counter,
    pub(super) cache_bytes: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("d8_rpp"),
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            bytes: Counter::default(),
            in_flight: Gauge::default(),
            upstream: Family::default(),
            reviews: Family::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_evictions: Counter::default(),
            cache_bytes: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests by route and status", metrics.requests.clone());
        let help = "From the request to the last byte of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, metrics.seconds.clone());
        registry.register_with_unit("sent", "Bytes of answers sent", Unit::Bytes, metrics.bytes.clone());
        registry.register("in_flight", "Requests that are being answered", metrics.in_flight.clone());
        registry.register("upstream", "Questions to the registry", metrics.upstream.clone());
        registry.register("reviews", "Questions to the cluster, who somebody is and may", metrics.reviews.clone());
        registry.register("cache_hits", "Layers that were in the cache", metrics.cache_hits.clone());
        registry.register("cache_misses", "Layers that had to be fetched", metrics.cache_misses.clone());
        registry.register("cache_evictions", "Layers that made room for others", metrics.cache_evictions.clone());
        registry.register_with_unit("cache", "Bytes in the cache", Unit::Bytes, metrics.cache_bytes.clone());
        metrics
    }

    /// A question to the registry was answered, or not.
    pub(super) fn upstream(&self, kind: &'static str, ok: bool) {
        self.upstream.get_or_create(&asked(kind, ok)).inc();
    }

    /// A question to the cluster was answered, or not.
    pub(super) fn review(&self, kind: &'static str, ok: bool) {
        self.reviews.get_or_create(&asked(kind, ok)).inc();
    }

    /// As text, in the format of `OpenMetrics`.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn asked(kind: &'static str, ok: bool) -> AskedLabel {
    AskedLabel { kind, result: if ok { "ok" } else { "failed" } }
}
