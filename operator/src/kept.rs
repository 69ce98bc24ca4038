//! What outlives every status: data, each kept in a `ConfigMap` of the operator's namespace. It is applied
//! with the resourceVersion it was computed from: of two leaders that overlap for a moment one is refused
//! and reads again. What the data mean is not known here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::apply::FIELD_MANAGER;

/// The data of a ConfigMap.
pub(crate) type Data = BTreeMap<String, String>;

/// Why a ConfigMap can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Someone else wrote it since it was read.
    #[error("ConfigMap {0} was changed by someone else meanwhile")]
    Conflict(String),
    /// It holds something else than it should.
    #[error("ConfigMap {name}: {why}; correct it, or delete it to start from {instead}")]
    Unreadable {
        /// The ConfigMap.
        name: String,
        /// What is wrong with it.
        why: String,
        /// What is known without it.
        instead: &'static str,
    },
    /// The API server did not do it.
    #[error("ConfigMap {name}: {source}")]
    Api {
        /// The ConfigMap.
        name: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
}

/// Reads one: its data, and the resourceVersion to write it with. Neither where there is none.
pub(crate) async fn load(api: &Api<ConfigMap>, name: &str) -> Result<(Data, Option<String>), StoreError> {
    let found = api.get_opt(name).await.map_err(|e| failed(name, e))?;
    let Some(found) = found else { return Ok((Data::new(), None)) };
    let resource_version = found.resource_version();
    Ok((found.data.unwrap_or_default(), resource_version))
}

/// Writes one that was computed from this resourceVersion, absent if there was none; returns the new one.
pub(crate) async fn store(
    api: &Api<ConfigMap>,
    name: &str,
    labels: BTreeMap<String, String>,
    data: Data,
    resource_version: Option<String>,
) -> Result<Option<String>, StoreError> {
    let resource_version = match resource_version {
        Some(version) => version,
        None => create(api, name, labels.clone()).await?,
    };
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels, "resourceVersion": resource_version},
        "data": data,
    });
    let written = api
        .patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(|e| failed(name, e))?;
    Ok(written.resource_version())
}

/// Makes an empty one: only then is there a resourceVersion to insist on.
async fn create(api: &Api<ConfigMap>, name: &str, labels: BTreeMap<String, String>) -> Result<String, StoreError> {
    let mut empty = ConfigMap::default();
    empty.metadata.name = Some(name.to_owned());
    empty.metadata.labels = Some(labels);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let made = api.create(&parameters, &empty).await.map_err(|e| failed(name, e))?;
    made.resource_version().ok_or_else(|| StoreError::Conflict(name.to_owned()))
}

fn failed(name: &str, error: kube::Error) -> StoreError {
    match error {
        // 404: deleted since it was read.
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => StoreError::Conflict(name.to_owned()),
        other => StoreError::Api { name: name.to_owned(), source: Box::new(other) },
    }
}
