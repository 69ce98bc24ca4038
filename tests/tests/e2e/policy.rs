//! What an admin writes is what everyone's next command obeys.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation};
use serde_json::{Value, json};

/// A policy for everybody with one rule.
fn rule(lab: &Lab, plugin: &str, fields: &Value) -> Result<()> {
    let mut rule = json!({"plugins": [plugin]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        rule[name] = value.clone();
    }
    lab.policy(plugin, &json!({"hostSelector": {}, "rules": [rule]}))
}

/// Verdict of one version, as `why` has it.
fn verdict(alice: &Workstation, plugin: &str, version: &str) -> Result<(String, Value)> {
    let why = alice.d8(["plugins", "why", plugin, "-o", "json"])?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    let row = why["versions"].as_array().into_iter().flatten().find(|row| row["version"] == version).cloned();
    let row = row.unwrap_or_else(|| panic!("{version} is not in {why:#}"));
    Ok((row["verdict"].as_str().unwrap_or_default().to_owned(), row["reasons"].clone()))
}

fn published(lab: &Lab, name: &str, versions: &[&str]) -> Result<()> {
    for version in versions {
        lab.publish(&Plugin::new(name, version))?;
    }
    lab.track(&[name])?;
    versions.iter().try_for_each(|version| lab.release_with(name, version).map(drop))
}

#[test]
fn an_edit_shows_in_the_next_why() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "edited", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    assert_eq!(verdict(&alice, "edited", "v1.1.0")?.0, "Eligible");

    rule(lab, "edited", &json!({"versions": "~1.0", "message": "ask the platform team"}))?;
    let (class, reasons) = verdict(&alice, "edited", "v1.1.0")?;
    assert_eq!(class, "Forbidden");
    let said = reasons.to_string();
    assert!(said.contains("edited") && said.contains("rules[0]") && said.contains("ask the platform team"), "{said}");
    assert_eq!(verdict(&alice, "edited", "v1.0.0")?.0, "Eligible");

    rule(lab, "edited", &json!({"versions": "^1.0"}))?;
    assert_eq!(verdict(&alice, "edited", "v1.1.0")?.0, "Eligible");
    Ok(())
}

#[test]
fn what_versions_forbid_is_passed_over_and_refused_by_name() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "bounded", &["v1.0.0", "v1.1.0"])?;
    rule(lab, "bounded", &json!({"versions": "<1.1"}))?;
    let alice = lab.new_workstation()?;
    let before = alice.files();
    let refused = alice.d8(["plugins", "install", "bounded", "--version", "v1.1.0"])?.expect_code(3)?;
    assert!(refused.stderr.contains("bounded") && refused.stderr.contains("rules[0]"), "{refused:?}");
    assert_eq!(alice.files(), before);
    alice.d8(["plugins", "install", "bounded"])?.expect_code(0)?;
    assert_eq!(alice.d8(["bounded"])?.ok()?, "This is bounded v1.0.0.\n");
    let kept = alice.d8(["plugins", "update", "bounded"])?.expect_code(0)?;
    assert!(kept.both().contains("v1.1.0"), "update says what it passed over: {kept:?}");
    Ok(())
}

#[test]
fn deny_refuses_installs_and_runs_and_lets_remove() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "denied", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "denied"])?.expect_code(0)?;
    rule(lab, "denied", &json!({"access": "Deny", "message": "see the runbook"}))?;

    let bob = lab.new_workstation()?;
    let before = bob.files();
    let refused = bob.d8(["plugins", "install", "denied"])?.expect_code(3)?;
    assert!(refused.stderr.contains("see the runbook"), "{refused:?}");
    assert_eq!(bob.files(), before);

    alice.d8(["plugins", "why", "denied"])?.expect_code(0)?;
    let refused = alice.d8(["denied"])?.expect_code(3)?;
    assert_eq!(refused.stdout, "");
    for informational in [["denied", "--version"], ["denied", "--help"], ["denied", "help"]] {
        alice.d8(informational)?.expect_code(0)?;
    }
    alice.d8(["plugins", "remove", "denied"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_blocked_version_does_not_run_and_update_leaves_it() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "harmful", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "harmful"])?.expect_code(0)?;
    rule(lab, "harmful", &json!({"block": ["1.1.0"]}))?;
    alice.d8(["plugins", "why", "harmful"])?.expect_code(0)?;
    alice.d8(["harmful"])?.expect_code(3)?;
    alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert_eq!(alice.d8(["harmful"])?.ok()?, "This is harmful v1.0.0.\n");
    Ok(())
}

#[test]
fn what_is_required_stays_and_what_is_frozen_does_not_move() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "needed", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "needed"])?.expect_code(0)?;
    rule(lab, "needed", &json!({"access": "Require", "updates": "Frozen"}))?;
    alice.d8(["plugins", "why", "needed"])?.expect_code(0)?;
    let refused = alice.d8(["plugins", "remove", "needed"])?.expect_code(3)?;
    assert!(refused.stderr.contains("needed"), "{refused:?}");

    lab.publish(&Plugin::new("needed", "v1.1.0"))?;
    lab.poll("needed")?;
    lab.release_with("needed", "v1.1.0")?;
    alice.d8(["plugins", "update", "needed"])?.expect_code(0)?;
    alice.d8(["plugins", "install", "needed", "--version", "v1.1.0"])?.expect_code(3)?;
    assert_eq!(alice.d8(["needed"])?.ok()?, "This is needed v1.0.0.\n");
    Ok(())
}

#[test]
fn a_soak_holds_and_says_so() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "gated", &["v1.0.0"])?;
    rule(lab, "gated", &json!({"minAge": "72h"}))?;
    let alice = lab.new_workstation()?;
    let (class, reasons) = verdict(&alice, "gated", "v1.0.0")?;
    assert_eq!(class, "Held", "{reasons}");
    alice.d8(["plugins", "install", "gated"])?.expect_code(3)?;
    Ok(())
}

#[test]
fn an_invalid_policy_is_not_accepted_and_names_the_field() -> Result<()> {
    let lab = Lab::shared();
    let spec = json!({
        "hostSelector": {"matchLabels": {"role": "none"}},
        "rules": [{"plugins": ["anything"], "versions": ">=one"}],
    });
    lab.policy("invalid", &spec)?;
    assert!(!lab.policy_accepted("invalid")?);
    let policy = lab.plugin_policy("invalid").and_then(|policy| policy.status).unwrap_or_default();
    let accepted = policy.conditions.iter().find(|condition| condition.type_ == "Accepted");
    let message = accepted.map(|condition| condition.message.clone()).unwrap_or_default();
    assert!(message.contains("rules[0].versions"), "{message}");
    Ok(())
}

#[test]
fn paused_stops_every_change_and_no_run() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    published(lab, "moving", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "moving"])?.expect_code(0)?;
    lab.publish(&Plugin::new("moving", "v1.1.0"))?;
    lab.poll("moving")?;
    lab.release_with("moving", "v1.1.0")?;

    lab.policy("pause", &json!({"hostSelector": {}, "paused": true}))?;
    alice.d8(["plugins", "install", "moving", "--version", "v1.1.0"])?.expect_code(3)?;
    let kept = alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert!(kept.both().contains("pause"), "{kept:?}");
    alice.d8(["plugins", "remove", "moving"])?.expect_code(3)?;
    lab.new_workstation()?.d8(["plugins", "install", "moving"])?.expect_code(3)?;
    assert_eq!(alice.d8(["moving"])?.ok()?, "This is moving v1.0.0.\n");

    lab.plane().kubectl(["delete", "ppol", "pause"])?;
    alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert_eq!(alice.d8(["moving"])?.ok()?, "This is moving v1.1.0.\n");
    Ok(())
}
