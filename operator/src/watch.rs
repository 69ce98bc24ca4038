//! Watches of our own kinds: into a store, past whoever wants to see each event.

use std::{fmt::Debug, future, hash::Hash};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _, reflector,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::serve::Readiness;

/// Follows every object of a kind for ever; `seen` gets each event after the store has it.
pub(crate) async fn reflect<K>(
    api: Api<K>,
    mut writer: reflector::store::Writer<K>,
    readiness: &Readiness,
    what: &'static str,
    mut seen: impl FnMut(&Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    follow(api, readiness, what, |event| {
        // Nothing here reads who owns which field, and it is half of an object's size.
        let event = event.modify(|object| object.meta_mut().managed_fields = None);
        writer.apply_watcher_event(&event);
        seen(&event);
    })
    .await;
}

/// As [`reflect`], without a store.
pub(crate) async fn follow<K>(api: Api<K>, readiness: &Readiness, what: &'static str, mut seen: impl FnMut(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => {
                let listed = matches!(event, Event::InitDone);
                seen(event);
                if listed {
                    readiness.done(what);
                }
            }
            Err(error) => tracing::warn!(%error, "watch of {what} failed, trying again"),
        }
    }
    // A watch never ends by itself.
    future::pending::<()>().await;
}
