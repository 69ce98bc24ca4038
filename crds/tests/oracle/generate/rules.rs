//! Random rules, and fields that rules, `cli` and `defaults` have.

use serde_json::{Value, json};

use super::{AGES, CONSTRAINTS, Random, Scenario, VERSIONS, block, digest, put};

/// Adds fields that rules, `cli` and `defaults` have.
pub(super) fn common(d: &mut Random, rule: &mut Value, share: usize) {
    if d.percent(share) {
        put(rule, "channel", d.pick(&["Stable", "Prerelease", "Prerelease"]));
    }
    if d.percent(share * 2) {
        put(rule, "updates", d.pick(&["Auto", "Auto", "Auto", "Auto", "Manual", "Frozen"]));
    }
    if d.percent(share) {
        put(rule, "majorUpdates", d.pick(&["Stay", "Cross", "Cross"]));
    }
    if d.percent(share) {
        put(rule, "minAge", d.pick(&AGES));
    }
}

/// A version for a list of a policy: often the candidate, sometimes without its `v`.
pub(super) fn listed(d: &mut Random, scenario: &Scenario) -> String {
    let version = if d.percent(50) { scenario.version } else { d.pick(&VERSIONS) };
    if d.percent(10) { version.trim_start_matches('v').to_owned() } else { version.to_owned() }
}

pub(super) fn rule_fields(d: &mut Random, scenario: &Scenario, rule: &mut Value) {
    common(d, rule, 25);
    if d.percent(30) {
        put(rule, "versions", d.pick(&CONSTRAINTS));
    }
    if d.percent(18) {
        let entries = block::entries(d, scenario);
        put(rule, "block", entries);
    }
    if d.percent(12) {
        put(rule, "expedite", vec![listed(d, scenario)]);
    }
    if d.percent(15) {
        let mut pins = vec![json!({"version": listed(d, scenario), "digest": digest(d.below(4))})];
        if d.percent(20) {
            pins.push(json!({"version": listed(d, scenario), "digest": digest(d.below(4))}));
        }
        put(rule, "pins", pins);
    }
    if d.percent(5) {
        put(rule, "message", "Runbook: https://wiki.example/x");
    }
}

pub(super) fn rule(d: &mut Random, scenario: &Scenario) -> Value {
    let names: &[&[&str]] = &[
        &["stronghold"],
        &["stronghold"],
        &["*"],
        &["*"],
        &["delivery-*"],
        &["strong*", "delivery-kit"],
        &["my*"],
        &["my_plugin"],
    ];
    let plugins = d.pick(names);
    let mut rule = json!({"plugins": plugins});
    match d.below(20) {
        0 | 1 => {
            put(&mut rule, "access", "Deny");
            return rule;
        }
        2..=6 => put(&mut rule, "access", "Allow"),
        7..=10 if !plugins.iter().any(|name| name.ends_with('*')) => put(&mut rule, "access", "Require"),
        _ => {}
    }
    rule_fields(d, scenario, &mut rule);
    rule
}
