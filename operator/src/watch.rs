//! Watches that never end: tried again after every failure, with jitter.

use std::{fmt::Debug, future, pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource,
    runtime::{
        reflector,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::{backoff, serve::Readiness};

/// Before a watch is tried again; doubled with each failure.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// The longest such wait: a kind that appears, or an API server that comes back, is noticed soon.
pub(crate) const MAX_RETRY: Duration = Duration::from_secs(10);

/// What a watch brings.
pub(crate) enum Step<K> {
    /// News of an object.
    Event(Event<K>),
    /// The API server does not know the kind.
    Absent,
    /// It does not show it to the operator. The text says so.
    Refused(String),
}

/// Follows a watch for ever. Failures that say nothing of the objects are waited out.
pub(crate) async fn follow<K>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    what: &str,
    mut step: impl FnMut(Step<K>),
) {
    let mut failures = 0;
    let mut stream = pin!(stream);
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => {
                if failures > 0 {
                    tracing::info!(failures, "{what}: the watch goes on");
                }
                failures = 0;
                step(Step::Event(event));
                continue;
            }
            Err(error) => {
                failures += 1;
                match status(&error) {
                    Some(404) => step(Step::Absent),
                    Some(403) => {
                        tracing::warn!(%error, "{what}: not allowed");
                        step(Step::Refused(format!("the operator may not read {what}")));
                    }
                    _ => tracing::warn!(%error, "{what}: the watch failed, trying again"),
                }
            }
        }
        sleep(backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random())).await;
    }
    // A watch never ends by itself.
    future::pending::<()>().await;
}

fn status(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Follows every object of a kind of ours into a store; `seen` gets each event after the store has it.
pub(crate) async fn reflect<K>(
    api: Api<K>,
    mut writer: reflector::store::Writer<K>,
    readiness: &Readiness,
    what: &'static str,
    mut seen: impl FnMut(&Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    objects(api, readiness, what, |event| {
        // Nothing here reads who owns which field, and it is half of an object's size.
        let event = event.modify(|object| object.meta_mut().managed_fields = None);
        writer.apply_watcher_event(&event);
        seen(&event);
    })
    .await;
}

/// As [`reflect`], without a store.
pub(crate) async fn objects<K>(api: Api<K>, readiness: &Readiness, what: &'static str, mut seen: impl FnMut(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    follow(watcher(api, watcher::Config::default()), what, |step| match step {
        Step::Event(event) => {
            let listed = matches!(event, Event::InitDone);
            seen(event);
            if listed {
                readiness.done(what);
            }
        }
        // The chart brings these kinds: they will come, or come back.
        Step::Absent => tracing::warn!("{what}: the API server does not know the kind"),
        Step::Refused(_) => {}
    })
    .await;
}
