//! The ledger's ConfigMap. It is applied with the resourceVersion it was computed from: of two leaders
//! that overlap for a moment one is refused and reads again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    book::Stored,
    ledger::{Ledger, LedgerError},
};
use crate::{apply::FIELD_MANAGER, records};

/// Why a ledger can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Someone else wrote it since it was read.
    #[error("ConfigMap {0} was changed by someone else meanwhile")]
    Conflict(String),
    /// It holds something else than a ledger.
    #[error("ConfigMap {name}: {source}; correct it, or delete it to start from the record's own times")]
    Unreadable {
        /// The ConfigMap.
        name: String,
        /// What is wrong with it.
        source: LedgerError,
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

/// Reads the component's ledger.
pub(crate) async fn load(api: &Api<ConfigMap>, component: &str) -> Result<Stored, StoreError> {
    let name = name(component);
    let found = api.get_opt(&name).await.map_err(|e| failed(&name, e))?;
    let Some(found) = found else {
        return Ok(Stored { ledger: Ledger::default(), resource_version: None });
    };
    let resource_version = found.resource_version();
    let ledger =
        Ledger::from_data(&found.data.unwrap_or_default()).map_err(|source| StoreError::Unreadable { name, source })?;
    Ok(Stored { ledger, resource_version })
}

/// Writes it; `stored` says what it was computed from.
pub(crate) async fn store(
    api: &Api<ConfigMap>,
    component: &str,
    ledger: Ledger,
    resource_version: Option<String>,
) -> Result<Stored, StoreError> {
    let name = name(component);
    let labels = records::labels(component);
    let resource_version = match resource_version {
        Some(version) => version,
        None => create(api, &name, labels.clone()).await?,
    };
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels, "resourceVersion": resource_version},
        "data": ledger.to_data(),
    });
    let written = api
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(|e| failed(&name, e))?;
    Ok(Stored { ledger, resource_version: written.resource_version() })
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

/// The ConfigMap's name.
fn name(component: &str) -> String {
    format!("d8-ledger-{component}")
}
