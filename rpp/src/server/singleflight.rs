//! Runs one future for all callers that need the same result at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

/// The futures that are running, by key.
pub(super) struct Singleflight<K, V: Clone>(Mutex<HashMap<K, Shared<BoxFuture<'static, V>>>>);

impl<K, V: Clone> Default for Singleflight<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, V: Clone + Send + Sync + 'static> Singleflight<K, V> {
    /// Waits for the result of the running future with this key. Starts one if there is none.
    pub(super) async fn run(&self, key: K, start: impl FnOnce() -> BoxFuture<'static, V>) -> V {
        let future = {
            let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Futures whose callers were all dropped: no caller would remove them. They are cloned only under
            // this lock, so the last reference is the map's.
            running.retain(|_, future| future.strong_count() != Some(1));
            let found = running.get(&key).filter(|future| future.peek().is_none()).cloned();
            found.unwrap_or_else(|| {
                let future = start().shared();
                running.insert(key.clone(), future.clone());
                future
            })
        };
        let result = future.clone().await;
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&key).is_some_and(|found| found.ptr_eq(&future)) {
            running.remove(&key);
        }
        result
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
    async fn callers_share_a_future() {
        let singleflight = Singleflight::<&str, usize>::default();
        let started = Arc::new(AtomicUsize::new(0));
        let release = Arc::new(tokio::sync::Notify::new());
        let run = || {
            let (started, release) = (Arc::clone(&started), Arc::clone(&release));
            singleflight.run("x", move || {
                async move {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    release.notified().await;
                    number
                }
                .boxed()
            })
        };
        let all = futures::future::join_all((0..10).map(|_| run()));
        // `notify_one` is polled after all callers.
        let (results, ()) = futures::join!(all, async { release.notify_one() });
        assert_eq!(results, [0; 10]);
        release.notify_one();
        assert_eq!(run().await, 1, "a finished future is not reused");
        // A caller that is dropped leaves the future to the others.
        let (mut first, mut second) = (Box::pin(run()), Box::pin(run()));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        release.notify_one();
        assert_eq!(second.await, 2);
        // A future without callers is dropped and started again.
        let mut third = Box::pin(run());
        assert!(futures::poll!(&mut third).is_pending());
        drop(third);
        let mut fourth = Box::pin(run());
        assert!(futures::poll!(&mut fourth).is_pending());
        release.notify_one();
        assert_eq!(fourth.await, 4);
        assert!(singleflight.0.lock().unwrap().is_empty());
    }
}
