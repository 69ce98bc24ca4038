//! What the controllers share.

use std::sync::Arc;

use d8_crds::records::{policy::PluginPolicy, release::CliRelease};
use kube::{Client, Resource, runtime::reflector};
use tokio::sync::{Notify, watch};

use crate::{
    cluster::Cluster, demand::Demand, events::Events, hosts::Hosts, metrics::Metrics, policy, queue::Queue,
    release::book::Book,
};

/// Every object of a kind, and the names of those that are to be judged.
pub(crate) struct Kind<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// All of them.
    pub(crate) store: reflector::Store<K>,
    /// To be judged.
    pub(crate) queue: Queue,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Kind<K> {
    /// Nothing waits.
    pub(crate) fn new(store: reflector::Store<K>) -> Self {
        Self { store, queue: Queue::default() }
    }

    /// All of them are to be judged.
    pub(crate) fn all(&self) {
        self.queue.extend(self.store.state().iter().filter_map(|object| object.meta().name.clone()));
    }
}

/// What the controllers share. `R` is where tags and manifests come from.
pub(crate) struct Context<R> {
    /// The cluster's API.
    pub(crate) client: Client,
    /// The operator's namespace.
    pub(crate) namespace: String,
    /// Where tags and manifests come from.
    pub(crate) registry: Arc<R>,
    /// The records.
    pub(crate) releases: Kind<CliRelease>,
    /// The policies.
    pub(crate) policies: Kind<PluginPolicy>,
    /// The hosts, folded.
    pub(crate) hosts: Arc<std::sync::Mutex<Hosts>>,
    /// The cluster's facts.
    pub(crate) cluster: watch::Receiver<Cluster>,
    /// What is known of each record.
    pub(crate) book: Book,
    /// What is known of each policy.
    pub(crate) policy_book: policy::Book,
    /// A policy went: what was kept for it is to go too.
    pub(crate) policies_went: Notify,
    /// What policies and hosts ask of the records.
    pub(crate) demand: Demand,
    /// For news.
    pub(crate) events: Events,
    /// For Prometheus.
    pub(crate) metrics: Arc<Metrics>,
}
