//! Random records.

use serde_json::{Value, json};

use super::{Random, Scenario, VERSIONS, ago, at, digest, put};

/// Returns a record of the component, or null.
pub(super) fn release(d: &mut Random, scenario: &Scenario) -> Value {
    if d.percent(8) {
        return Value::Null;
    }
    let mut versions = Vec::new();
    for (number, version) in VERSIONS.iter().enumerate() {
        if *version == scenario.version {
            if d.percent(6) {
                continue;
            }
        } else if d.percent(70) {
            continue;
        }
        let mut entry = json!({
            "version": version,
            "digest": digest(d.below(3)),
            "fit": d.pick(&["Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Fits", "Unfit", "Unknown"]),
        });
        if d.percent(97) {
            put(&mut entry, "firstSeen", at(scenario.now - ago(d)));
        }
        if d.percent(60) {
            put(
                &mut entry,
                "artifacts",
                json!([{"platform": "linux-amd64", "manifest": digest(d.below(4)), "layer": digest(d.below(4)),
                        "sizeBytes": 1000 + number}]),
            );
        }
        if d.percent(12) {
            put(&mut entry, "moved", json!({"from": digest(9), "at": at(scenario.now - ago(d).abs())}));
        }
        if d.percent(5) {
            put(&mut entry, "withdrawn", at(scenario.now - 3600));
        }
        versions.push(entry);
    }
    let synced = [60, 3 * 3600 + 1, 86_399, 86_400, 86_401, 200_000][if d.percent(70) { 0 } else { d.below(6) }];
    let mut status = json!({"versions": versions});
    if d.percent(99) {
        put(&mut status, "lastSyncTime", at(scenario.now - synced));
    }
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "CliRelease",
        "metadata": {"name": scenario.component},
        "spec": {"channel": "Prerelease"},
        "status": status,
    })
}

/// Removes the moves of all tags.
pub(super) fn without_moves(release: &mut Value) {
    let versions = release.pointer_mut("/status/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
        version.remove("moved");
    }
}

/// Moves the tag of the candidate.
pub(super) fn move_tag(release: &mut Value, scenario: &Scenario) {
    let versions = release.pointer_mut("/status/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter(|version| version["version"] == scenario.version) {
        // The age counts from the move.
        put(version, "moved", json!({"from": digest(9), "at": at(scenario.now - 3600)}));
        put(version, "firstSeen", at(scenario.now - 3600));
    }
}
