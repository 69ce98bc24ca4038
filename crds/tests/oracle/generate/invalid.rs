//! Policies that are invalid, or that cannot be decoded.

use serde_json::{Value, json};

use super::{Field, Random, Scenario, put};

/// Makes a policy invalid or undecodable.
pub(super) fn invalidate(d: &mut Random, scenario: &Scenario, spec: &mut Value, status: &mut Value, generation: usize) {
    if d.percent(30) && !scenario.fields.is_empty() {
        let of = scenario.fields[d.below(scenario.fields.len())];
        field(d, of, spec);
        return;
    }
    match d.below(20) {
        // Invalid.
        0 => put(spec, "windows", json!([])),
        1 => put(spec, "windows", json!([{"start": "25:00", "duration": "1h"}])),
        2 => put(spec, "windows", json!([{"start": "02:00", "duration": "1h", "timeZone": "Mars/Olympus"}])),
        3 => put(spec, "windows", json!([{"start": "02:00", "duration": "soon"}])),
        4 => put(spec, "rollout", json!({"over": d.pick(&["59s", "721h", "2 days"])})),
        5 => put(spec, "defaults", json!({"minAge": "three days"})),
        6 => put(spec, "rules", json!([{"plugins": ["stronghold"], "versions": ">>1"}])),
        7 => put(spec, "rules", json!([{"plugins": ["strong*"], "access": "Require"}])),
        8 => put(spec, "rules", json!([{"plugins": ["stronghold"], "access": "Deny", "versions": "<2"}])),
        9 => put(
            spec,
            "rules",
            json!([{"plugins": ["stronghold"], "block": [d.pick(&[">>1", "newest", "1.3.2.1", "~", "<1.3.01", "1.3 -"])]}]),
        ),
        10 => put(spec, "cli", json!({"pins": [{"version": "v1.3.3", "digest": "sha256:abc"}]})),
        11 => put(
            spec,
            "hostSelector",
            json!({"matchExpressions": [{"key": "role", "operator": "Like", "values": ["a"]}]}),
        ),
        12 => put(spec, "hostSelector", json!({"matchExpressions": [{"key": "role", "operator": "In"}]})),
        13 => put(spec, "defaults", json!({"access": "Require"})),
        14 => put(
            status,
            "conditions",
            json!([{
                "type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.rules[0]: …",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation,
            }]),
        ),
        // Undecodable.
        15 => put(spec, "rules", json!([{"plugins": ["stronghold"], "access": "Perhaps"}])),
        16 => put(spec, "rules", json!("none")),
        17 => put(spec, "defaults", json!({"updates": "Weekly"})),
        18 => put(spec, "integrity", json!({"movedTags": "Ask"})),
        _ => put(spec, "hostSelector", json!("everyone")),
    }
}

/// Makes a field invalid or undecodable.
fn field(d: &mut Random, field: Field, spec: &mut Value) {
    let blackout = |from: &str, to: &str| json!({"from": from, "to": to, "reason": "Audit"});
    match field {
        Field::Blackouts => put(
            spec,
            "blackouts",
            match d.below(7) {
                0 => json!([blackout("tomorrow", "2026-12-01T00:00")]),
                1 => json!([blackout("2026-13-01T00:00", "2026-12-01T00:00")]),
                2 => json!([blackout("2026-11-01T00:00Z", "2026-12-01T00:00Z")]),
                3 => {
                    json!([{"from": "2026-11-01T00:00", "to": "2026-12-01T00:00", "reason": "a", "timeZone": "Mars/Olympus"}])
                }
                4 => Value::Array(vec![blackout("2026-11-01T00:00", "2026-12-01T00:00"); 33]),
                // Undecodable.
                5 => json!([{"from": "2026-11-01T00:00", "to": "2026-12-01T00:00"}]),
                _ => json!({"from": "2026-11-01T00:00"}),
            },
        ),
        Field::WindowsFor => put(spec, "windowsFor", "Nobody"),
        Field::Emergency => {
            put(spec, "emergency", json!({"until": d.pick(&["2026-12-01T00:00:00Z", "2030-01-01T00:00:00Z"])}));
            put(spec, "paused", true);
        }
        Field::CanaryPercent => {
            let percent = [0, 51, 100, -1][d.below(4)];
            put(spec, "rollout", json!({"over": "48h", "canaryPercent": percent}));
        }
        Field::RequireSucceeded => {
            put(spec, "rollout", json!({"over": "48h", "requireSucceeded": {"hosts": 1, "for": "1h"}}));
        }
        Field::Resume | Field::ExpediteOfMoved => put(spec, "rollout", json!({"over": "48h", "resume": true})),
        Field::Subjects => put(spec, "subjects", json!({"users": d.pick(&["alice", "bob"])})),
    }
}

/// Makes a policy undecodable: adds a field that the schema does not have at this place.
pub(super) fn add_unknown_field(d: &mut Random, spec: &mut Value) {
    let places = [
        "",
        "/hostSelector",
        "/hostSelector/matchExpressions/0",
        "/defaults",
        "/rules/0",
        "/rules/1",
        "/rules/0/pins/0",
        "/cli",
        "/windows/0",
        "/rollout",
        "/rollout/canarySelector",
        "/integrity",
    ];
    let places: Vec<&str> =
        places.into_iter().filter(|place| spec.pointer(place).is_some_and(Value::is_object)).collect();
    let place = d.pick(&places);
    let field = match place {
        "/defaults" => d.pick(&["versions", "block", "later"]),
        "/cli" => d.pick(&["access", "plugins", "later"]),
        "/rules/0" => d.pick(&["paused", "later"]),
        _ => "later",
    };
    if let Some(object) = spec.pointer_mut(place) {
        put(object, field, d.pick(&["Allow", "v1.3.3"]));
    }
}
