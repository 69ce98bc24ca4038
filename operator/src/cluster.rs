//! The facts of this cluster that requirements are judged against, watched: Kubernetes' version, the
//! annotation of the Deckhouse Deployment, the Modules, and who the cluster is.
//!
//! A cluster without Deckhouse or without Modules is a fact too: requirements on them can't be checked.
//! Both may appear later.

use std::{collections::BTreeMap, time::Duration};

use d8_crds::records::{
    cluster::{ClusterFacts, ClusterVersion, Fact, ModuleState},
    release::ObservedCluster,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    backoff,
    serve::Readiness,
    watch::{MAX_RETRY, RETRY, Step, follow},
};

/// Namespace and name of the Deployment whose annotation tells Deckhouse's version.
const DECKHOUSE: (&str, &str) = ("d8-system", "deckhouse");
/// The annotation.
const DECKHOUSE_VERSION: &str = "core.deckhouse.io/version";
/// How often Kubernetes is asked for its version: it can't be watched, and changes with the control plane.
const KUBERNETES_EVERY: Duration = Duration::from_mins(1);

/// Longest version that a record carries, in characters (`schema::limits::WORD`).
const WORD: usize = 128;

/// What readiness waits for, by name.
pub(crate) const WATCHES: [&str; 4] = ["cluster-uid", "kubernetes-version", "deckhouse", "modules"];

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// As records show it.
    pub(crate) seen: ObservedCluster,
    /// As requirements are judged against it.
    pub(crate) facts: ClusterFacts,
}

impl Cluster {
    /// Nothing was read yet.
    pub(crate) fn unread() -> Self {
        Self { seen: ObservedCluster::default(), facts: ClusterFacts::unreadable("the operator has not read it yet") }
    }

    fn kubernetes(&mut self, fact: Fact<ClusterVersion>) {
        self.seen.kubernetes = shown(&fact);
        self.facts.kubernetes = fact;
    }

    fn deckhouse(&mut self, fact: Fact<ClusterVersion>) {
        self.seen.deckhouse = shown(&fact);
        self.facts.deckhouse = fact;
    }
}

/// As a record can carry it.
fn shown(fact: &Fact<ClusterVersion>) -> Option<String> {
    fact.printable().map(|text| text.chars().take(WORD).collect())
}

/// Keeps `cluster` true for ever; whoever listens hears of changes only.
pub(crate) async fn observe(client: Client, cluster: &watch::Sender<Cluster>, readiness: &Readiness) {
    let change = |apply: &mut dyn FnMut(&mut Cluster)| {
        cluster.send_if_modified(|current| {
            let before = current.clone();
            apply(current);
            *current != before
        });
    };
    tokio::join!(
        uid(&client, &change, readiness),
        kubernetes(&client, &change, readiness),
        deckhouse(&client, &change, readiness),
        modules(&client, &change, readiness),
    );
}

type Change<'a> = &'a (dyn Fn(&mut dyn FnMut(&mut Cluster)) + Sync);

/// The cluster's identity: the UID of namespace `kube-system`. It never changes.
async fn uid(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut failures = 0;
    loop {
        match api.get("kube-system").await {
            Ok(namespace) => {
                change(&mut |cluster| cluster.seen.uid = namespace.uid());
                readiness.done(WATCHES[0]);
                return;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "namespace kube-system could not be read");
                sleep(backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random())).await;
            }
        }
    }
}

async fn kubernetes(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let mut failures = 0;
    loop {
        let wait = match client.apiserver_version().await {
            Ok(info) => {
                failures = 0;
                change(&mut |cluster| cluster.kubernetes(Fact::kubernetes(&info.git_version)));
                readiness.done(WATCHES[1]);
                backoff::jittered(KUBERNETES_EVERY, rand::random())
            }
            // What was read before stays: an API server that is away runs no other version.
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "the API server's version could not be read");
                backoff::after_failures(failures, RETRY, MAX_RETRY, rand::random())
            }
        };
        sleep(wait).await;
    }
}

async fn deckhouse(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let (namespace, name) = DECKHOUSE;
    let api: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client.clone(), namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let absent = || Fact::Unreadable(format!("the cluster has no Deployment {namespace}/{name}"));
    let mut listed = None;
    follow(watcher(api, only), "Deployment d8-system/deckhouse", |step| {
        let fact = match step {
            Step::Event(Event::Init) => {
                listed = None;
                return;
            }
            Step::Event(Event::InitApply(object)) => {
                listed = Some(Fact::deckhouse(object.annotations().get(DECKHOUSE_VERSION).map(String::as_str)));
                return;
            }
            Step::Event(Event::InitDone) => listed.take().unwrap_or_else(absent),
            Step::Event(Event::Apply(object)) => {
                Fact::deckhouse(object.annotations().get(DECKHOUSE_VERSION).map(String::as_str))
            }
            Step::Event(Event::Delete(_)) | Step::Absent => absent(),
            Step::Refused(why) => Fact::Unreadable(why),
        };
        change(&mut |cluster| cluster.deckhouse(fact.clone()));
        readiness.done(WATCHES[2]);
    })
    .await;
}

async fn modules(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let kind = GroupVersionKind::gvk("deckhouse.io", "v1alpha1", "Module");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "modules"));
    let mut known: BTreeMap<String, ModuleState> = BTreeMap::new();
    let mut listing: Option<BTreeMap<String, ModuleState>> = None;
    follow(watcher(api, watcher::Config::default()), "Modules", |step| {
        let fact = match step {
            Step::Event(Event::Init) => {
                listing = Some(BTreeMap::new());
                return;
            }
            Step::Event(Event::InitApply(module)) => {
                listing.get_or_insert_default().extend(state(&module));
                return;
            }
            Step::Event(Event::InitDone) => {
                known = listing.take().unwrap_or_default();
                Fact::Known(known.clone())
            }
            Step::Event(Event::Apply(module)) => {
                known.extend(state(&module));
                Fact::Known(known.clone())
            }
            Step::Event(Event::Delete(module)) => {
                known.remove(&module.name_any());
                Fact::Known(known.clone())
            }
            Step::Absent => Fact::Unreadable("the cluster has no Modules (modules.deckhouse.io)".to_owned()),
            Step::Refused(why) => Fact::Unreadable(why),
        };
        change(&mut |cluster| cluster.facts.modules = fact.clone());
        readiness.done(WATCHES[3]);
    })
    .await;
}

fn state(module: &DynamicObject) -> Option<(String, ModuleState)> {
    let mut object = module.data.clone();
    object.as_object_mut()?.insert("metadata".to_owned(), serde_json::json!({"name": module.name_any()}));
    ModuleState::from_object(&object)
}
