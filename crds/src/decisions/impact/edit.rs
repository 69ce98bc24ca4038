//! The policies of a cluster as they would be after `kubectl apply` of some files.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::records::{
    policy::{PluginPolicy, PluginPolicySpec},
    release::CliRelease,
};

/// Returns the live policies with those of `files` added, or in place of those with the same name. If several
/// files have one name, the last one counts.
///
/// An edited policy keeps the waves that the operator recorded; halted ones resume, as the operator resumes
/// them (`docs/policies.md`, rollout). A policy that gets a rollout gets a wave of every recorded version that
/// starts at `now`. An edit that changes nothing keeps the policy as it is. Edits count as observed by the
/// operator, so that the result shows where they lead and not that they are new.
pub fn edited(
    live: &[Value],
    files: &[PluginPolicy],
    records: &BTreeMap<String, CliRelease>,
    now: Timestamp,
) -> Vec<Value> {
    let mut all = live.to_vec();
    for file in files {
        let name = file.metadata.name.as_deref();
        let index = all.iter().position(|policy| policy.pointer("/metadata/name").and_then(Value::as_str) == name);
        let edit = match index.map(|index| &all[index]) {
            Some(before) => edited_policy(before, file, records, now),
            None => Some(new_policy(file, records, now)),
        };
        match (edit, index) {
            (Some(edit), Some(index)) => all[index] = edit,
            (Some(edit), None) => all.push(edit),
            (None, _) => {}
        }
    }
    all
}

/// Returns a live policy after an edit. None: the edit changes nothing.
fn edited_policy(
    before: &Value,
    file: &PluginPolicy,
    records: &BTreeMap<String, CliRelease>,
    now: Timestamp,
) -> Option<Value> {
    let spec = before.get("spec").and_then(|spec| serde_json::from_value::<PluginPolicySpec>(spec.clone()).ok());
    if spec.as_ref().is_some_and(|before| *before == file.spec) {
        return None;
    }
    if spec.is_none_or(|before| before.rollout.is_none()) && file.spec.rollout.is_some() {
        return Some(new_policy(file, records, now));
    }
    let mut edit = policy(file);
    if let Some(components) = before.pointer("/status/components") {
        let mut components = components.clone();
        resume_waves(&mut components);
        edit["status"] = json!({"components": components});
    }
    Some(edit)
}

/// Returns a policy without recorded waves: those of its rollout start at `now`.
fn new_policy(file: &PluginPolicy, records: &BTreeMap<String, CliRelease>, now: Timestamp) -> Value {
    let mut new = policy(file);
    if file.spec.rollout.is_some() {
        new["status"] = json!({"components": new_waves(records, now)});
    }
    new
}

fn policy(file: &PluginPolicy) -> Value {
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": file.metadata.name}, "spec": file.spec,
    })
}

/// Returns the waves that the operator starts for a rollout that it has not seen before.
fn new_waves(records: &BTreeMap<String, CliRelease>, now: Timestamp) -> Vec<Value> {
    let wave = |version: &str| json!({"version": version, "since": now});
    let component = |(name, record): (&String, &CliRelease)| {
        let versions = record.status.iter().flat_map(|status| &status.versions);
        json!({"name": name, "waves": versions.map(|recorded| wave(&recorded.version)).collect::<Vec<_>>()})
    };
    records.iter().map(component).collect()
}

/// Resumes all halted waves.
fn resume_waves(components: &mut Value) {
    for component in components.as_array_mut().into_iter().flatten() {
        let waves = component.get_mut("waves").and_then(Value::as_array_mut);
        for wave in waves.into_iter().flatten().filter_map(Value::as_object_mut) {
            wave.remove("state");
            wave.remove("haltedAt");
        }
    }
}
