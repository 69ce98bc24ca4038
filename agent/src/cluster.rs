//! Reads the policies and records of a cluster, and who the person is, in one round trip, and caches the policies on disk for times when
//! the cluster is unreachable.
//!
//! Decides nothing about versions; `d8_crds::decisions::verdict` does.

mod cluster_key;
mod endpoint_pins;
mod facts;
mod host_identity;
mod hosts;
mod policy_cache;
mod users;

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{clock, verdict::PolicySet},
    records::{policy::PluginPolicy, release::CliRelease},
    values::name::Component,
};
use d8_rpp::text::error_chain;
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _,
    api::{DynamicObject, ListParams, ObjectList},
    client::Body,
    core::{ApiResource, Request, Status},
};
use serde_json::Value;

pub use self::{
    cluster_key::ClusterKey,
    endpoint_pins::EndpointPins,
    facts::cluster_facts,
    host_identity::{HostIdentity, IdentityError, MAX_TOKEN_LIFE, MIN_TOKEN_LIFE, Token},
    hosts::{each_host, host, hosts},
    policy_cache::{CacheError, CachedPolicies, PolicyCache},
    users::{Caller, UserCache, caller},
};

/// How long cached policies apply after the cluster stopped serving their kind (rule 13 in `docs/policies.md`).
pub const KEEP_AFTER_CRDS_VANISH: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// Origin of the policies in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewOrigin {
    /// The API server answered.
    Live,
    /// The API server does not serve the kind, and no policies of the cluster are cached.
    Ungoverned,
    /// The cache: the API server stopped serving the kind less than a week ago.
    Vanished,
}

/// The policies and records of a cluster, as one command reads them.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Policies, as JSON: a policy that this program cannot parse must still hold changes.
    pub policies: Vec<Value>,
    /// When the API server last returned these policies.
    pub confirmed: Timestamp,
    /// Time of the API server by the header of its response, in whole seconds.
    pub server_time: Option<Timestamp>,
    /// Origin of the policies.
    pub origin: ViewOrigin,
    /// Who the person is. Asked only if a policy depends on it.
    pub caller: Caller,
    /// The requested records that exist, by component name.
    pub records: BTreeMap<String, CliRelease>,
    /// Whether `records` contains all records of the cluster.
    pub complete: bool,
}

impl ClusterView {
    /// Parses the JSON of the policies that the API server sent.
    pub fn policy_set(&self) -> PolicySet {
        PolicySet::from_json(&self.policies)
    }
}

/// The records that a command needs.
#[derive(Debug, Clone, Copy)]
pub enum RecordSelection<'a> {
    /// The records of these components, with one request each, in parallel.
    Named(&'a [Component]),
    /// All records, with one list request.
    All,
    /// No records, and no request for them.
    None,
}

/// Why the cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The cluster serves the kind, and this identity may not read it.
    #[error("the identity of the kubeconfig may not read {kind} of group cli.deckhouse.io")]
    Unreadable {
        /// Plural of the kind: `pluginpolicies`, `clireleases` or `clihosts`.
        kind: &'static str,
    },
    /// The API server refused the identity.
    #[error("the Kubernetes API did not accept the identity of the kubeconfig (401)")]
    Unauthorized,
    /// The API server takes requests without an identity for those of `system:anonymous`, which may not read this.
    #[error("the Kubernetes API does not know who you are")]
    Anonymous,
    /// The API server did not answer, or answered with another error.
    #[error("cannot read {what} from the Kubernetes API: {}", error_chain(&**error))]
    Unreachable {
        /// Plural of the kind, or another name of what was requested.
        what: String,
        /// Error of the request. Its own text has a dump of the answer, so it is not a source.
        error: Box<kube::Error>,
    },
}

/// Reads the policies and records, with all requests at the same time; then, if a policy has `subjects`, asks who the
/// person is. `cached` are the cached policies of the same cluster.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn read(
    client: &Client,
    wanted: RecordSelection<'_>,
    cached: Option<&CachedPolicies>,
    now: Timestamp,
) -> Result<ClusterView, ViewError> {
    let (policies, records) = tokio::join!(policies(client), records(client, wanted));
    let (policies, server_time) = policies?;
    let mut view = ClusterView { server_time, ..view(policies, records?, cached, now) };
    // Not beside the other requests: it would open a connection of its own, for nothing in most clusters.
    view.caller = users::caller(client, &view.policies).await;
    Ok(ClusterView {
        complete: matches!(wanted, RecordSelection::All) || view.origin == ViewOrigin::Ungoverned,
        ..view
    })
}

/// Reads the records of some components, by name. Those that do not exist are left out.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn named_records(
    client: &Client,
    components: &[Component],
) -> Result<BTreeMap<String, CliRelease>, ViewError> {
    records(client, RecordSelection::Named(components)).await
}

/// Reads the record of one component: a plugin that another plugin turns out to need.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn record(client: &Client, component: &Component) -> Result<Option<CliRelease>, ViewError> {
    let found = records(client, RecordSelection::Named(std::slice::from_ref(component))).await?;
    Ok(found.into_values().next())
}

/// Combines the responses with the cache. Pure.
fn view(
    policies: Option<Vec<Value>>,
    records: BTreeMap<String, CliRelease>,
    cached: Option<&CachedPolicies>,
    now: Timestamp,
) -> ClusterView {
    let (policies, confirmed, origin) = match (policies, cached) {
        (Some(policies), _) => (policies, now, ViewOrigin::Live),
        (None, Some(cached)) if now.duration_since(cached.confirmed) <= KEEP_AFTER_CRDS_VANISH => {
            // A clock that was ahead must not extend the week.
            (cached.policies.clone(), cached.confirmed.min(now), ViewOrigin::Vanished)
        }
        (None, _) => (Vec::new(), now, ViewOrigin::Ungoverned),
    };
    ClusterView { policies, confirmed, server_time: None, origin, caller: Caller::NotAsked, records, complete: false }
}

/// Reads all policies, `None` if the cluster does not serve the kind, and the server's time.
async fn policies(client: &Client) -> Result<(Option<Vec<Value>>, Option<Timestamp>), ViewError> {
    let (list, time) = list_policies(client).await;
    match list {
        Ok(list) => Ok((Some(list.items.into_iter().map(as_json).collect()), time)),
        Err(error) => absent_or(client, "pluginpolicies", error).await.map(|()| (None, time)),
    }
}

/// Lists the policies. Builds the request itself, because the client does not return the headers of a list.
async fn list_policies(client: &Client) -> (Result<ObjectList<DynamicObject>, kube::Error>, Option<Timestamp>) {
    let kind = ApiResource::erase::<PluginPolicy>(&());
    let path = DynamicObject::url_path(&kind, None);
    let request = match Request::new(path).list(&ListParams::default()) {
        Ok(request) => request.map(Body::from),
        Err(error) => return (Err(kube::Error::BuildRequest(error)), None),
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return (Err(error), None),
    };
    let (head, body) = response.into_parts();
    let time = head.headers.get("date").and_then(|date| clock::http_date(date.to_str().ok()?));
    let bytes = match body.collect_bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return (Err(error), time),
    };
    let list = if head.status.is_success() {
        serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)
    } else {
        let status = serde_json::from_slice::<Status>(&bytes).ok();
        let status = status.unwrap_or_else(|| Status::failure(head.status.as_str(), "Failed"));
        Err(kube::Error::Api(status.with_code(head.status.as_u16()).boxed()))
    };
    (list, time)
}

fn as_json(mut policy: DynamicObject) -> Value {
    policy.metadata.managed_fields = None;
    // An object that was JSON can be JSON again. If that ever failed, `null` is a policy that cannot be parsed, and
    // that holds every change.
    serde_json::to_value(policy).unwrap_or(Value::Null)
}

async fn records(client: &Client, wanted: RecordSelection<'_>) -> Result<BTreeMap<String, CliRelease>, ViewError> {
    let api: Api<CliRelease> = Api::all(client.clone());
    let named = |record: CliRelease| Some((record.meta().name.clone()?, record));
    match wanted {
        RecordSelection::None => Ok(BTreeMap::new()),
        RecordSelection::All => match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items.into_iter().filter_map(named).collect()),
            Err(error) => absent_or(client, "clireleases", error).await.map(|()| BTreeMap::new()),
        },
        RecordSelection::Named(components) => {
            let can_have_record = |c: &&Component| match c {
                Component::D8 => true,
                Component::Plugin(name) => name.is_dns_label(),
            };
            let gets = components.iter().filter(can_have_record).map(|component| {
                let api = &api;
                async move {
                    match api.get_opt(component.name()).await {
                        Ok(record) => Ok(record),
                        Err(error) => absent_or(client, "clireleases", error).await.map(|()| None),
                    }
                }
            });
            let found = futures::future::try_join_all(gets).await?;
            Ok(found.into_iter().flatten().filter_map(named).collect())
        }
    }
}

/// Turns an error into `Ok` if the cluster does not serve the API group. A 403 does not prove that it does: users
/// without rights get it for kinds that do not exist, too (rule 13 in `docs/policies.md`).
async fn absent_or(client: &Client, kind: &'static str, error: kube::Error) -> Result<(), ViewError> {
    match status_code(&error) {
        Some(404) => Ok(()),
        Some(401) => Err(ViewError::Unauthorized),
        Some(403) if is_of_anonymous(&error) => Err(ViewError::Anonymous),
        Some(403) => match client.list_api_group_resources("cli.deckhouse.io/v1alpha1").await {
            Ok(_) => Err(ViewError::Unreadable { kind }),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            // An identity that may not even list the API groups may not read the kind either.
            Err(error) if status_code(&error) == Some(403) => Err(ViewError::Unreadable { kind }),
            Err(error) => Err(ViewError::Unreachable { what: "group cli.deckhouse.io".into(), error: Box::new(error) }),
        },
        _ => Err(ViewError::Unreachable { what: kind.into(), error: Box::new(error) }),
    }
}

/// Whether a denial is for the user of requests without an identity.
fn is_of_anonymous(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.message.contains("User \"system:anonymous\""))
}

/// Returns the HTTP status of an error, `None` if there was no response.
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn policies_by_response_and_cache() {
        let now = at("2026-11-22T12:00:00Z");
        let named = |name: &str| serde_json::json!({"metadata": {"name": name}});
        let live = vec![named("live")];
        let cached_at = |confirmed: &str| CachedPolicies::new("https://k8s", at(confirmed), vec![named("cached")]);
        let fresh = cached_at("2026-11-15T12:00:00Z");
        let old = cached_at("2026-11-15T11:59:59Z");
        let ahead = cached_at("2090-01-01T00:00:00Z");
        for (what, policies, cached, origin, names) in [
            ("a response wins", Some(live.clone()), Some(&fresh), ViewOrigin::Live, vec!["live"]),
            ("no kind, nothing cached", None, None, ViewOrigin::Ungoverned, vec![]),
            ("no kind, cached a week ago", None, Some(&fresh), ViewOrigin::Vanished, vec!["cached"]),
            ("no kind, cached earlier", None, Some(&old), ViewOrigin::Ungoverned, vec![]),
            ("no kind, cached by a clock that was ahead", None, Some(&ahead), ViewOrigin::Vanished, vec!["cached"]),
        ] {
            let view = view(policies, BTreeMap::new(), cached, now);
            assert_eq!(view.origin, origin, "{what}");
            assert!(view.confirmed <= now, "{what}");
            let found: Vec<_> = view.policies.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
            assert_eq!(found, names, "{what}");
        }
    }
}
