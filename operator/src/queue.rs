//! The names of the objects that are to be judged. A name waits once however often it is pushed, so
//! that the queue never holds more names than there are objects.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use futures::{Stream, stream};
use tokio::sync::Notify;

/// A set of waiting names.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    names: Mutex<BTreeSet<String>>,
    pushed: Notify,
}

impl Queue {
    /// Adds a name.
    pub(crate) fn push(&self, name: impl Into<String>) {
        self.extend([name.into()]);
    }

    /// Adds many names.
    pub(crate) fn extend(&self, names: impl IntoIterator<Item = String>) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        self.pushed.notify_one();
    }

    /// The names as they come; never ends. One consumer.
    pub(crate) fn stream(&self) -> impl Stream<Item = String> + '_ {
        stream::unfold(self, |queue| async move { Some((queue.next().await, queue)) })
    }

    async fn next(&self) -> String {
        loop {
            if let Some(name) = self.names.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return name;
            }
            self.pushed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_name_waits_once_and_can_come_again() {
        let queue = Queue::default();
        queue.extend(["b".into(), "a".into(), "b".into()]);
        let mut names = Box::pin(queue.stream());
        assert_eq!(names.next().await.as_deref(), Some("a"));
        queue.push("a");
        assert_eq!(names.next().await.as_deref(), Some("a"));
        assert_eq!(names.next().await.as_deref(), Some("b"));
        assert!(futures::poll!(names.next()).is_pending());
    }
}
