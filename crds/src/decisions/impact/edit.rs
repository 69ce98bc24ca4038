//! What the policies of a cluster would be after `kubectl apply` of some.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::records::{
    policy::{PluginPolicy, PluginPolicySpec},
    release::CliRelease,
};

/// The live policies with `files` put in their place by name, or added; of one name the last counts.
///
/// An edit keeps what the operator knows of its waves, and resumes those that were halted, as the operator
/// does (`docs/policies.md`, rollout). A rollout that is new begins a wave of every recorded version at
/// `now`. One that changes nothing stays as it is. It counts as seen by the
/// operator: what is asked is where it leads, not whether it has been noticed yet.
pub fn edited(
    live: &[Value],
    files: &[PluginPolicy],
    records: &BTreeMap<String, CliRelease>,
    now: Timestamp,
) -> Vec<Value> {
    let mut all = live.to_vec();
    for file in files {
        let name = file.metadata.name.as_deref();
        let place = all.iter().position(|policy| policy.pointer("/metadata/name").and_then(Value::as_str) == name);
        let before = place.and_then(|place| all[place].get("spec"));
        let before = before.and_then(|spec| serde_json::from_value::<PluginPolicySpec>(spec.clone()).ok());
        let rolled = before.as_ref().is_some_and(|before| before.rollout.is_some());
        if before.is_some_and(|before| before == file.spec) {
            continue;
        }
        let mut edit = json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name},
            "spec": file.spec,
        });
        let status = place.and_then(|place| all[place].get("status")).and_then(|status| status.get("components"));
        if file.spec.rollout.is_some() && !rolled {
            edit["status"] = json!({"components": begun(records, now)});
        } else if let Some(components) = status {
            let mut components = components.clone();
            go_on(&mut components);
            edit["status"] = json!({"components": components});
        }
        match place {
            Some(place) => all[place] = edit,
            None => all.push(edit),
        }
    }
    all
}

/// The waves that the operator begins for a rollout it has not seen before.
fn begun(records: &BTreeMap<String, CliRelease>, now: Timestamp) -> Vec<Value> {
    let wave = |version: &str| json!({"version": version, "since": now});
    let component = |(name, record): (&String, &CliRelease)| {
        let versions = record.status.iter().flat_map(|status| &status.versions);
        json!({"name": name, "waves": versions.map(|recorded| wave(&recorded.version)).collect::<Vec<_>>()})
    };
    records.iter().map(component).collect()
}

/// No wave is halted any more.
fn go_on(components: &mut Value) {
    let of = |value: &mut Value, key: &str| value.get_mut(key).and_then(Value::as_array_mut).map(std::mem::take);
    for component in components.as_array_mut().into_iter().flatten() {
        let Some(mut waves) = of(component, "waves") else { continue };
        for wave in waves.iter_mut().filter_map(Value::as_object_mut) {
            wave.remove("state");
            wave.remove("haltedAt");
        }
        component["waves"] = Value::Array(waves);
    }
}
