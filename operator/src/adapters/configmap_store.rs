//! Data in `ConfigMap` objects of the operator's namespace. A ConfigMap is applied with the resourceVersion from which
//! the data were computed. If two leaders overlap for a moment, one of them is refused and reads again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::decisions::{labels::MANAGER, ledger::Data};

/// Why a ConfigMap could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The ConfigMap changed after it was read.
    #[error("ConfigMap {0} was changed by someone else meanwhile")]
    Conflict(String),
    /// The data cannot be read.
    #[error("ConfigMap {name}: {why}; correct the key, or delete the ConfigMap to start from {fallback}")]
    Unreadable {
        /// Name of the ConfigMap.
        name: String,
        /// What is wrong with the data.
        why: String,
        /// Where the data come from without the ConfigMap.
        fallback: &'static str,
    },
    /// The API server returned an error.
    #[error("ConfigMap {name}: {source}")]
    Api {
        /// Name of the ConfigMap.
        name: String,
        source: Box<kube::Error>,
    },
}

/// A ConfigMap that was read. Everything is empty if there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct LoadedConfigMap {
    pub(super) data: Data,
    pub(super) annotations: BTreeMap<String, String>,
    /// The resourceVersion to write it with.
    pub(super) resource_version: Option<String>,
}

pub(super) async fn load(api: &Api<ConfigMap>, name: &str) -> Result<LoadedConfigMap, StoreError> {
    let found = api.get_opt(name).await.map_err(|error| store_error(name, error))?;
    Ok(found.map_or_else(LoadedConfigMap::default, |found| LoadedConfigMap {
        resource_version: found.resource_version(),
        data: found.data.unwrap_or_default(),
        annotations: found.metadata.annotations.unwrap_or_default(),
    }))
}

/// Writes a ConfigMap whose data were computed from this resourceVersion; `None`: there was no ConfigMap. Returns the
/// new resourceVersion.
pub(super) async fn save(
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
        .patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(|error| store_error(name, error))?;
    Ok(written.resource_version())
}

/// Creates an empty ConfigMap, to get a resourceVersion.
async fn create(api: &Api<ConfigMap>, name: &str, labels: BTreeMap<String, String>) -> Result<String, StoreError> {
    let mut empty = ConfigMap::default();
    empty.metadata.name = Some(name.to_owned());
    empty.metadata.labels = Some(labels);
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let created = api.create(&parameters, &empty).await.map_err(|error| store_error(name, error))?;
    created.resource_version().ok_or_else(|| StoreError::Conflict(name.to_owned()))
}

fn store_error(name: &str, error: kube::Error) -> StoreError {
    match error {
        // 404: the ConfigMap was deleted after it was read.
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => StoreError::Conflict(name.to_owned()),
        other => StoreError::Api { name: name.to_owned(), source: Box::new(other) },
    }
}
