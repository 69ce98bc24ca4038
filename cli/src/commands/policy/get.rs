//! `d8 policy get`: the policies there are, or with `--effective` what they come to on a host.

use d8_agent::cluster::{ClusterView, RecordSelection, ViewOrigin};
use d8_crds::records::policy::PluginPolicyStatus;
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

/// One policy of the document (`docs/policy-commands.md`): what the columns of `kubectl get` show.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    paused: bool,
    /// Managed hosts it speaks for, as the operator counted them.
    hosts: Option<u32>,
    /// `True`, `False` or `Unknown`.
    accepted: String,
    ready: String,
    reason: String,
    message: String,
    /// It speaks for this machine.
    here: bool,
}

pub(crate) async fn run(context: &Context, args: &args::PolicyGetArgs) -> Result<(), Failure> {
    let view = context.view(RecordSelection::None).await?;
    if args.effective {
        return effective::run(context, &view, args).await;
    }
    if view.origin == ViewOrigin::Vanished {
        output::warn(format!("this cluster has no PluginPolicies any more; these were kept on {}", view.confirmed));
    }
    let rows = rows(context, &view, args.name.as_deref())?;
    let names = rows.iter().map(|row| &row.name);
    output::print_document(args.output.format, &rows, names, |rows| print_text(rows))
}

fn print_text(rows: &[Row]) {
    if rows.is_empty() {
        output::print("No policies.");
        return;
    }
    let mut table = Table::new(&["NAME", "PAUSED", "HOSTS", "ACCEPTED", "READY", "REASON", "HERE"]);
    for row in rows {
        let hosts = row.hosts.map(|hosts| hosts.to_string()).unwrap_or_default();
        let (paused, here) = (yes_or_no(row.paused), yes_or_no(row.here));
        table.row([&row.name, paused, &hosts, &row.accepted, &row.ready, &row.reason, here]);
    }
    output::print_table(&table);
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// By name. What cannot be decoded is listed, too.
fn rows(context: &Context, view: &ClusterView, wanted: Option<&str>) -> Result<Vec<Row>, Failure> {
    let set = view.policy_set();
    let here = set.matching(&context.host());
    let mut rows: Vec<Row> = view.policies.iter().map(row).collect();
    for row in &mut rows {
        row.here = here.contains(&row.name.as_str());
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(wanted) = wanted else { return Ok(rows) };
    rows.retain(|row| row.name == wanted);
    if rows.is_empty() {
        return Err(Failure::new(Code::Failed, format!("there is no policy {wanted}"))
            .advise("the name is wrong, or it was deleted", "d8 policy get"));
    }
    Ok(rows)
}

fn row(policy: &Value) -> Row {
    let status = policy.get("status").cloned().unwrap_or_default();
    let status: PluginPolicyStatus = serde_json::from_value(status).unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let truth = |kind| condition(kind).map_or("Unknown", |condition| condition.status.as_str()).to_owned();
    let (accepted, ready) = (condition("Accepted"), condition("Ready"));
    let telling = accepted.filter(|accepted| accepted.status != "True").or(ready).or(accepted);
    Row {
        name: policy.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        paused: policy.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or_default(),
        hosts: status.hosts.as_ref().map(|hosts| hosts.matched),
        accepted: truth("Accepted"),
        ready: truth("Ready"),
        reason: telling.map(|condition| condition.reason.clone()).unwrap_or_default(),
        message: telling.map(|condition| condition.message.clone()).unwrap_or_default(),
        here: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_row_tells() {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "m",
                "lastTransitionTime": "2026-11-22T12:00:00Z"})
        };
        let (accepted, refused) = (condition("Accepted", "True", "Valid"), condition("Accepted", "False", "Invalid"));
        let ready = condition("Ready", "True", "RollingOut");
        for (policy, expected) in [
            (json!({}), json!(["", false, null, "Unknown", "Unknown", ""])),
            // A shape that this d8 does not know.
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
            let row = row(&policy);
            let told = json!([row.name, row.paused, row.hosts, row.accepted, row.ready, row.reason]);
            assert_eq!(told, expected, "{policy}");
        }
    }
}
