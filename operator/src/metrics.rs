//! What Prometheus sees. Labels are bounded: components that have a record, and reasons of enums;
//! never a text of an error.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// A component that has a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ComponentLabel {
    /// The record's name.
    pub(crate) component: String,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    /// `Success`, or the reason of the failure.
    pub(crate) reason: String,
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    /// `CliRelease` or `PluginPolicy`.
    pub(crate) kind: &'static str,
}

/// A kind of record and how its reconciliation failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FailureLabel {
    /// `CliRelease` or `PluginPolicy`.
    pub(crate) kind: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
}

/// Every metric, registered once.
pub(crate) struct Metrics {
    registry: Registry,
    /// Polls of the proxy by how they ended.
    pub(crate) polls: Family<OutcomeLabel, Counter>,
    /// Requests sent to the proxy.
    pub(crate) proxy_requests: Counter,
    /// How long a poll took, in seconds.
    pub(crate) poll_seconds: Histogram,
    /// Time of the last good poll, in seconds since 1970.
    pub(crate) last_sync: Family<ComponentLabel, Gauge>,
    /// 1 if the record's condition `Synced` is true, else 0.
    pub(crate) synced: Family<ComponentLabel, Gauge>,
    /// Versions in the record.
    pub(crate) versions: Family<ComponentLabel, Gauge>,
    /// Versions in the record that fit this cluster.
    pub(crate) fitting: Family<ComponentLabel, Gauge>,
    /// Statuses written.
    pub(crate) status_writes: Family<KindLabel, Counter>,
    /// Reconciliations that failed.
    pub(crate) reconcile_failures: Family<FailureLabel, Counter>,
    /// 1 while this instance leads, else 0.
    pub(crate) leading: Gauge,
    /// Policies that are not accepted.
    pub(crate) policies_rejected: Gauge,
    /// Waves that are halted.
    pub(crate) waves_halted: Gauge,
}

impl Metrics {
    /// Registers them under prefix `d8_operator`.
    pub(crate) fn new() -> Self {
        let buckets = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let mut metrics = Self {
            registry: Registry::with_prefix("d8_operator"),
            polls: Family::default(),
            proxy_requests: Counter::default(),
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
        r.register("polls", "Polls of the proxy, by how they ended", metrics.polls.clone());
        r.register("proxy_requests", "Requests sent to the proxy", metrics.proxy_requests.clone());
        r.register_with_unit("poll", "Duration of a poll", Unit::Seconds, metrics.poll_seconds.clone());
        let last_sync = metrics.last_sync.clone();
        r.register_with_unit("release_last_sync", "Time of the last good poll, since 1970", Unit::Seconds, last_sync);
        r.register("release_synced", "1 if condition Synced is true", metrics.synced.clone());
        r.register("release_versions", "Versions in the record", metrics.versions.clone());
        r.register("release_fitting_versions", "Versions that fit this cluster", metrics.fitting.clone());
        r.register("status_writes", "Statuses written", metrics.status_writes.clone());
        r.register("reconcile_failures", "Reconciliations that failed", metrics.reconcile_failures.clone());
        r.register("leading", "1 while this instance leads", metrics.leading.clone());
        r.register("policies_rejected", "PluginPolicies that are not accepted", metrics.policies_rejected.clone());
        r.register("waves_halted", "Waves of PluginPolicies that are halted", metrics.waves_halted.clone());
        metrics
    }

    /// In the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Forgets a component whose record is gone, so that labels stay bounded.
    pub(crate) fn forget(&self, component: &str) {
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
    fn a_record_that_is_gone_leaves_no_label() {
        let metrics = Metrics::new();
        metrics.synced.get_or_create(&ComponentLabel { component: "stronghold".into() }).set(1);
        let text = metrics.text().unwrap();
        assert!(text.contains("d8_operator_release_synced{component=\"stronghold\"} 1"), "{text}");
        metrics.forget("stronghold");
        assert!(!metrics.text().unwrap().contains("stronghold"));
    }
}
