//! Health, readiness and metrics: one server.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use crate::metrics::Metrics;

/// What is still missing before this instance is ready: one name for each watch that has not listed.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<BTreeSet<&'static str>>);

impl Readiness {
    /// Not ready before all of these were done.
    pub(crate) fn waiting_for(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self(watch::Sender::new(names.into_iter().collect()))
    }

    /// One of them was.
    pub(crate) fn done(&self, name: &'static str) {
        self.0.send_if_modified(|missing| missing.remove(name));
    }

    /// Waits until nothing is missing.
    pub(crate) async fn ready(&self) {
        // The sender is this very object.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    fn missing(&self) -> Vec<&'static str> {
        self.0.borrow().iter().copied().collect()
    }
}

struct Served {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(Served { readiness, metrics }))
}

async fn readyz(State(served): State<Arc<Served>>) -> Response {
    let missing = served.readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("not listed yet: {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(served): State<Arc<Served>>) -> Response {
    match served.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_nothing_is_missing() {
        let readiness = Readiness::waiting_for(["policies", "releases"]);
        readiness.done("policies");
        readiness.done("policies");
        assert_eq!(readiness.missing(), ["releases"]);
        readiness.done("releases");
        assert!(readiness.missing().is_empty());
    }
}
