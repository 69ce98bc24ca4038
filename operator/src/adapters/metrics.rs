//! Metrics for Prometheus. Labels are bounded: components that have a record, and reasons from enums. An error text is
//! never a label.

use d8_rpp::connections::ConnectionMetrics;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Label of a component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ComponentLabel {
    /// Name of the record.
    pub(crate) component: String,
}

/// Label of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    /// `Success`, or the reason of the failure.
    pub(crate) reason: String,
}

/// Label of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    /// Kind of the object: `CliRelease` or `PluginPolicy`.
    pub(crate) kind: &'static str,
}

/// Labels of a failed reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FailureLabel {
    /// Kind of the object: `CliRelease` or `PluginPolicy`.
    pub(crate) kind: &'static str,
    /// Reason of the failure.
    pub(crate) reason: &'static str,
}

pub(crate) struct Metrics {
    registry: Registry,
    /// Connections to the address of the metrics themselves.
    pub(crate) connections: ConnectionMetrics,
    /// Polls of the proxy, by result.
    pub(crate) polls: Family<ResultLabel, Counter>,
    /// Requests sent to the proxy.
    pub(crate) proxy_requests: Counter,
    /// 1 while the cluster announces another proxy than the pinned one, otherwise 0.
    pub(crate) proxy_changed: Gauge,
    /// Number of keys that the cluster announces for the proxy and that are not trusted.
    pub(crate) proxy_untrusted_keys: Gauge,
    /// Duration of a poll, in seconds.
    pub(crate) poll_seconds: Histogram,
    /// Time of the last successful poll, in seconds since 1970.
    pub(crate) last_sync: Family<ComponentLabel, Gauge>,
    /// 1 if condition `Synced` of the record is true, otherwise 0.
    pub(crate) synced: Family<ComponentLabel, Gauge>,
    /// Number of versions in the record.
    pub(crate) versions: Family<ComponentLabel, Gauge>,
    /// Number of versions in the record that fit this cluster.
    pub(crate) fitting: Family<ComponentLabel, Gauge>,
    /// Statuses that were written, by kind.
    pub(crate) status_writes: Family<KindLabel, Counter>,
    /// Reconciliations that failed, by kind and reason.
    pub(crate) reconcile_failures: Family<FailureLabel, Counter>,
    /// 1 while this instance leads, otherwise 0.
    pub(crate) leading: Gauge,
    /// Number of policies that are not accepted.
    pub(crate) policies_rejected: Gauge,
    /// Number of halted waves.
    pub(crate) waves_halted: Gauge,
}

impl Metrics {
    /// Registers all metrics with prefix `d8_operator`.
    pub(crate) fn new() -> Self {
        let buckets = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let mut registry = Registry::with_prefix("d8_operator");
        let connections = ConnectionMetrics::registered(&mut registry);
        let mut metrics = Self {
            registry,
            connections,
            polls: Family::default(),
            proxy_requests: Counter::default(),
            proxy_changed: Gauge::default(),
            proxy_untrusted_keys: Gauge::default(),
            poll_seconds: Histogram::new(buckets),
            last_sync: Family::default(),
            synced: Family::default(),
            versions: Family::default(),
            fitting: Family::default(),
            status_writes: Family::default(),
            reconcile_failures: Family::default(),
            leading: Gauge::default(),
            policies_rejected: Gauge::default(),
            waves_halted: Gauge::default(),
        };
        let r = &mut metrics.registry;
        r.register("polls", "Polls of the proxy, by result", metrics.polls.clone());
        r.register("proxy_requests", "Requests sent to the proxy", metrics.proxy_requests.clone());
        r.register(
            "proxy_changed",
            "1 while the cluster announces another proxy than the pinned one",
            metrics.proxy_changed.clone(),
        );
        r.register(
            "proxy_untrusted_keys",
            "Keys that the cluster announces for the proxy and that are not trusted",
            metrics.proxy_untrusted_keys.clone(),
        );
        r.register_with_unit("poll", "Duration of a poll", Unit::Seconds, metrics.poll_seconds.clone());
        let last_sync = metrics.last_sync.clone();
        r.register_with_unit(
            "release_last_sync",
            "Time of the last successful poll, since 1970",
            Unit::Seconds,
            last_sync,
        );
        r.register("release_synced", "1 if condition Synced is true", metrics.synced.clone());
        r.register("release_versions", "Versions in the record", metrics.versions.clone());
        r.register("release_fitting_versions", "Versions that fit this cluster", metrics.fitting.clone());
        r.register("status_writes", "Written statuses", metrics.status_writes.clone());
        r.register("reconcile_failures", "Failed reconciliations", metrics.reconcile_failures.clone());
        r.register("leading", "1 while this instance leads", metrics.leading.clone());
        r.register("policies_rejected", "PluginPolicies that are not accepted", metrics.policies_rejected.clone());
        r.register("waves_halted", "Waves of PluginPolicies that are halted", metrics.waves_halted.clone());
        metrics
    }

    /// Returns the metrics in the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Removes the labels of a component whose record was deleted, so that labels stay bounded.
    pub(crate) fn remove_component(&self, component: &str) {
        let label = ComponentLabel { component: component.to_owned() };
        for family in [&self.last_sync, &self.synced, &self.versions, &self.fitting] {
            family.remove(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_component_leaves_no_label() {
        let metrics = Metrics::new();
        metrics.synced.get_or_create(&ComponentLabel { component: "stronghold".into() }).set(1);
        let text = metrics.text().unwrap();
        assert!(text.contains("d8_operator_release_synced{component=\"stronghold\"} 1"), "{text}");
        metrics.remove_component("stronghold");
        assert!(!metrics.text().unwrap().contains("stronghold"));
    }
}
