//! `d8 policy get`: lists policies, or with `--effective` shows the merged policy of a host.

use d8_agent::cluster::{ClusterView, RecordSelection, ViewOrigin};
use d8_crds::{records::policy::PluginPolicyStatus, values::spelling::nearest};
use serde::Serialize;
use serde_json::Value;

use super::effective;
use crate::{
    args,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
        table::Table,
    },
};

/// An entry of the JSON document (`docs/policy-commands.md`), with the columns of `kubectl get`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicySummary {
    name: String,
    paused: bool,
    /// Number of managed hosts that the policy selects, from its status.
    hosts: Option<u32>,
    /// `True`, `False` or `Unknown`.
    accepted: String,
    ready: String,
    reason: String,
    message: String,
    /// The policy selects this machine.
    here: bool,
}

pub(crate) async fn run(context: &Context, args: &args::PolicyGetArgs) -> Result<(), Failure> {
    let view = context.view(RecordSelection::None).await?;
    if args.effective {
        return effective::run(context, &view, args).await;
    }
    if view.origin == ViewOrigin::Vanished {
        output::warn(format!(
            "this cluster no longer has the PluginPolicy kind; showing the policies cached on {}",
            view.confirmed
        ));
    }
    if view.origin == ViewOrigin::Ungoverned {
        return Err(no_kind(context));
    }
    let policies = summaries(context, &view, args.name.as_deref())?;
    let names = policies.iter().map(|policy| &policy.name);
    output::print_document(args.output.format, &policies, names, |policies| print_text(policies))
}

fn print_text(policies: &[PolicySummary]) {
    if policies.is_empty() {
        output::print("No policies found.");
        return;
    }
    let mut table = Table::new(&["NAME", "PAUSED", "HOSTS", "ACCEPTED", "READY", "REASON", "HERE"]);
    for policy in policies {
        let hosts = policy.hosts.map(|hosts| hosts.to_string()).unwrap_or_default();
        let (paused, here) = (yes_or_no(policy.paused), yes_or_no(policy.here));
        table.row([&policy.name, paused, &hosts, &policy.accepted, &policy.ready, &policy.reason, here]);
    }
    output::print_table(&table);
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// Returns the policies, or the one named, sorted by name. Includes policies that cannot be decoded.
fn summaries(context: &Context, view: &ClusterView, name: Option<&str>) -> Result<Vec<PolicySummary>, Failure> {
    let set = view.policy_set();
    let here = set.for_host(context.host(view.caller.person())).policy_names();
    let mut policies: Vec<PolicySummary> = view.policies.iter().map(summary).collect();
    for policy in &mut policies {
        policy.here = here.contains(&policy.name.as_str());
    }
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(name) = name else { return Ok(policies) };
    let index = policies.iter().position(|policy| policy.name == name).ok_or_else(|| not_found(name, &policies))?;
    Ok(vec![policies.swap_remove(index)])
}

/// Returns the failure when no policy has the name.
fn not_found(name: &str, policies: &[PolicySummary]) -> Failure {
    let failure = Failure::new(Code::Failed, format!("policy {name} not found"));
    match nearest(name, policies.iter().map(|policy| policy.name.as_str())) {
        Some(near) => {
            failure.advise(format!("no policy has this name, but there is {near}"), format!("`d8 policy get {near}`"))
        }
        None => failure.advise("the name is wrong, or the policy was deleted", "list the policies: `d8 policy get`"),
    }
}

/// Returns the failure when the cluster does not have the kind.
fn no_kind(context: &Context) -> Failure {
    Failure::new(Code::Failed, format!("{} does not have the PluginPolicy kind", context.cluster_name())).advise(
        "d8-operator, whose chart installs the kind, is not installed there, or this is the wrong cluster",
        "compare with the cluster that you mean: `kubectl config current-context`",
    )
}

fn summary(policy: &Value) -> PolicySummary {
    let status = policy.get("status").cloned().unwrap_or_default();
    let status: PluginPolicyStatus = serde_json::from_value(status).unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let truth = |kind| condition(kind).map_or("Unknown", |condition| condition.status.as_str()).to_owned();
    let (accepted, ready) = (condition("Accepted"), condition("Ready"));
    let decisive = accepted.filter(|accepted| accepted.status != "True").or(ready).or(accepted);
    PolicySummary {
        name: policy.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        paused: policy.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or_default(),
        hosts: status.hosts.as_ref().map(|hosts| hosts.matched),
        accepted: truth("Accepted"),
        ready: truth("Ready"),
        reason: decisive.map(|condition| condition.reason.clone()).unwrap_or_default(),
        message: decisive.map(|condition| condition.message.clone()).unwrap_or_default(),
        here: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn summaries_of_policies() {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "m",
                "lastTransitionTime": "2026-11-22T12:00:00Z"})
        };
        let (accepted, refused) = (condition("Accepted", "True", "Valid"), condition("Accepted", "False", "Invalid"));
        let ready = condition("Ready", "True", "RollingOut");
        for (policy, expected) in [
            (json!({}), json!(["", false, null, "Unknown", "Unknown", ""])),
            // Unknown values.
            (
                json!({"metadata": {"name": "odd"}, "spec": {"paused": "x"}, "status": {"hosts": "x"}}),
                json!(["odd", false, null, "Unknown", "Unknown", ""]),
            ),
            (
                json!({"metadata": {"name": "p"}, "spec": {"paused": true},
                    "status": {"hosts": {"matched": 3}, "conditions": [accepted, ready]}}),
                json!(["p", true, 3, "True", "True", "RollingOut"]),
            ),
            (
                json!({"metadata": {"name": "p"}, "status": {"conditions": [refused, ready]}}),
                json!(["p", false, null, "False", "True", "Invalid"]),
            ),
        ] {
            let found = summary(&policy);
            let found = json!([found.name, found.paused, found.hosts, found.accepted, found.ready, found.reason]);
            assert_eq!(found, expected, "{policy}");
        }
    }
}
