//! What the cluster says now: its policies and the records a command needs, read in one round trip,
//! and the copy kept on disk for when the cluster is away.
//!
//! Owns the reading and the cache; decides nothing about versions (that is `d8_crds::decisions::verdict`).

mod endpoint_pins;
mod facts;
mod hosts;
mod policy_cache;

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{clock, verdict::PolicySet},
    records::{policy::PluginPolicy, release::CliRelease},
    values::name::Component,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _,
    api::{DynamicObject, ListParams, ObjectList},
    client::Body,
    core::{ApiResource, Request, Status},
};
use serde_json::Value;

pub use self::{
    endpoint_pins::EndpointPins,
    facts::cluster_facts,
    hosts::{host, hosts},
    policy_cache::{CacheError, CachedPolicies, ClusterKey, PolicyCache},
};

/// How long a store that was governed once keeps the last policies after the cluster stopped serving
/// the group (policy.md, rule 13).
pub const KEEP_AFTER_CRDS_VANISH: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// Where a view comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewOrigin {
    /// The API server answered.
    Live,
    /// The API server answered that it has no such kind, and this store was never governed.
    Ungoverned,
    /// The copy on disk, because the kinds vanished from the cluster less than a week ago.
    Vanished,
}

/// What a command knows of the cluster.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Its policies, as JSON: one that this program does not understand must still hold changes.
    pub policies: Vec<Value>,
    /// When the API server last confirmed them.
    pub confirmed: Timestamp,
    /// The API server's clock, cut to seconds, as it answered.
    pub server_time: Option<Timestamp>,
    /// Where they come from.
    pub origin: ViewOrigin,
    /// The records asked for, by component name; what has no record is absent.
    pub records: BTreeMap<String, CliRelease>,
    /// They are all there are: what is absent has none.
    pub complete: bool,
}

impl ClusterView {
    /// The policies, ready to judge.
    pub fn policy_set(&self) -> PolicySet {
        PolicySet::from_json(&self.policies)
    }
}

/// Which records a command needs.
#[derive(Debug, Clone, Copy)]
pub enum RecordSelection<'a> {
    /// One request each, in parallel.
    Named(&'a [Component]),
    /// One list.
    All,
    /// None: the policies only.
    None,
}

/// Why the cluster's word could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The kinds are there and this identity may not read them.
    #[error("the identity of the kubeconfig may not read {kind} of group cli.deckhouse.io")]
    Unreadable {
        /// `pluginpolicies`, `clireleases` or `clihosts`.
        kind: &'static str,
    },
    /// The API server does not accept the identity.
    #[error("the Kubernetes API did not accept the identity of the kubeconfig (401)")]
    Unauthorized,
    /// The API server could not be asked, or answered with an error of its own.
    #[error("the Kubernetes API could not be asked for {what}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Why there is no answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Reads the policies and the wanted records, all requests at once. `cached` is what this store
/// last knew of the same cluster.
///
/// # Errors
/// [`ViewError`]; an absent group is no error.
pub async fn read(
    client: &Client,
    wanted: RecordSelection<'_>,
    cached: Option<&CachedPolicies>,
    now: Timestamp,
) -> Result<ClusterView, ViewError> {
    let (policies, records) = tokio::join!(policies(client), records(client, wanted));
    let (policies, server_time) = policies?;
    let view = ClusterView { server_time, ..view(policies, records?, cached, now) };
    Ok(ClusterView {
        complete: matches!(wanted, RecordSelection::All) || view.origin == ViewOrigin::Ungoverned,
        ..view
    })
}

/// The record of one component, if there is one: for a plugin that others turn out to need.
///
/// # Errors
/// [`ViewError`]; an absent group is no error.
pub async fn record(client: &Client, component: &Component) -> Result<Option<CliRelease>, ViewError> {
    let found = records(client, RecordSelection::Named(std::slice::from_ref(component))).await?;
    Ok(found.into_values().next())
}

/// What the answers mean together with what was known before. Pure.
fn view(
    policies: Option<Vec<Value>>,
    records: BTreeMap<String, CliRelease>,
    cached: Option<&CachedPolicies>,
    now: Timestamp,
) -> ClusterView {
    let (policies, confirmed, origin) = match (policies, cached) {
        (Some(policies), _) => (policies, now, ViewOrigin::Live),
        (None, Some(cached)) if now.duration_since(cached.confirmed) <= KEEP_AFTER_CRDS_VANISH => {
            (cached.policies.clone(), cached.confirmed, ViewOrigin::Vanished)
        }
        (None, _) => (Vec::new(), now, ViewOrigin::Ungoverned),
    };
    ClusterView { policies, confirmed, server_time: None, origin, records, complete: false }
}

/// All policies, `None` where the cluster does not serve the kind; and the server's time.
async fn policies(client: &Client) -> Result<(Option<Vec<Value>>, Option<Timestamp>), ViewError> {
    let (list, time) = list_policies(client).await;
    match list {
        Ok(list) => Ok((Some(list.items.into_iter().map(as_json).collect()), time)),
        Err(error) => absent_or(client, "pluginpolicies", error).await.map(|()| (None, time)),
    }
}

/// One request, by hand because the client gives no headers of what it lists.
async fn list_policies(client: &Client) -> (Result<ObjectList<DynamicObject>, kube::Error>, Option<Timestamp>) {
    let kind = ApiResource::erase::<PluginPolicy>(&());
    let path = DynamicObject::url_path(&kind, None);
    let request = match Request::new(path).list(&ListParams::default()) {
        Ok(request) => request.map(Body::from),
        Err(error) => return (Err(kube::Error::BuildRequest(error)), None),
    };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return (Err(error), None),
    };
    let (head, body) = answer.into_parts();
    let time = head.headers.get("date").and_then(|date| clock::http_date(date.to_str().ok()?));
    let bytes = match body.collect_bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return (Err(error), time),
    };
    let list = if head.status.is_success() {
        serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)
    } else {
        let told = serde_json::from_slice::<Status>(&bytes).ok();
        let status = told.unwrap_or_else(|| Status::failure(head.status.as_str(), "Failed"));
        Err(kube::Error::Api(status.with_code(head.status.as_u16()).boxed()))
    };
    (list, time)
}

fn as_json(mut policy: DynamicObject) -> Value {
    policy.metadata.managed_fields = None;
    // What came as JSON goes back as JSON; were it ever otherwise, `null` is read as a policy that
    // nobody understands, which holds every change.
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
            let can_have_one = |c: &&Component| match c {
                Component::D8 => true,
                Component::Plugin(name) => name.is_dns_label(),
            };
            let gets = components.iter().filter(can_have_one).map(|component| {
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

/// `Ok` if the cluster does not serve the group at all. A 403 proves nothing: an ordinary user gets
/// it for a kind that is not there, too (policy.md, rule 13).
async fn absent_or(client: &Client, kind: &'static str, error: kube::Error) -> Result<(), ViewError> {
    match code(&error) {
        Some(404) => Ok(()),
        Some(401) => Err(ViewError::Unauthorized),
        Some(403) => match client.list_api_group_resources("cli.deckhouse.io/v1alpha1").await {
            Ok(_) => Err(ViewError::Unreadable { kind }),
            Err(error) if code(&error) == Some(404) => Ok(()),
            Err(source) => {
                Err(ViewError::Unreachable { what: "group cli.deckhouse.io".into(), source: Box::new(source) })
            }
        },
        _ => Err(ViewError::Unreachable { what: kind.into(), source: Box::new(error) }),
    }
}

/// The status code of an answer that is an error; `None` where no answer came.
pub fn code(error: &kube::Error) -> Option<u16> {
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
    fn which_policies_count() {
        let now = at("2026-11-22T12:00:00Z");
        let named = |name: &str| serde_json::json!({"metadata": {"name": name}});
        let live = vec![named("live")];
        let kept = |confirmed: &str| CachedPolicies::new("https://k8s", at(confirmed), vec![named("kept")]);
        let fresh = kept("2026-11-15T12:00:00Z");
        let old = kept("2026-11-15T11:59:59Z");
        for (what, policies, cached, origin, names) in [
            ("an answer counts", Some(live.clone()), Some(&fresh), ViewOrigin::Live, vec!["live"]),
            ("no kinds, never governed", None, None, ViewOrigin::Ungoverned, vec![]),
            ("no kinds, governed a week ago", None, Some(&fresh), ViewOrigin::Vanished, vec!["kept"]),
            ("no kinds, governed longer ago", None, Some(&old), ViewOrigin::Ungoverned, vec![]),
        ] {
            let view = view(policies, BTreeMap::new(), cached, now);
            assert_eq!(view.origin, origin, "{what}");
            let seen: Vec<_> = view.policies.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
            assert_eq!(seen, names, "{what}");
        }
    }
}
