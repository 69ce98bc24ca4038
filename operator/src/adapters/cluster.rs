//! The facts of this cluster that requirements are checked against: the versions of Kubernetes and Deckhouse, the
//! Modules, and the identity of the cluster.
//!
//! A cluster may have no Deckhouse or no Modules. Requirements on them cannot be checked then. Both may appear later.

use std::{collections::BTreeMap, time::Duration};

use d8_crds::{
    records::{
        cluster::{ClusterFacts, ClusterVersion, Fact, ModuleState},
        release::ObservedCluster,
    },
    values::limits,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    runtime::{
        utils::Backoff as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch, time::sleep};

use super::{
    readiness::Readiness,
    retry,
    watch::{MAX_RETRY, RETRY, WatchUpdate, follow},
};

/// Namespace and name of the Deployment whose annotation holds the version of Deckhouse.
const DECKHOUSE: (&str, &str) = ("d8-system", "deckhouse");
/// Annotation of this Deployment that holds the version. Development builds have none.
const DECKHOUSE_VERSION: &str = "core.deckhouse.io/version";
/// How often the version of Kubernetes is read. It cannot be watched, and changes if the control plane is updated.
const KUBERNETES_INTERVAL: Duration = Duration::from_mins(1);

/// Names of the watches for readiness.
pub(crate) const WATCHES: [&str; 4] = ["cluster-uid", "kubernetes-version", "deckhouse", "modules"];

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// The cluster, as records show it.
    pub(crate) seen: ObservedCluster,
    /// The facts that requirements are checked against.
    pub(crate) facts: ClusterFacts,
    /// Whether the API server lacks `SelfSubjectReview`, so that policies cannot know people.
    pub(crate) people_unknown: bool,
}

impl Cluster {
    /// Makes the state before anything was read.
    pub(crate) fn unread() -> Self {
        Self {
            seen: ObservedCluster::default(),
            facts: ClusterFacts::unreadable("the operator has not read it yet"),
            people_unknown: false,
        }
    }

    fn set_kubernetes(&mut self, fact: Fact<ClusterVersion>) {
        self.seen.kubernetes = shown(&fact);
        self.facts.kubernetes = fact;
    }

    fn set_deckhouse(&mut self, fact: Fact<ClusterVersion>) {
        self.seen.deckhouse = shown(&fact);
        self.facts.deckhouse = fact;
    }
}

/// Returns the version, cut to the length that a record can carry.
fn shown(fact: &Fact<ClusterVersion>) -> Option<String> {
    fact.printable().map(|text| text.chars().take(limits::SHORT_TEXT).collect())
}

/// Keeps `cluster` up to date forever. Receivers are notified only if something changed.
pub(crate) async fn observe(client: Client, cluster: &watch::Sender<Cluster>, readiness: &Readiness) {
    let change = |apply: &mut dyn FnMut(&mut Cluster)| {
        cluster.send_if_modified(|current| {
            let before = current.clone();
            apply(current);
            *current != before
        });
    };
    tokio::join!(
        read_uid(&client, &change, readiness),
        read_kubernetes(&client, &change, readiness),
        watch_deckhouse(&client, &change, readiness),
        watch_modules(&client, &change, readiness),
    );
}

type Change<'a> = &'a (dyn Fn(&mut dyn FnMut(&mut Cluster)) + Sync);

/// Reads the identity of the cluster: the UID of namespace `kube-system`. It never changes.
async fn read_uid(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut delays = retry::backoff(RETRY, MAX_RETRY);
    loop {
        match api.get("kube-system").await {
            Ok(namespace) => {
                change(&mut |cluster| cluster.seen.uid = namespace.uid());
                readiness.listed(WATCHES[0]);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "namespace kube-system could not be read");
                sleep(delays.next().unwrap_or(MAX_RETRY)).await;
            }
        }
    }
}

async fn read_kubernetes(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let mut delays = retry::backoff(RETRY, MAX_RETRY);
    loop {
        let delay = match client.apiserver_version().await {
            Ok(info) => {
                delays.reset();
                let lacks_reviews = lacks_reviews(client).await;
                change(&mut |cluster| {
                    cluster.set_kubernetes(Fact::kubernetes(&info.git_version));
                    cluster.people_unknown = lacks_reviews.unwrap_or(cluster.people_unknown);
                });
                readiness.listed(WATCHES[1]);
                retry::jitter(KUBERNETES_INTERVAL)
            }
            // The last version stays: an API server that is unreachable was not updated.
            Err(error) => {
                tracing::warn!(%error, "the version of the API server could not be read");
                delays.next().unwrap_or(MAX_RETRY)
            }
        };
        sleep(delay).await;
    }
}

/// Returns whether the API server lacks `SelfSubjectReview`, which clients ask who their user is; `None`: not known.
async fn lacks_reviews(client: &Client) -> Option<bool> {
    match client.list_api_group_resources("authentication.k8s.io/v1").await {
        Ok(list) => Some(!list.resources.iter().any(|resource| resource.name == "selfsubjectreviews")),
        Err(kube::Error::Api(status)) if status.code == 404 => Some(true),
        Err(error) => {
            tracing::debug!(%error, "the resources of authentication.k8s.io could not be listed");
            None
        }
    }
}

async fn watch_deckhouse(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let (namespace, name) = DECKHOUSE;
    let api: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let absent = || Fact::Unreadable(format!("the cluster has no Deployment {namespace}/{name}"));
    let mut listed = None;
    follow(watcher(api, config), "Deployment d8-system/deckhouse", |update| {
        let fact = match update {
            WatchUpdate::Event(Event::Init) => {
                listed = None;
                return;
            }
            WatchUpdate::Event(Event::InitApply(object)) => {
                listed = Some(Fact::deckhouse(object.annotations().get(DECKHOUSE_VERSION).map(String::as_str)));
                return;
            }
            WatchUpdate::Event(Event::InitDone) => listed.take().unwrap_or_else(absent),
            WatchUpdate::Event(Event::Apply(object)) => {
                Fact::deckhouse(object.annotations().get(DECKHOUSE_VERSION).map(String::as_str))
            }
            WatchUpdate::Event(Event::Delete(_)) | WatchUpdate::Absent => absent(),
            WatchUpdate::Forbidden(why) => Fact::Unreadable(why),
        };
        change(&mut |cluster| cluster.set_deckhouse(fact.clone()));
        readiness.listed(WATCHES[2]);
    })
    .await;
}

async fn watch_modules(client: &Client, change: Change<'_>, readiness: &Readiness) {
    let kind = GroupVersionKind::gvk("deckhouse.io", "v1alpha1", "Module");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "modules"));
    let mut known: BTreeMap<String, ModuleState> = BTreeMap::new();
    let mut listing: Option<BTreeMap<String, ModuleState>> = None;
    follow(watcher(api, watcher::Config::default()), "Modules", |update| {
        let fact = match update {
            WatchUpdate::Event(Event::Init) => {
                listing = Some(BTreeMap::new());
                return;
            }
            WatchUpdate::Event(Event::InitApply(module)) => {
                listing.get_or_insert_default().extend(module_state(&module));
                return;
            }
            WatchUpdate::Event(Event::InitDone) => {
                known = listing.take().unwrap_or_default();
                Fact::Known(known.clone())
            }
            WatchUpdate::Event(Event::Apply(module)) => {
                known.extend(module_state(&module));
                Fact::Known(known.clone())
            }
            WatchUpdate::Event(Event::Delete(module)) => {
                known.remove(&module.name_any());
                Fact::Known(known.clone())
            }
            WatchUpdate::Absent => Fact::Unreadable("the cluster has no Modules (modules.deckhouse.io)".to_owned()),
            WatchUpdate::Forbidden(why) => Fact::Unreadable(why),
        };
        change(&mut |cluster| cluster.facts.modules = fact.clone());
        readiness.listed(WATCHES[3]);
    })
    .await;
}

/// Returns name and state of a Module; `None` if its state cannot be read.
fn module_state(module: &DynamicObject) -> Option<(String, ModuleState)> {
    let mut object = module.data.clone();
    object.as_object_mut()?.insert("metadata".to_owned(), serde_json::json!({"name": module.name_any()}));
    ModuleState::from_object(&object)
}
