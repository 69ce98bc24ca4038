//! The reason beside `old -> new`: what stops the old target after the edit.

use super::*;

/// v1.3.0 of the tool was seen a day ago. Without the edit, the host on v1.2.0 takes it now or when its hold ends.
#[test]
fn the_reason_is_what_stops_the_former_target() {
    let spec = |rule: Value, more: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto"}, "rules": [{"plugins": ["tool"]}]});
        spec["rules"][0].as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let none = json!({});
    let plain = spec(none.clone(), none.clone());
    let soak = json!({"minAge": "48h"});
    let blackout = |from: &str, to: &str| json!({"blackouts": [{"from": from, "to": to, "reason": "black friday"}]});
    let later = blackout("2026-11-23T00:00:00", "2026-11-25T00:00:00");
    let before = blackout("2026-11-22T00:00:00", "2026-11-23T00:00:00");
    for (managed, old, new, expected) in [
        // The hold ends in a blackout that has not begun yet.
        (
            true,
            spec(soak.clone(), none.clone()),
            spec(soak.clone(), later.clone()),
            "Held v1.3.0 Blackout 2026-11-25T00:00:00Z",
        ),
        (
            false,
            spec(soak.clone(), none.clone()),
            spec(soak.clone(), json!({"blackouts": later["blackouts"], "windowsFor": "Everyone"})),
            "no change",
        ),
        (true, plain.clone(), spec(none.clone(), before.clone()), "Held v1.3.0 Blackout 2026-11-23T00:00:00Z"),
        // A blackout that ends before the hold stops nothing.
        (true, spec(soak.clone(), none.clone()), spec(soak.clone(), before), "no change"),
        (
            true,
            spec(soak.clone(), none.clone()),
            spec(json!({"minAge": "72h"}), none.clone()),
            "Held v1.3.0 Soaking 2026-11-24T12:00:00Z",
        ),
        (
            true,
            spec(soak.clone(), none.clone()),
            spec(json!({"minAge": "48h", "versions": "<1.3"}), none.clone()),
            "Eligible v1.2.0 VersionNotPermitted",
        ),
        (true, plain.clone(), spec(json!({"updates": "Frozen"}), later), "Held v1.3.0 Frozen"),
        // Nothing would have changed by itself.
        (
            true,
            spec(json!({"updates": "Manual"}), none.clone()),
            spec(json!({"updates": "Frozen"}), none.clone()),
            "Held v1.3.0 Frozen",
        ),
        // The version comes earlier.
        (true, spec(soak, none.clone()), plain, "Eligible v1.3.0"),
    ] {
        let found = diff(&machine(managed, &[("tool", "v1.2.0")]), &[policy("p", &old)], &[policy("p", &new)]);
        let shown = found.first().map_or("no change".to_owned(), |change| {
            let impact = change.new.as_ref();
            let until = impact.and_then(|impact| impact.reason.as_ref()?.until());
            let until = until.map(|until| format!(" {until}")).unwrap_or_default();
            format!("{}{until}", super::shown(impact))
        });
        assert_eq!(shown, expected, "{old} -> {new}");
    }
}
