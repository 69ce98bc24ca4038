//! The current retention, shared by the reconcilers and the pollers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::decisions::retention::{RetainedVersions, Retention};

#[derive(Debug, Default)]
pub(crate) struct SharedRetention {
    current: Mutex<Retention>,
    /// Notified when a policy, a host or a record changed, so that the retention must be read again.
    pub(crate) changed: Notify,
}

impl SharedRetention {
    /// Returns the versions of a component that its record keeps.
    pub(super) fn versions(&self, name: &str) -> RetainedVersions {
        self.lock().versions(name)
    }

    /// Replaces the retention. Returns those of `names` whose retained versions changed.
    pub(super) fn replace(&self, new: Retention, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut current = self.lock();
        if *current == new {
            return Vec::new();
        }
        let changed = names.into_iter().filter(|name| current.versions(name) != new.versions(name)).collect();
        *current = new;
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Retention> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_returns_the_names_that_changed() {
        let shared = SharedRetention::default();
        let active = [("stronghold".to_owned(), ["v1.0.0".to_owned()].into())].into();
        let retention = Retention::read([], active);
        let names = || ["stronghold".to_owned(), "other".to_owned()];
        assert_eq!(shared.replace(retention.clone(), names()), ["stronghold"]);
        assert!(shared.replace(retention, names()).is_empty());
    }
}
