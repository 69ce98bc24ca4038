//! Watches the policies, so that the agent ticks when one changes and otherwise asks nothing.

use std::{collections::BTreeMap, pin::Pin};

use d8_agent::tick_schedule::{TickResult, TickSchedule};
use d8_crds::records::policy::PluginPolicy;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};

/// How long the API server keeps one watch open; it ends the watch, and the next one begins there.
const WATCH_TIMEOUT: u32 = 290;
type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Send>>;

/// What a tick depends on in each policy, by name.
type Fingerprints = BTreeMap<String, Value>;

/// A watch of the policies.
pub(super) struct PolicyWatch {
    api: Api<DynamicObject>,
    events: Option<Events>,
    /// Where the next watch begins.
    version: String,
    /// `None`: the policies were not listed yet.
    seen: Option<Fingerprints>,
    /// When a watch that failed is opened again.
    schedule: TickSchedule,
}

impl PolicyWatch {
    /// Opens no connection yet.
    pub(super) fn new(client: Client) -> Self {
        let api = Api::all_with(client, &ApiResource::erase::<PluginPolicy>(&()));
        Self { api, events: None, version: String::new(), seen: None, schedule: TickSchedule::default() }
    }

    /// Waits until a policy changes in what ticks depend on. Opens the watch again when it ends or fails.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.next_change().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(error = %d8_rpp::text::error_chain(&error), "the watch of the policies ended");
                    (self.events, self.version) = (None, String::new());
                    let wait = self.schedule.wait_after(TickResult::Failed, Timestamp::now(), rand::random());
                    tokio::time::sleep(wait).await;
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
        let (name, new) = fingerprint(&policy);
        let seen = self.seen.get_or_insert_default();
        let old = if is_gone { seen.remove(&name) } else { seen.insert(name, new.clone()) };
        Ok(is_gone || old != Some(new))
    }

    /// Opens the watch where the last one ended. Without that, lists the policies first, and returns whether a tick depends
    /// on what changed.
    async fn open(&mut self) -> kube::Result<bool> {
        let mut differs = false;
        if self.version.is_empty() {
            let list = self.api.list(&ListParams::default()).await?;
            self.version = list.metadata.resource_version.unwrap_or_default();
            let now: Fingerprints = list.items.iter().map(fingerprint).collect();
            differs = differ(self.seen.as_ref(), &now);
            self.seen = Some(now);
        }
        let params = WatchParams::default().timeout(WATCH_TIMEOUT);
        self.events = Some(Box::pin(self.api.watch(&params, &self.version).await?));
        self.schedule = TickSchedule::default();
        Ok(differs)
    }
}

/// Returns whether a list of policies differs from the last one. If there was none, an edit may have come between the first
/// tick and the list.
fn differ(seen: Option<&Fingerprints>, now: &Fingerprints) -> bool {
    seen != Some(now)
}

/// Returns the name of a policy, and what a tick depends on: its spec, whether the operator accepted it, and the waves.
/// Counts of hosts are not part of it.
fn fingerprint(policy: &DynamicObject) -> (String, Value) {
    let status = |pointer: &str| policy.data.pointer(pointer).cloned().unwrap_or_default();
    let conditions = status("/status/conditions");
    let accepted = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == "Accepted");
    let waves: Vec<Value> = status("/status/components")
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|component| component["waves"].as_array().cloned().unwrap_or_default())
        .map(|wave| json!([wave["version"], wave["since"], wave["state"], wave["haltedAt"]]))
        .collect();
    let accepted = accepted.map(|accepted| json!([accepted["status"], accepted["observedGeneration"]]));
    let name = policy.metadata.name.clone().unwrap_or_default();
    (name, json!([policy.metadata.uid, policy.metadata.generation, accepted, waves]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tick_depends_on() {
        let policy = |change: fn(&mut Value)| {
            let mut policy = json!({
                "metadata": {"name": "p", "uid": "u", "generation": 1, "resourceVersion": "1"},
                "status": {
                    "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1, "message": "m"}],
                    "hosts": {"matched": 1},
                    "components": [{"name": "tool", "waves": [{"version": "v1.0.0", "state": "Running", "failed": 0}]}],
                },
            });
            change(&mut policy);
            let policy: DynamicObject = serde_json::from_value(policy).unwrap();
            fingerprint(&policy)
        };
        let before = policy(|_| {});
        for (what, change, matters) in [
            ("the spec", (|p| p["metadata"]["generation"] = 2.into()) as fn(&mut Value), true),
            ("another policy of the name", |p| p["metadata"]["uid"] = "v".into(), true),
            ("its acceptance", |p| p["status"]["conditions"][0]["status"] = "False".into(), true),
            ("a halt", |p| p["status"]["components"][0]["waves"][0]["state"] = "Halted".into(), true),
            ("a count of hosts", |p| p["status"]["hosts"]["matched"] = 2.into(), false),
            ("a count of a wave", |p| p["status"]["components"][0]["waves"][0]["failed"] = 2.into(), false),
            ("a message", |p| p["status"]["conditions"][0]["message"] = "other".into(), false),
        ] {
            assert_eq!(policy(change) != before, matters, "{what}");
        }
    }

    #[test]
    fn an_edit_before_the_first_list_is_a_change() {
        let policies = |generation: i64| Fingerprints::from([("p".to_owned(), json!(generation))]);
        let now = policies(2);
        for (seen, expected) in [(None, true), (Some(policies(1)), true), (Some(policies(2)), false)] {
            assert_eq!(differ(seen.as_ref(), &now), expected, "{seen:?}");
        }
    }
}
