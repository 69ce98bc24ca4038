//! One answer for all who ask the same at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

/// Questions that are under way.
pub(super) struct Flights<K, V: Clone>(Mutex<HashMap<K, Shared<BoxFuture<'static, V>>>>);

impl<K, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// Waits for the answer to a question, which is asked only if nobody is asking it now.
    pub(super) async fn join(&self, key: K, ask: impl FnOnce() -> BoxFuture<'static, V>) -> V {
        let flight = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // One whose askers have all gone is not waited for any longer, and nobody else would take it away.
            // Clones are made under this lock only: the one that is left is the map's.
            flights.retain(|_, flight| flight.strong_count() != Some(1));
            let running = flights.get(&key).filter(|flight| flight.peek().is_none()).cloned();
            running.unwrap_or_else(|| {
                let flight = ask().shared();
                flights.insert(key.clone(), flight.clone());
                flight
            })
        };
        let answer = flight.clone().await;
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(&key).is_some_and(|running| running.ptr_eq(&flight)) {
            flights.remove(&key);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn many_ask_once() {
        let flights = Flights::<&str, usize>::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(tokio::sync::Notify::new());
        let ask = || {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            flights.join("x", move || {
                async move {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    answer.notified().await;
                    number
                }
                .boxed()
            })
        };
        let all = futures::future::join_all((0..10).map(|_| ask()));
        // Polled after all of them.
        let (answers, ()) = futures::join!(all, async { answer.notify_one() });
        assert_eq!(answers, [0; 10]);
        answer.notify_one();
        assert_eq!(ask().await, 1, "what was answered is asked anew");
        // Somebody who goes away before the answer leaves the question to the others.
        let (mut first, mut second) = (Box::pin(ask()), Box::pin(ask()));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        answer.notify_one();
        assert_eq!(second.await, 2);
        // A question that nobody waits for any more is forgotten, and asked anew.
        let mut third = Box::pin(ask());
        assert!(futures::poll!(&mut third).is_pending());
        drop(third);
        let mut fourth = Box::pin(ask());
        assert!(futures::poll!(&mut fourth).is_pending());
        answer.notify_one();
        assert_eq!(fourth.await, 4);
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
