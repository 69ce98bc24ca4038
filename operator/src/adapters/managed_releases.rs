//! Creates, annotates and deletes the records that this operator manages.

use std::collections::BTreeMap;

use d8_crds::records::release::CliRelease;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use crate::decisions::{
    labels::{COMPONENT, MANAGER, labels},
    managed_releases::{RecordChange, UNNEEDED_SINCE},
};

/// Makes one change in the cluster. A record that changed meanwhile is not deleted.
pub(crate) async fn execute(client: &Client, change: RecordChange) -> Result<(), kube::Error> {
    let api: Api<CliRelease> = Api::all(client.clone());
    match change {
        RecordChange::Apply { name, unneeded_since } => {
            let annotation = unneeded_since.map(|at| (UNNEEDED_SINCE.to_owned(), at.to_string()));
            let object = json!({
                "apiVersion": "cli.deckhouse.io/v1alpha1",
                "kind": "CliRelease",
                "metadata": {
                    "name": name,
                    "labels": labels(COMPONENT, &name),
                    "annotations": annotation.into_iter().collect::<BTreeMap<_, _>>(),
                },
                "spec": {},
            });
            api.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(object)).await?;
            if unneeded_since.is_none() {
                tracing::info!(name, "applied a managed record");
            } else {
                tracing::info!(name, "nothing needs this managed record any more; it will be deleted in a week");
            }
            Ok(())
        }
        RecordChange::Delete { name, uid, resource_version } => {
            let preconditions = Some(Preconditions { uid, resource_version });
            match api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
                Ok(_) => tracing::info!(name, "deleted a managed record that nothing needed for a week"),
                // The record changed or was deleted meanwhile. The next round decides again.
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
                Err(error) => return Err(error),
            }
            Ok(())
        }
    }
}
