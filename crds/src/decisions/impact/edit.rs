//! The policies of a cluster as they would be after `kubectl apply` of some files.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    decisions::validation::{RESUME, ResumedHalts},
    records::{
        policy::{PluginPolicy, PluginPolicySpec},
        release::CliRelease,
    },
    values::{name::Component, version::Version},
};

/// Returns the live policies with those of `files` added, or in place of those with the same name. If several
/// files have one name, the last one counts.
///
/// An edited policy keeps the waves that the operator recorded, halted ones too: only the annotation resumes those
/// (`docs/policies.md`, rollout). A policy that gets a rollout gets a wave of every recorded version that starts at
/// `now`, unless it requires evidence. An edit that changes nothing keeps the policy as it is. Edits count as observed by the
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
    let same_spec = spec.as_ref().is_some_and(|before| *before == file.spec);
    let resumed = resume_annotation(file);
    if same_spec && resumed.is_none_or(|resumed| before["metadata"]["annotations"][RESUME] == resumed) {
        return None;
    }
    let gains_rollout = spec.is_none_or(|before| before.rollout.is_none()) && file.spec.rollout.is_some();
    let recorded = before.pointer("/status/components").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut components = if gains_rollout { with_halts(new_waves(file, records, now), recorded) } else { recorded };
    resume_waves(&mut components, resumed, now);
    let mut edit = policy(file);
    if !components.is_empty() {
        edit["status"] = json!({"components": components});
    }
    // Applying a file keeps the annotations that it does not name.
    if resumed.is_none()
        && let Some(resumed) = before.pointer("/metadata/annotations").and_then(|annotations| annotations.get(RESUME))
    {
        edit["metadata"]["annotations"] = json!({RESUME: resumed});
    }
    Some(edit)
}

/// Returns a policy without recorded waves: those of its rollout start at `now`.
fn new_policy(file: &PluginPolicy, records: &BTreeMap<String, CliRelease>, now: Timestamp) -> Value {
    let mut new = policy(file);
    if file.spec.rollout.is_some() {
        new["status"] = json!({"components": new_waves(file, records, now)});
    }
    new
}

fn policy(file: &PluginPolicy) -> Value {
    let mut policy = json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": file.metadata.name}, "spec": file.spec,
    });
    if let Some(resumed) = resume_annotation(file) {
        policy["metadata"]["annotations"] = json!({RESUME: resumed});
    }
    policy
}

fn resume_annotation(file: &PluginPolicy) -> Option<&str> {
    file.metadata.annotations.as_ref()?.get(RESUME).map(String::as_str)
}

/// Returns the waves that the operator starts for a rollout that it has not seen before: none yet, if the rollout
/// requires evidence.
fn new_waves(file: &PluginPolicy, records: &BTreeMap<String, CliRelease>, now: Timestamp) -> Vec<Value> {
    if file.spec.rollout.as_ref().is_some_and(|rollout| rollout.require_succeeded.is_some()) {
        return Vec::new();
    }
    let wave = |version: &str| json!({"version": version, "since": now});
    let component = |(name, record): (&String, &CliRelease)| {
        let versions = record.status.iter().flat_map(|status| &status.versions);
        json!({"name": name, "waves": versions.map(|recorded| wave(&recorded.version)).collect::<Vec<_>>()})
    };
    records.iter().map(component).collect()
}

/// Resumes the halted waves that the annotation names, as the operator does: they go on where they were.
fn resume_waves(components: &mut [Value], annotation: Option<&str>, now: Timestamp) {
    let resumed = annotation.map(ResumedHalts::parse).unwrap_or_default();
    for component in components {
        let Some(name) = component["name"].as_str().and_then(|name| name.parse::<Component>().ok()) else { continue };
        let waves = component.get_mut("waves").and_then(Value::as_array_mut);
        for wave in waves.into_iter().flatten().filter_map(Value::as_object_mut) {
            let instant = |field: &str| wave.get(field)?.as_str()?.parse::<Timestamp>().ok();
            let version = wave.get("version").and_then(Value::as_str).and_then(|text| Version::parse(text).ok());
            let (Some(version), Some(halted_at)) = (version, instant("haltedAt")) else { continue };
            if !resumed.names(&name, &version, halted_at) {
                continue;
            }
            let elapsed = |since| halted_at.duration_since(since).max(SignedDuration::ZERO);
            let since = instant("since").and_then(|since| now.checked_sub(elapsed(since)).ok()).unwrap_or(now);
            wave.insert("since".to_owned(), json!(since));
            wave.remove("state");
            wave.remove("haltedAt");
        }
    }
}

/// Adds the halted waves among `recorded`, each in place of the new wave of the same version.
fn with_halts(mut components: Vec<Value>, recorded: Vec<Value>) -> Vec<Value> {
    let waves = |component: &Value| component["waves"].as_array().cloned().unwrap_or_default();
    for before in recorded {
        let halts: Vec<Value> = waves(&before).into_iter().filter(|wave| wave["state"] == "Halted").collect();
        if halts.is_empty() {
            continue;
        }
        let index = components.iter().position(|component| component["name"] == before["name"]);
        let index = index.unwrap_or_else(|| {
            components.push(json!({"name": before["name"]}));
            components.len() - 1
        });
        let is_halted = |wave: &Value| halts.iter().any(|halt| halt["version"] == wave["version"]);
        let running = waves(&components[index]).into_iter().filter(|wave| !is_halted(wave));
        components[index]["waves"] = running.chain(halts.iter().cloned()).collect();
    }
    components
}
