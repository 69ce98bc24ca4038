//! Random subjects of policies, and who acts.

use serde_json::{Value, json};

use super::Random;

/// The people for whom a policy is.
pub(super) fn subjects(d: &mut Random) -> Value {
    match d.below(5) {
        0 => json!({"users": ["alice"]}),
        1 => json!({"users": ["alice", "bob"]}),
        2 => json!({"groups": ["ops", "contractors"]}),
        3 => json!({"groups": ["contractors"], "users": ["bob"]}),
        _ => json!({"groups": ["contractors"]}),
    }
}

/// Adds who acts. The agent is no person, and may be the one that repairs.
pub(super) fn add_person(d: &mut Random, case: &mut Value) {
    let intent = case["intent"].as_str().unwrap_or_default();
    if intent == "A" || (intent == "R" && d.percent(30)) {
        return;
    }
    let groups = d.pick(&[&["contractors"][..], &["ops", "dev"], &["dev"], &[], &["contractors", "ops"]]);
    case["person"] = match d.below(4) {
        0 => Value::Null,
        _ => json!({"user": d.pick(&["alice", "bob", "eve", "eve"]), "groups": groups}),
    };
}
