//! Makes a bare control plane look like a Deckhouse cluster to this project.

use serde_json::json;

use crate::catalog::MODULES;
use crate::{ControlPlane, Result};

/// The ClusterRole that permits downloads.
pub const DOWNLOAD_ROLE: &str = "d8:registry-packages-proxy:cli-download";

/// Binds the download role to a user.
pub fn allow_download(plane: &ControlPlane, user: &str) -> Result<()> {
    let (name, role) = (format!("{user}-downloads"), format!("--clusterrole={DOWNLOAD_ROLE}"));
    plane.kubectl(["create", "clusterrolebinding", &name, &role, &format!("--user={user}")]).map(drop)
}

/// Applies the objects of a Deckhouse cluster: its Deployment, its Modules, the permissions of the proxy.
pub fn set_up(plane: &ControlPlane) -> Result<()> {
    plane.apply(include_str!("../fixtures/cluster.yaml"))?;
    plane.kubectl(["wait", "--for=condition=Established", "crd/modules.deckhouse.io", "--timeout=30s"])?;
    let modules = |with_status: bool| -> String {
        let object = |(name, version, enabled): (&str, &str, bool)| {
            let mut object =
                json!({"apiVersion": "deckhouse.io/v1alpha1", "kind": "Module", "metadata": {"name": name}});
            if with_status {
                let on = if enabled { "True" } else { "False" };
                let phase = if enabled { "Ready" } else { "Available" };
                let condition = json!({"type": "EnabledByModuleManager", "status": on});
                object["status"] = json!({"phase": phase, "conditions": [condition]});
            } else {
                object["properties"] = json!({"version": version, "source": "deckhouse"});
            }
            format!("---\n{object}\n")
        };
        MODULES.into_iter().map(object).collect()
    };
    plane.apply(&modules(false))?;
    plane.apply_status(&modules(true)).map(drop)
}
