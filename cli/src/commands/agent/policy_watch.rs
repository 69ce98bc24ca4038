//! Watches the policies, so that the agent ticks when one changes and otherwise asks nothing.

use std::pin::Pin;

use d8_agent::{
    tick_schedule::wait_after_failures,
    watched_policies::{Fingerprints, fingerprint, watch_timeout},
};
use d8_crds::records::policy::PluginPolicy;
use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::ApiResource,
};
use serde_json::Value;
use tokio::time::Instant;

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Send>>;

/// A watch of the policies.
pub(super) struct PolicyWatch {
    api: Api<DynamicObject>,
    events: Option<Events>,
    /// Where the next watch begins.
    version: String,
    /// The policies as they were seen last.
    seen: Fingerprints,
    /// Failures since the watch was open.
    failures: u32,
    /// When a watch that failed is opened again.
    retry_at: Option<Instant>,
}

impl PolicyWatch {
    /// Opens no connection yet. `seen`: the policies of the last tick.
    pub(super) fn new(client: Client, seen: Fingerprints) -> Self {
        let api = Api::all_with(client, &ApiResource::erase::<PluginPolicy>(&()));
        Self { api, events: None, version: String::new(), seen, failures: 0, retry_at: None }
    }

    /// Waits until a policy changes in what ticks depend on. Opens the watch again when it ends or fails.
    pub(super) async fn changed(&mut self) {
        loop {
            // The caller may drop this future at any await.
            if let Some(retry_at) = self.retry_at {
                tokio::time::sleep_until(retry_at).await;
                self.retry_at = None;
            }
            match self.next_change().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(error = %d8_rpp::text::error_chain(&error), "the watch of the policies ended");
                    (self.events, self.version) = (None, String::new());
                    self.failures = self.failures.saturating_add(1);
                    self.retry_at = Some(Instant::now() + wait_after_failures(self.failures, rand::random()));
                }
            }
        }
    }

    /// Reads the next event. Returns whether a tick depends on it.
    async fn next_change(&mut self) -> kube::Result<bool> {
        let Some(events) = &mut self.events else { return self.open().await };
        let Some(event) = events.next().await else {
            self.events = None;
            return Ok(false);
        };
        let (policy, is_gone) = match event? {
            WatchEvent::Added(policy) | WatchEvent::Modified(policy) => (policy, false),
            WatchEvent::Deleted(policy) => (policy, true),
            WatchEvent::Bookmark(bookmark) => {
                self.version = bookmark.metadata.resource_version;
                return Ok(false);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        };
        self.version = policy.metadata.resource_version.clone().unwrap_or_default();
        let (name, new) = of_object(&policy);
        let old = if is_gone { self.seen.remove(&name) } else { self.seen.insert(name, new.clone()) };
        Ok(is_gone || old != Some(new))
    }

    /// Opens the watch where the last one ended. Without that, lists the policies first, and returns whether a tick depends
    /// on what changed.
    async fn open(&mut self) -> kube::Result<bool> {
        let (mut version, mut now) = (self.version.clone(), None);
        if version.is_empty() {
            let list = self.api.list(&ListParams::default()).await?;
            version = list.metadata.resource_version.unwrap_or_default();
            now = Some(list.items.iter().map(of_object).collect::<Fingerprints>());
        }
        let timeout = u32::try_from(watch_timeout(rand::random()).as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams::default().timeout(timeout);
        self.events = Some(Box::pin(self.api.watch(&params, &version).await?));
        // Nothing is taken for seen before the watch is open: a change would be lost.
        (self.version, self.failures) = (version, 0);
        Ok(now.is_some_and(|now| std::mem::replace(&mut self.seen, now.clone()) != now))
    }
}

fn of_object(policy: &DynamicObject) -> (String, Value) {
    fingerprint(&serde_json::to_value(policy).unwrap_or_default())
}
