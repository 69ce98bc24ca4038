//! Values that many hosts share, each stored once.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// Labels of a host.
pub(crate) type Labels = BTreeMap<String, String>;
/// Components and their active versions, in order.
pub(super) type ActiveVersions = [(Arc<str>, Arc<str>)];

/// The values that at least one row refers to.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    active: HashSet<Arc<ActiveVersions>>,
    /// Number of values after the last [`Interner::prune`].
    pruned_len: usize,
}

impl Interner {
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.get(text) {
            Some(known) => known.clone(),
            None => intern(&mut self.texts, text.into()),
        }
    }

    pub(super) fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        intern(&mut self.labels, Arc::new(labels))
    }

    pub(super) fn active(&mut self, active: Vec<(Arc<str>, Arc<str>)>) -> Arc<ActiveVersions> {
        intern(&mut self.active, active.into())
    }

    /// Drops unused values once they may be half of all.
    pub(super) fn prune_if_grown(&mut self) {
        const SLACK: usize = 1024;
        if self.len() > 2 * self.pruned_len + SLACK {
            self.prune();
        }
    }

    /// Drops the values that no row refers to.
    pub(super) fn prune(&mut self) {
        self.active.retain(|known| Arc::strong_count(known) > 1);
        self.labels.retain(|known| Arc::strong_count(known) > 1);
        self.texts.retain(|known| Arc::strong_count(known) > 1);
        self.pruned_len = self.len();
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.labels.len() + self.active.len()
    }
}

fn intern<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return known.clone();
    }
    known.insert(value.clone());
    value
}
