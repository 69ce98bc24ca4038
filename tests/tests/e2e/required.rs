//! Plugins that policies require: commands name those that are missing, `update all` installs them, and they are not
//! removed. A policy that requires a plugin concerns `update all` of every workstation, so these tests have their own
//! labs.

use std::sync::OnceLock;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, objects};
use serde_json::{Value, json};

use crate::repair::{damage, publish};

/// Returns the lab of the tests that do not update all plugins.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::start(|_| {}).unwrap_or_else(|error| panic!("{error}")))
}

/// Applies a policy for every host with one rule, named after the plugin.
fn apply_rule(lab: &Lab, plugin: &str, fields: &Value) -> Result<()> {
    lab.apply_policy(plugin, &objects::one_rule(plugin, fields))
}

fn require(lab: &Lab, plugin: &str, fields: &Value) -> Result<()> {
    apply_rule(lab, plugin, &objects::with(json!({"access": "Require"}), fields))
}

const MISSING: &str = "required on this machine, but not installed: base (policy base); run `d8 plugins update all`";

fn is_installed(alice: &Workstation, plugin: &str) -> Result<bool> {
    let names = alice.d8(["plugins", "list", "-o", "name"])?.ok()?;
    Ok(names.lines().any(|name| name == plugin))
}

#[test]
fn commands_name_what_is_missing_and_update_all_installs_it() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "base", &["v1.0.0"])?;
    publish(lab, "extra", &["v1.0.0"])?;
    let (alice, bob) = (lab.new_workstation()?, lab.new_workstation()?);
    assert_eq!(bob.d8(["plugins", "update", "all"])?.ok()?, "No plugins are installed.\n");
    alice.d8(["plugins", "install", "extra"])?.expect_code(0)?;
    require(lab, "base", &json!({"updates": "Frozen"}))?;

    for line in [
        &["plugins", "install", "extra"][..],
        &["plugins", "update", "extra"],
        &["plugins", "why", "extra"],
        &["plugins", "why", "base"],
        &["plugins", "list"],
        &["policy", "get"],
        &["policy", "get", "--effective"],
        &["plugins", "remove", "extra"],
        &["plugins", "install", "extra"],
    ] {
        let told = alice.d8(line)?.expect_code(0)?;
        assert_eq!(told.stderr.matches(MISSING).count(), 1, "{line:?}: {told:?}");
        assert!(!told.stdout.contains(MISSING), "{line:?}: {told:?}");
    }
    // A command that fails names it, too, and scripts get documents without it.
    let failed = alice.d8(["cli", "check"])?.expect_code(1)?;
    assert!(failed.stderr.contains(MISSING), "{failed:?}");
    let list = alice.d8(["plugins", "list", "-o", "json"])?.expect_code(0)?;
    let document: Value = serde_json::from_str(&list.stdout).unwrap_or_else(|error| panic!("{error}: {list:?}"));
    assert_eq!(document.as_array().map(Vec::len), Some(1), "{document}");
    assert_eq!(list.stderr.trim_end(), MISSING);
    assert_eq!(alice.d8(["-q", "plugins", "why", "extra"])?.expect_code(0)?.stderr, "");
    let run = alice.d8(["extra"])?.expect_code(0)?;
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("This is extra v1.0.0.\n", ""));

    let planned = alice.d8(["plugins", "update", "all", "--dry-run"])?.expect_code(0)?;
    assert!(planned.stdout.contains("Would install base v1.0.0."), "{planned:?}");
    assert!(planned.stderr.contains("policy base, rules[0].access: base is required"), "{planned:?}");
    assert!(!is_installed(&alice, "base")?);
    // A machine without plugins gets it, too.
    for person in [&alice, &bob] {
        let updated = person.d8(["plugins", "update", "all"])?.expect_code(0)?;
        assert!(updated.stdout.contains("Installed base v1.0.0."), "{updated:?}");
        assert_eq!(person.d8(["base"])?.ok()?, "This is base v1.0.0.\n");
        assert!(!person.d8(["plugins", "list"])?.combined().contains("not installed"));
    }
    Ok(())
}

/// What holds a required plugin is told, and is no failure.
#[test]
fn update_all_tells_what_holds_a_required_plugin() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "fresh", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    let update = || -> Result<_> {
        let held = alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
        let line = "fresh is required, but no version of it can be installed on this machine now.\n";
        assert_eq!(held.stdout, line, "{held:?}");
        Ok(held.stderr)
    };
    require(lab, "fresh", &json!({"minAge": "72h"}))?;
    assert!(update()?.contains("policy fresh, rules[0].minAge: fresh v1.0.0 was first seen"));
    // The window begins in twelve hours.
    let start = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(12)).strftime("%H:%M").to_string();
    let windowed = |windows_for: &str| {
        let windows = json!({"windows": [{"start": start, "duration": "1h"}], "windowsFor": windows_for});
        objects::with(objects::one_rule("fresh", &json!({"access": "Require"})), &windows)
    };
    lab.apply_policy("fresh", &windowed("Everyone"))?;
    assert!(update()?.contains("policy fresh, windows: "));
    lab.apply_policy("fresh", &windowed("Agent"))?;
    alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert!(is_installed(&alice, "fresh")?);
    Ok(())
}

#[test]
fn a_required_plugin_that_is_not_published_fails_update_all() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "base", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    require(lab, "base", &json!({}))?;
    require(lab, "ghost", &json!({}))?;
    let failed = alice.d8(["plugins", "update", "all"])?.expect_code(1)?;
    assert!(failed.stderr.contains("ghost: plugin ghost is not published"), "{failed:?}");
    assert_eq!(alice.d8(["base"])?.ok()?, "This is base v1.0.0.\n", "the other one is installed");
    Ok(())
}

#[test]
fn require_refuses_removal_and_frozen_refuses_updates() -> Result<()> {
    let lab = lab();
    publish(lab, "needed", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "needed"])?.expect_code(0)?;
    apply_rule(lab, "needed", &json!({"access": "Require", "updates": "Frozen"}))?;
    alice.d8(["plugins", "why", "needed"])?.expect_code(0)?;
    let refused = alice.d8(["plugins", "remove", "needed"])?.expect_code(3)?;
    assert!(refused.stderr.contains("needed"), "{refused:?}");

    lab.publish(&Plugin::new("needed", "v1.1.0"))?;
    lab.request_poll("needed")?;
    lab.wait_for_version("needed", "v1.1.0")?;
    alice.d8(["plugins", "update", "needed"])?.expect_code(0)?;
    alice.d8(["plugins", "install", "needed", "--version", "v1.1.0"])?.expect_code(3)?;
    assert_eq!(alice.d8(["needed"])?.ok()?, "This is needed v1.0.0.\n");
    Ok(())
}

/// A removal reads the policies of the cluster as an install does, without another command before it.
#[test]
fn a_removal_follows_the_policies_of_the_cluster() -> Result<()> {
    let lab = lab();
    publish(lab, "leaving", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "leaving"])?.expect_code(0)?;
    apply_rule(lab, "leaving", &json!({"access": "Require"}))?;
    let refused = alice.d8(["plugins", "remove", "leaving"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy leaving") && !refused.stderr.contains("cached"), "{refused:?}");
    // Without a kubeconfig the cached policies count.
    let offline = alice.clone().with_env("KUBECONFIG", "/nonexistent");
    let refused = offline.d8(["plugins", "remove", "leaving"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy leaving") && refused.stderr.contains("cached"), "{refused:?}");
    lab.plane().kubectl(["delete", "ppol", "leaving"])?;
    offline.d8(["plugins", "remove", "leaving"])?.expect_code(3)?;
    assert_eq!(alice.d8(["plugins", "remove", "leaving"])?.ok()?, "Removed leaving.\n");
    // Nothing to remove: the cluster is not read.
    let absent = offline.d8(["plugins", "remove", "leaving"])?.expect_code(0)?;
    assert!(absent.stderr.is_empty(), "{absent:?}");
    Ok(())
}

/// Without `current` the versions and the history are still there.
#[test]
fn a_plugin_without_current_is_removed_unless_a_policy_requires_it() -> Result<()> {
    let lab = lab();
    publish(lab, "unlinked", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "unlinked", "--version", "v1.0.0"])?.expect_code(0)?;
    damage(&alice, "unlinked", "rm current")?;
    let before = alice.files();
    lab.apply_policy("unlinked", &objects::one_rule("unlinked", &json!({"access": "Require"})))?;
    let refused = alice.d8(["plugins", "remove", "unlinked"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy unlinked"), "{refused:?}");
    assert_eq!(alice.files().iter().filter(|file| !before.contains(file)).count(), 0, "{:?}", alice.files());
    lab.plane().kubectl(["delete", "ppol", "unlinked"])?;
    assert_eq!(alice.d8(["plugins", "remove", "unlinked"])?.ok()?, "Removed unlinked.\n");
    let left: Vec<_> = alice.files().into_iter().filter(|name| name.contains("unlinked")).collect();
    assert_eq!(left, [""; 0]);
    Ok(())
}
