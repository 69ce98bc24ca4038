//! What the controllers share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use d8_crds::records::{policy::PluginPolicy, release::CliRelease};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{
    Client, Resource,
    runtime::reflector::{self, ObjectRef},
};
use tokio::sync::{Notify, watch};

use super::{
    conflicts::SharedConflicts, former_policies::FormerPolicies, policy::state::PolicyEntry,
    release::state::ReleaseEntry, retention::SharedRetention, state_cache::StateCache,
};
use crate::{
    adapters::{cluster::Cluster, events::Events, ledger_store::LedgerStore, metrics::Metrics},
    decisions::{hosts::HostIndex, policy::ledger::WaveLedger, release::ledger::ReleaseLedger},
};

/// All objects of a kind, and the requests to reconcile them.
pub(crate) struct Objects<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(super) store: reflector::Store<K>,
    /// Closed while this instance does not lead.
    requests: Mutex<UnboundedSender<ObjectRef<K>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Objects<K> {
    /// Makes the objects of a store.
    fn new(store: reflector::Store<K>) -> Self {
        let (closed, _) = unbounded();
        Self { store, requests: Mutex::new(closed) }
    }

    /// Requests the reconciliation of one object. Does nothing while this instance does not lead, because a new leader
    /// reconciles all objects.
    pub(crate) fn request(&self, name: &str) {
        // It fails if nothing receives: this instance does not lead.
        let _ = self.lock().unbounded_send(ObjectRef::new(name));
    }

    /// Requests the reconciliation of all objects.
    pub(super) fn request_all(&self) {
        self.store
            .state()
            .iter()
            .filter_map(|object| object.meta().name.as_deref())
            .for_each(|name| self.request(name));
    }

    /// Opens the stream of requests. The scheduler of kube takes requests as they come and keeps one for each object,
    /// so the channel stays small.
    pub(super) fn open(&self) -> UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = unbounded();
        *self.lock() = sender;
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, UnboundedSender<ObjectRef<K>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the controllers share. `R` is the source of tags and manifests.
pub(crate) struct Context<R> {
    /// Client of the API server.
    pub(crate) client: Client,
    /// The source of tags and manifests.
    pub(super) registry: R,
    pub(crate) releases: Objects<CliRelease>,
    pub(crate) policies: Objects<PluginPolicy>,
    hosts: Mutex<HostIndex>,
    /// The facts of the cluster.
    pub(super) cluster: watch::Receiver<Cluster>,
    /// The state of each record.
    pub(crate) release_states: StateCache<ReleaseEntry>,
    /// The state of each policy.
    pub(crate) policy_states: StateCache<PolicyEntry>,
    /// The ledgers of components.
    pub(super) release_ledgers: LedgerStore<ReleaseLedger>,
    /// The wave ledgers of policies.
    pub(super) wave_ledgers: LedgerStore<WaveLedger>,
    /// Notified when a policy was deleted, so that its ledger must be deleted too.
    pub(super) policy_deleted: Notify,
    /// When the operator last saw policies that do not exist any more.
    pub(crate) former_policies: FormerPolicies,
    /// Notified when a host may have begun to report a second machine.
    pub(crate) duplicate_hosts: Notify,
    /// The conflicts between policies.
    pub(crate) conflicts: SharedConflicts,
    /// The records and versions that policies and hosts retain.
    pub(crate) retention: SharedRetention,
    pub(super) events: Events,
    pub(crate) metrics: Arc<Metrics>,
}

impl<R> Context<R> {
    /// Makes the context of a process that does not lead yet. `instance` names the process in events.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        instance: Option<String>,
        registry: R,
        (releases, policies): (reflector::Store<CliRelease>, reflector::Store<PluginPolicy>),
        cluster: watch::Receiver<Cluster>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            registry,
            releases: Objects::new(releases),
            policies: Objects::new(policies),
            hosts: Mutex::default(),
            cluster,
            release_states: StateCache::default(),
            policy_states: StateCache::default(),
            release_ledgers: LedgerStore::new(client.clone(), namespace),
            wave_ledgers: LedgerStore::new(client.clone(), namespace),
            policy_deleted: Notify::default(),
            former_policies: FormerPolicies::default(),
            duplicate_hosts: Notify::new(),
            conflicts: SharedConflicts::default(),
            retention: SharedRetention::default(),
            events: Events::new(client.clone(), instance),
            metrics,
            client,
        }
    }

    pub(crate) fn hosts(&self) -> MutexGuard<'_, HostIndex> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::records::release::CliReleaseSpec;
    use futures::StreamExt as _;
    use kube::runtime::watcher::Event;

    use super::*;

    #[tokio::test]
    async fn requests_are_received_after_the_stream_was_opened() {
        let (store, mut writer) = reflector::store();
        for name in ["a", "b"] {
            writer.apply_watcher_event(&Event::Apply(CliRelease::new(name, CliReleaseSpec::default())));
        }
        let objects = Objects::new(store);
        objects.request("a");
        let mut requests = objects.open();
        objects.request("c");
        objects.request_all();
        let mut names = Vec::new();
        while let Some(Some(request)) = futures::FutureExt::now_or_never(requests.next()) {
            names.push(request.name);
        }
        names.sort();
        assert_eq!(names, ["a", "b", "c"], "a request before that is dropped");
        drop(requests);
        objects.request("d");
        let mut again = objects.open();
        assert!(futures::poll!(again.next()).is_pending());
    }
}
