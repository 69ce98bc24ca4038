//! Ledgers in `ConfigMap` objects, one for each owner: `d8-ledger-<component>` and `d8-waves-<policy>`. An owner's name
//! is a DNS label, so the ConfigMap's name is never too long.

use std::{collections::BTreeSet, marker::PhantomData};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions},
};

use super::configmap_store;
pub(crate) use super::configmap_store::StoreError;
use crate::decisions::{
    labels::{MANAGED_BY, MANAGER, labels},
    ledger::Ledger,
};

/// A ledger and the resourceVersion of its ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredLedger<L> {
    pub(crate) ledger: L,
    /// Absent: there is no ConfigMap yet.
    pub(crate) resource_version: Option<String>,
}

/// The ledgers of one kind.
pub(crate) struct LedgerStore<L> {
    api: Api<ConfigMap>,
    kind: PhantomData<fn() -> L>,
}

impl<L: Ledger> LedgerStore<L> {
    /// Makes a store in the operator's namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), kind: PhantomData }
    }

    /// Reads the ledger of an owner; without a ConfigMap, it is empty.
    pub(crate) async fn load(&self, owner: &str) -> Result<StoredLedger<L>, StoreError> {
        let name = name::<L>(owner);
        let loaded = configmap_store::load(&self.api, &name).await?;
        let ledger = L::from_data(&loaded.data).map_err(|error| StoreError::Unreadable {
            name,
            why: error.to_string(),
            fallback: L::FALLBACK,
        })?;
        Ok(StoredLedger { ledger, resource_version: loaded.resource_version })
    }

    /// Writes a ledger that was computed from `stored.resource_version`. Returns it with the new resourceVersion.
    pub(crate) async fn save(&self, owner: &str, stored: StoredLedger<L>) -> Result<StoredLedger<L>, StoreError> {
        let StoredLedger { ledger, resource_version } = stored;
        let labels = labels(L::OWNER_LABEL, owner);
        let data = ledger.to_data();
        let resource_version =
            configmap_store::save(&self.api, &name::<L>(owner), labels, data, resource_version).await?;
        Ok(StoredLedger { ledger, resource_version })
    }

    /// Reduces the ledgers whose owner does not exist to what `kept` returns, and deletes those of which nothing is kept.
    /// Returns the owners of the others.
    pub(crate) async fn reduce_orphans(
        &self,
        exists: impl Fn(&str) -> bool,
        kept: impl Fn(&L) -> Option<L>,
    ) -> Result<BTreeSet<String>, OrphanError> {
        let selector = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER},{}", L::OWNER_LABEL));
        let mut owners = BTreeSet::new();
        for found in self.api.list_metadata(&selector).await?.items {
            let map = found.name_any();
            let Some(owner) = found.labels().get(L::OWNER_LABEL).filter(|owner| map == name::<L>(owner)) else {
                continue;
            };
            if exists(owner) {
                owners.insert(owner.clone());
                continue;
            }
            match self.load(owner).await {
                Ok(stored) => match kept(&stored.ledger) {
                    Some(ledger) if ledger == stored.ledger => {}
                    Some(ledger) => drop(self.save(owner, StoredLedger { ledger, ..stored }).await?),
                    None => self.delete(&found, owner).await?,
                },
                // Nobody can use it any more.
                Err(StoreError::Unreadable { .. }) => self.delete(&found, owner).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(owners)
    }

    async fn delete(&self, found: &PartialObjectMeta<ConfigMap>, owner: &str) -> Result<(), kube::Error> {
        let name = found.name_any();
        let preconditions = Some(Preconditions { uid: found.uid(), resource_version: found.resource_version() });
        match self.api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
            Ok(_) => {
                tracing::info!(name, owner, "deleted the ledger of an owner that no longer exists");
                Ok(())
            }
            // The ConfigMap changed or was deleted meanwhile. The next round lists it again.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Why the ledgers of owners that no longer exist could not be reduced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrphanError {
    /// A ConfigMap could not be listed or deleted.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A ledger could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn name<L: Ledger>(owner: &str) -> String {
    format!("{}{owner}", L::NAME_PREFIX)
}
