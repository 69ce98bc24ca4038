//! Watches that never end: after a failure, they are retried with a growing delay.

use std::{fmt::Debug, future, pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _, reflector,
        utils::{Backoff, ResetTimerBackoff},
        watcher::{self, Event, ExponentialBackoff, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::{readiness::Readiness, retry};

/// Delay before the first retry.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Longest delay: a kind that appears, or an API server that comes back, must be noticed soon.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(10);
/// After this time without a failure, the delays start again at [`RETRY`].
const RESET_AFTER: Duration = Duration::from_mins(1);

/// What a watch delivers.
pub(super) enum WatchUpdate<K> {
    /// An event about an object or a listing.
    Event(Event<K>),
    /// The API server does not know the kind.
    Absent,
    /// The operator must not read the kind; the text says so.
    Forbidden(String),
}

/// The delays of a watch. Unlike other streams, a watch delivers an item before each attempt
/// ([`Event::Init`]), so an item does not reset the delays.
struct WatchBackoff(ResetTimerBackoff<ExponentialBackoff>);

impl WatchBackoff {
    fn new() -> Self {
        Self(ResetTimerBackoff::new(retry::backoff(RETRY, MAX_RETRY), RESET_AFTER))
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

/// Follows a watch forever. A failure that says nothing about the objects is logged and retried.
pub(super) async fn follow<K>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    what: &str,
    apply: impl FnMut(WatchUpdate<K>),
) {
    forward(stream.backoff(WatchBackoff::new()), what, apply).await;
    // The stream never ends.
    future::pending::<()>().await;
}

/// Turns the items of a watch into updates.
async fn forward<K>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    what: &str,
    mut apply: impl FnMut(WatchUpdate<K>),
) {
    let mut stream = pin!(stream);
    let mut failures = 0;
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => {
                if failures > 0 && !matches!(event, Event::Init) {
                    tracing::info!(failures, "{what}: the watch works again");
                    failures = 0;
                }
                apply(WatchUpdate::Event(event));
            }
            Err(error) => {
                failures += 1;
                match status_code(&error) {
                    Some(404) => apply(WatchUpdate::Absent),
                    Some(403) => {
                        tracing::warn!(%error, "{what}: the operator must not watch this kind");
                        apply(WatchUpdate::Forbidden(format!("the operator may not read {what}")));
                    }
                    _ => tracing::warn!(%error, "{what}: the watch failed and is retried"),
                }
            }
        }
    }
}

fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Watches all objects of a kind and keeps them in a store. Calls `after` with each event after the store has it.
pub(crate) async fn reflect<K>(
    api: Api<K>,
    mut writer: reflector::store::Writer<K>,
    readiness: &Readiness,
    what: &'static str,
    mut after: impl FnMut(&Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    events(api, readiness, what, |event| {
        // Nothing here reads the owners of fields, and they are half of an object's size.
        let event = event.modify(|object| object.meta_mut().managed_fields = None);
        writer.apply_watcher_event(&event);
        after(&event);
    })
    .await;
}

/// Watches all objects of a kind without a store. Calls `apply` with each event.
pub(crate) async fn events<K>(api: Api<K>, readiness: &Readiness, what: &'static str, mut apply: impl FnMut(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    follow(watcher(api, watcher::Config::default()), what, |update| match update {
        WatchUpdate::Event(event) => {
            let is_listed = matches!(event, Event::InitDone);
            apply(event);
            if is_listed {
                readiness.listed(what);
            }
        }
        // The chart installs these kinds: they will appear, or appear again.
        WatchUpdate::Absent => tracing::warn!("{what}: the API server does not know the kind; is the CRD installed?"),
        WatchUpdate::Forbidden(_) => {}
    })
    .await;
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    use super::*;

    #[tokio::test]
    async fn failures_become_updates() {
        let failure = |code| {
            let status = Status::failure("message", "Reason").with_code(code);
            watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
        };
        let items = [404, 403, 500].into_iter().flat_map(|code| [Ok(Event::<ConfigMap>::Init), Err(failure(code))]);
        let items = items.chain([Ok(Event::Init), Ok(Event::InitDone)]);
        let mut updates = Vec::new();
        forward(stream::iter(items), "ConfigMaps", |update| {
            updates.push(match update {
                WatchUpdate::Event(event) => format!("{event:?}"),
                WatchUpdate::Absent => "absent".to_owned(),
                WatchUpdate::Forbidden(text) => text,
            });
        })
        .await;
        let forbidden = "the operator may not read ConfigMaps";
        assert_eq!(updates, ["Init", "absent", "Init", forbidden, "Init", "Init", "InitDone"]);
    }

    #[test]
    fn an_item_does_not_reset_the_delays() {
        let mut delays = WatchBackoff::new();
        for longest in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let delay = delays.next().unwrap().as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&delay), "{longest}: {delay}");
            delays.reset();
        }
    }
}
