//! The ledger's ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{book::Stored, ledger::Ledger};
use crate::{
    kept::{self, StoreError},
    records,
};

/// Reads the component's ledger.
pub(crate) async fn load(api: &Api<ConfigMap>, component: &str) -> Result<Stored, StoreError> {
    let name = name(component);
    let (data, resource_version) = kept::load(api, &name).await?;
    let unreadable = |why| StoreError::Unreadable { name, why, instead: "the record's own times" };
    let ledger = Ledger::from_data(&data).map_err(|error| unreadable(error.to_string()))?;
    Ok(Stored { ledger, resource_version })
}

/// Writes it; `resource_version` says what it was computed from.
pub(crate) async fn store(
    api: &Api<ConfigMap>,
    component: &str,
    ledger: Ledger,
    resource_version: Option<String>,
) -> Result<Stored, StoreError> {
    let data = ledger.to_data();
    let labels = records::labels(component);
    let resource_version = kept::store(api, &name(component), labels, data, resource_version).await?;
    Ok(Stored { ledger, resource_version })
}

/// The ConfigMap's name.
fn name(component: &str) -> String {
    format!("d8-ledger-{component}")
}
