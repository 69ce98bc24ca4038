//! Policies as their status shows them.

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::records::policy::PluginPolicy;

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// Its name.
    pub name: String,
    /// Whether it stops every change.
    pub paused: bool,
    /// Number of hosts that it selects, as the operator counted them; absent: it has not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<u32>,
    /// Status of condition `Ready`: `True`, `False` or `Unknown`.
    pub ready: String,
    /// Reason of condition `Ready`.
    pub reason: String,
    /// Message of condition `Ready`.
    pub message: String,
}

/// Decodes the policies, as far as this program knows their shape, by name.
pub(super) fn decoded(policies: &[Value]) -> Vec<PluginPolicy> {
    let decoded = policies.iter().filter_map(|policy| PluginPolicy::deserialize(policy).ok());
    let mut decoded: Vec<_> = decoded.collect();
    decoded.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    decoded
}

impl PolicySummary {
    pub(super) fn of(policy: &PluginPolicy) -> Self {
        let status = policy.status.as_ref();
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        Self {
            name: policy.metadata.name.clone().unwrap_or_default(),
            paused: policy.spec.paused,
            hosts: status.and_then(|status| Some(status.hosts.as_ref()?.matched)),
            ready: ready.map_or("Unknown", |ready| &ready.status).to_owned(),
            reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
            message: ready.map(|ready| ready.message.clone()).unwrap_or_default(),
        }
    }
}
