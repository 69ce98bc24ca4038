//! Readiness: which watches have not listed their objects yet.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// The names of the watches that are not listed yet.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<BTreeSet<&'static str>>);

impl Readiness {
    /// Starts with these watches not listed.
    pub(crate) fn waiting_for(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self(watch::Sender::new(names.into_iter().collect()))
    }

    /// Marks a watch as listed.
    pub(crate) fn listed(&self, name: &'static str) {
        self.0.send_if_modified(|missing| missing.remove(name));
    }

    /// Waits until every watch is listed.
    pub(crate) async fn wait(&self) {
        // It fails only after the sender is dropped, and `self` is the sender.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Returns the watches that are not listed yet.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.0.borrow().iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_no_watch_is_missing() {
        let readiness = Readiness::waiting_for(["policies", "releases"]);
        readiness.listed("policies");
        readiness.listed("policies");
        assert_eq!(readiness.missing(), ["releases"]);
        readiness.listed("releases");
        assert!(readiness.missing().is_empty());
    }
}
