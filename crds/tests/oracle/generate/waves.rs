//! Random rollouts, waves in status, and annotations that resume halted waves.

use serde_json::{Value, json};

use super::{Field, Random, Scenario, VERSIONS, ago, at, put};

/// Adds a rollout to a policy, and the waves of versions to its status.
pub(super) fn add_waves(
    d: &mut Random,
    scenario: &Scenario,
    spec: &mut Value,
    status: &mut Value,
    metadata: &mut Value,
) {
    if d.percent(40) {
        put(spec, "rollout", rollout(d, scenario));
    } else if !scenario.has(Field::Resume) || d.percent(88) {
        // Without a rollout, a policy may have waves of an earlier one.
        return;
    }
    let mut waves: Vec<Value> = Vec::new();
    for version in [scenario.version, d.pick(&VERSIONS)] {
        if d.percent(40) || waves.iter().any(|wave| wave["version"] == version) {
            continue;
        }
        waves.push(wave(d, scenario, version));
    }
    let name = if d.percent(85) { scenario.component } else { "hello" };
    if scenario.has(Field::Resume)
        && let Some(annotation) = resume(d, name, &waves)
    {
        put(metadata, "annotations", json!({"cli.deckhouse.io/resume": annotation}));
    }
    put(status, "components", vec![json!({"name": name, "waves": waves})]);
}

fn rollout(d: &mut Random, scenario: &Scenario) -> Value {
    let mut rollout = json!({"over": d.pick(&["48h", "1h", "1m", "720h", "24h"])});
    if d.percent(40) {
        put(
            &mut rollout,
            "canarySelector",
            match d.below(4) {
                0 => json!({"matchExpressions": [{"key": "canary", "operator": "In", "values": ["true"]}]}),
                1 => json!({"matchLabels": {"role": "ci"}}),
                _ => json!({"matchLabels": {"canary": "true"}}),
            },
        );
    }
    if scenario.has(Field::CanaryPercent) && d.percent(40) {
        put(&mut rollout, "canaryPercent", [1, 5, 10, 25, 50, 50][d.below(6)]);
    }
    let has_canaries = !rollout["canarySelector"].is_null() || !rollout["canaryPercent"].is_null();
    if scenario.has(Field::RequireSucceeded) && d.percent(if has_canaries { 50 } else { 2 }) {
        put(&mut rollout, "requireSucceeded", json!({"hosts": 1 + d.below(5), "for": d.pick(&["1h", "30m", "24h"])}));
    }
    if d.percent(40) {
        put(&mut rollout, "maxFailed", 1 + d.below(3));
    }
    rollout
}

fn wave(d: &mut Random, scenario: &Scenario, version: &str) -> Value {
    let since = scenario.now - ago(d);
    if scenario.has(Field::RequireSucceeded) && d.percent(15) {
        return json!({"version": version, "state": "AwaitingEvidence", "succeeded": d.below(3)});
    }
    let mut wave = json!({"version": version, "since": at(since), "state": "Running", "failed": 0});
    if d.percent(25) {
        put(&mut wave, "state", "Halted");
        put(&mut wave, "failed", 3);
        put(&mut wave, "haltedAt", at(since + 600));
    }
    if d.percent(5)
        && let Some(fields) = wave.as_object_mut()
    {
        // Evidence is missing, whatever `state` says.
        fields.remove("since");
    }
    wave
}

/// An annotation that names a halt, or something that is nearly its name.
fn resume(d: &mut Random, component: &str, waves: &[Value]) -> Option<String> {
    let mut entries = Vec::new();
    for wave in waves {
        let (Some(version), Some(at)) = (wave["version"].as_str(), wave["haltedAt"].as_str()) else { continue };
        let other = at.replace("0Z", "1Z");
        match d.below(12) {
            0..=3 => entries.push(format!("{component}/{version}@{at}")),
            4 => entries.push(format!("{component}/{}@{at}", version.trim_start_matches('v'))),
            5 => entries.push(format!("{component}/{version}@{other}")),
            6 => entries.push(format!("hello2/{version}@{at}")),
            7 => entries.push(format!("{version}@{at}")),
            8 => entries.push(format!("{component}/v9.9.9@{at}")),
            _ => {}
        }
    }
    if !entries.is_empty() && d.percent(30) {
        let other = d.pick(&["delivery-kit/v1.0.0@2026-01-01T00:00:00Z", "nothing", "d8/v1.0.0@soon"]).to_owned();
        entries.insert(d.below(entries.len() + 1), other);
    }
    (!entries.is_empty()).then(|| entries.join(","))
}
