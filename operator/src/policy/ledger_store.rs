//! The `ConfigMap` of each wave ledger, `d8-waves-<policy>`. A policy's name is a DNS label, so that this
//! one is never too long.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
};

use super::{book::Stored, ledger::Ledger};
use crate::{
    apply::FIELD_MANAGER,
    kept::{self, StoreError},
    records::MANAGED_BY,
};

/// The label that names the policy.
const POLICY: &str = "cli.deckhouse.io/policy";

/// Reads the policy's ledger.
pub(super) async fn load(api: &Api<ConfigMap>, policy: &str) -> Result<Stored, StoreError> {
    let name = name(policy);
    let (data, resource_version) = kept::load(api, &name).await?;
    let unreadable = |why| StoreError::Unreadable { name, why, instead: "the policy's own status" };
    let ledger = Ledger::from_data(&data).map_err(|error| unreadable(error.to_string()))?;
    Ok(Stored { ledger, resource_version })
}

/// Writes it; `resource_version` says what it was computed from.
pub(super) async fn store(
    api: &Api<ConfigMap>,
    policy: &str,
    ledger: Ledger,
    resource_version: Option<String>,
) -> Result<Stored, StoreError> {
    let resource_version = kept::store(api, &name(policy), labels(policy), ledger.to_data(), resource_version).await?;
    Ok(Stored { ledger, resource_version })
}

/// Deletes the ledgers of policies that are not there any more; returns the names of the others that have
/// one.
pub(super) async fn sweep(
    api: &Api<ConfigMap>,
    is_there: impl Fn(&str) -> bool,
) -> Result<BTreeSet<String>, kube::Error> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={FIELD_MANAGER},{POLICY}"));
    let mut kept = BTreeSet::new();
    for found in api.list_metadata(&ours).await?.items {
        let map = found.name_any();
        let Some(policy) = found.labels().get(POLICY).filter(|policy| map == name(policy)) else { continue };
        if is_there(policy) {
            kept.insert(policy.clone());
            continue;
        }
        let preconditions = Some(Preconditions { uid: found.uid(), resource_version: found.resource_version() });
        match api.delete(&map, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
            Ok(_) => tracing::info!(name = map, "removed the wave ledger of a policy that is gone"),
            // It changed or went meanwhile: to be looked at again.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

fn labels(policy: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY, FIELD_MANAGER), (POLICY, policy)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn name(policy: &str) -> String {
    format!("d8-waves-{policy}")
}
