//! Everything outside of this process: the API server, the registry-packages-proxy, and the HTTP server for health and
//! metrics. Uses only decisions.

pub(crate) mod apply;
pub(crate) mod cluster;
mod configmap_store;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod lease;
pub(crate) mod ledger_store;
pub(crate) mod managed_releases;
pub(crate) mod metrics;
pub(crate) mod proxy;
pub(crate) mod readiness;
pub(crate) mod retry;
pub(crate) mod watch;
