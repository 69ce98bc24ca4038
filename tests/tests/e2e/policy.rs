//! Policies: the next command of every user obeys an edit.

use d8_tests::catalog::{self, Plugin};
use d8_tests::{Lab, Result, Workstation, objects, oci, status};
use serde_json::{Value, json};

/// Applies a policy for every host with one rule, named after the plugin.
fn apply_rule(lab: &Lab, plugin: &str, fields: &Value) -> Result<()> {
    lab.apply_policy(plugin, &objects::one_rule(plugin, fields))
}

/// Returns the verdict and the reasons of one version in the output of `why`.
fn verdict(alice: &Workstation, plugin: &str, version: &str) -> Result<(String, Value)> {
    let why = alice.d8(["plugins", "why", plugin, "-o", "json"])?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    let row = why["versions"].as_array().into_iter().flatten().find(|row| row["version"] == version).cloned();
    let row = row.unwrap_or_else(|| panic!("{version} is not in {why:#}"));
    Ok((row["verdict"].as_str().unwrap_or_default().to_owned(), row["reasons"].clone()))
}

fn publish(lab: &Lab, name: &str, versions: &[&str]) -> Result<()> {
    for version in versions {
        lab.publish(&Plugin::new(name, version))?;
    }
    lab.create_releases(&[name])?;
    versions.iter().try_for_each(|version| lab.wait_for_version(name, version).map(drop))
}

#[test]
fn why_shows_an_edit() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "edited", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    assert_eq!(verdict(&alice, "edited", "v1.1.0")?.0, "Eligible");

    apply_rule(lab, "edited", &json!({"versions": "~1.0", "message": "ask the platform team"}))?;
    let (class, reasons) = verdict(&alice, "edited", "v1.1.0")?;
    assert_eq!(class, "Forbidden");
    let reasons = reasons.to_string();
    for text in ["edited", "rules[0]", "ask the platform team"] {
        assert!(reasons.contains(text), "{text}: {reasons}");
    }
    assert_eq!(verdict(&alice, "edited", "v1.0.0")?.0, "Eligible");

    apply_rule(lab, "edited", &json!({"versions": "^1.0"}))?;
    assert_eq!(verdict(&alice, "edited", "v1.1.0")?.0, "Eligible");
    Ok(())
}

#[test]
fn a_version_outside_versions_is_skipped_and_refused() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "bounded", &["v1.0.0", "v1.1.0"])?;
    apply_rule(lab, "bounded", &json!({"versions": "<1.1"}))?;
    let alice = lab.new_workstation()?;
    let before = alice.files();
    let refused = alice.d8(["plugins", "install", "bounded", "--version", "v1.1.0"])?.expect_code(3)?;
    assert!(refused.stderr.contains("bounded") && refused.stderr.contains("rules[0]"), "{refused:?}");
    assert_eq!(alice.files(), before);
    alice.d8(["plugins", "install", "bounded"])?.expect_code(0)?;
    assert_eq!(alice.d8(["bounded"])?.ok()?, "This is bounded v1.0.0.\n");
    let kept = alice.d8(["plugins", "update", "bounded"])?.expect_code(0)?;
    assert!(kept.combined().contains("v1.1.0"), "update lists the skipped version: {kept:?}");
    Ok(())
}

#[test]
fn deny_refuses_installs_and_runs_but_not_removal() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "denied", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "denied"])?.expect_code(0)?;
    apply_rule(lab, "denied", &json!({"access": "Deny", "message": "see the runbook"}))?;

    let bob = lab.new_workstation()?;
    let before = bob.files();
    let refused = bob.d8(["plugins", "install", "denied"])?.expect_code(3)?;
    assert!(refused.stderr.contains("see the runbook"), "{refused:?}");
    assert_eq!(bob.files(), before);

    alice.d8(["plugins", "why", "denied"])?.expect_code(0)?;
    let refused = alice.d8(["denied"])?.expect_code(3)?;
    assert_eq!(refused.stdout, "");
    for informational in [["denied", "--version"], ["denied", "--help"], ["denied", "help"]] {
        // d8 cannot know that the plugin takes these arguments as it would itself.
        alice.d8(informational)?.expect_code(3)?;
    }
    alice.d8(["plugins", "remove", "denied"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_blocked_version_does_not_run_and_update_replaces_it() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "harmful", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "harmful"])?.expect_code(0)?;
    apply_rule(lab, "harmful", &json!({"block": ["1.1.0"]}))?;
    alice.d8(["plugins", "why", "harmful"])?.expect_code(0)?;
    alice.d8(["harmful"])?.expect_code(3)?;
    alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert_eq!(alice.d8(["harmful"])?.ok()?, "This is harmful v1.0.0.\n");
    Ok(())
}

/// The image under v1.2.0 and v1.2.4 is the same, and moving tags point at it, as publishers in the field do it.
#[test]
fn a_block_holds_for_the_same_layer_and_moving_tags_hide_no_version() -> Result<()> {
    let lab = Lab::shared();
    let layout = lab.proxy().layout();
    let image = catalog::image("relabelled");
    let push = |tag: &str, version: &str| {
        let layer = oci::layer(&[oci::Entry::file("plugin", catalog::script("relabelled", version))]);
        oci::push(layout, &image, tag, &layer, &json!({})).map(drop)
    };
    push("v1.0.0", "v1.0.0")?;
    for tag in ["v1.2.0", "v1.2.4", "v1", "v1.2", "latest", "20240101"] {
        push(tag, "v1.2.4")?;
    }
    lab.create_releases(&["relabelled"])?;
    let release = lab.wait_for_version("relabelled", "v1.2.4")?;
    let found = status::of_release(&release);
    let names: Vec<&str> = found.versions.iter().map(|version| version.version.as_str()).collect();
    assert_eq!(names, ["v1.2.4", "v1.2.0", "v1.0.0"]);
    let left_out: Vec<&str> = found.left_out_tags.tags.iter().map(|tag| tag.tag.as_str()).collect();
    assert_eq!((found.left_out_tags.count, left_out), (4, vec!["20240101", "latest", "v1", "v1.2"]));

    let alice = lab.new_workstation()?;
    let why = alice.d8(["plugins", "why", "relabelled"])?.ok()?;
    assert!(why.contains("4 published tags are left out:") && why.contains("`v1.2` is not a version"), "{why}");
    alice.d8(["plugins", "install", "relabelled", "--version", "v1.0.0"])?.expect_code(0)?;
    alice.d8(["plugins", "install", "relabelled", "--version", "v1.2.0"])?.expect_code(0)?;

    apply_rule(lab, "relabelled", &json!({"block": ["v1.2.4"], "updates": "Auto"}))?;
    let (class, reasons) = verdict(&alice, "relabelled", "v1.2.0")?;
    assert_eq!((class.as_str(), &reasons[0]["sameLayerAs"]), ("Forbidden", &json!("v1.2.4")), "{reasons}");
    assert_eq!(verdict(&alice, "relabelled", "v1.0.0")?.0, "Eligible");
    let run = alice.d8(["relabelled"])?.expect_code(3)?;
    assert!(run.stderr.contains("v1.2.0 has the same layer as v1.2.4, which is blocked"), "{run:?}");
    let bob = lab.new_workstation()?;
    let refused = bob.d8(["plugins", "install", "relabelled", "--version", "v1.2.0"])?.expect_code(3)?;
    assert!(refused.stderr.contains("v1.2.0 has the same layer as v1.2.4"), "{refused:?}");
    bob.d8(["plugins", "install", "relabelled"])?.expect_code(0)?;
    assert_eq!(bob.d8(["relabelled"])?.ok()?, "This is relabelled v1.0.0.\n");
    Ok(())
}

#[test]
fn a_blocked_version_without_a_replacement_fails_the_update() -> Result<()> {
    let lab = Lab::shared();
    for name in ["stuck", "going"] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
    }
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "stuck", "going"])?.expect_code(0)?;
    lab.publish(&Plugin::new("going", "v1.1.0"))?;
    lab.publish(&Plugin::new("going", "v2.0.0"))?;
    apply_rule(lab, "stuck", &json!({"block": ["v1.0.0"]}))?;
    for line in [["plugins", "update", "stuck"], ["plugins", "update", "all"], ["plugins", "upgrade", "stuck"]] {
        let refused = alice.d8(line)?.expect_code(3)?;
        for words in ["stuck v1.0.0 may not run", "v1.0.0 is blocked", "`d8 plugins why stuck`"] {
            assert!(refused.stderr.contains(words), "{line:?}: {words}: {refused:?}");
        }
    }
    assert_eq!(alice.d8(["going"])?.ok()?, "This is going v1.1.0.\n", "the others are updated");
    let all = alice.d8(["plugins", "update", "all"])?.expect_code(3)?;
    assert!(all.stderr.contains("newer major versions exist: going v2.0.0; see `d8 plugins why NAME`"), "{all:?}");
    let one = alice.d8(["plugins", "update", "going"])?.expect_code(0)?;
    assert!(one.stderr.contains("`d8 plugins install going --use-major 2`"), "{one:?}");
    let listed = alice.d8(["plugins", "ls", "-o", "name"])?.ok()?;
    assert_eq!(listed, "going\nstuck\n");
    for (line, command) in [
        (&["plugins", "install", "going@v1.1.0"][..], "`d8 plugins install going --version v1.1.0`"),
        (&["plugins", "why", "going@v1.1.0"], "`d8 plugins why going v1.1.0`"),
        (&["plugins", "search", "going"], "`kubectl get clireleases`"),
    ] {
        let refused = alice.d8(line)?.expect_code(2)?;
        assert!(refused.stderr.contains(command), "{line:?}: {refused:?}");
    }
    Ok(())
}

/// A failure of one plugin stops neither the others nor their report.
#[test]
fn an_update_of_several_plugins_continues_after_a_failure() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "halting", &["v1.0.0"])?;
    publish(lab, "walking", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "halting", "walking"])?.expect_code(0)?;
    apply_rule(lab, "halting", &json!({"block": ["v1.0.0"]}))?;
    lab.publish(&Plugin::new("walking", "v1.1.0"))?;
    lab.request_poll("walking")?;
    lab.wait_for_version("walking", "v1.1.0")?;
    let failed = alice.d8(["plugins", "update", "nowhere", "halting", "walking"])?.expect_code(1)?;
    assert_eq!(failed.stdout, "Switched walking from v1.0.0 to v1.1.0.\n", "{failed:?}");
    for words in [
        "failed to update halting, nowhere",
        "halting v1.0.0 may not run",
        "nowhere is not installed",
        "plugins install nowhere",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {failed:?}");
    }
    // Without a failure of another kind, the policy's exit code stays.
    let failed = alice.d8(["plugins", "update", "walking", "halting"])?.expect_code(3)?;
    assert_eq!(failed.stdout, "walking v1.1.0 is already active.\n", "{failed:?}");
    let one = alice.d8(["plugins", "update", "nowhere"])?.expect_code(1)?;
    assert!(one.stderr.starts_with("error: nowhere is not installed\n"), "the cluster is not read: {one:?}");
    Ok(())
}

#[test]
fn min_age_holds_an_install() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "gated", &["v1.0.0"])?;
    apply_rule(lab, "gated", &json!({"minAge": "72h"}))?;
    let alice = lab.new_workstation()?;
    let (class, reasons) = verdict(&alice, "gated", "v1.0.0")?;
    assert_eq!(class, "Held", "{reasons}");
    alice.d8(["plugins", "install", "gated"])?.expect_code(3)?;
    Ok(())
}

#[test]
fn condition_accepted_names_the_invalid_field() -> Result<()> {
    let lab = Lab::shared();
    let spec = json!({
        "hostSelector": {"matchLabels": {"role": "none"}},
        "rules": [{"plugins": ["anything"], "versions": ">=one"}],
    });
    lab.apply_policy("invalid", &spec)?;
    assert!(!lab.wait_for_accepted("invalid")?);
    let conditions = lab.get_policy("invalid").and_then(|policy| policy.status).unwrap_or_default().conditions;
    let message = status::condition_message(&conditions, "Accepted");
    assert!(message.contains("rules[0].versions"), "{message}");
    Ok(())
}

#[test]
fn paused_refuses_changes_and_permits_runs() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "moving", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "moving"])?.expect_code(0)?;
    lab.publish(&Plugin::new("moving", "v1.1.0"))?;
    lab.request_poll("moving")?;
    lab.wait_for_version("moving", "v1.1.0")?;

    lab.apply_policy("pause", &json!({"hostSelector": {}, "paused": true}))?;
    alice.d8(["plugins", "install", "moving", "--version", "v1.1.0"])?.expect_code(3)?;
    let kept = alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert!(kept.combined().contains("pause"), "{kept:?}");
    alice.d8(["plugins", "remove", "moving"])?.expect_code(3)?;
    lab.new_workstation()?.d8(["plugins", "install", "moving"])?.expect_code(3)?;
    assert_eq!(alice.d8(["moving"])?.ok()?, "This is moving v1.0.0.\n");

    lab.plane().kubectl(["delete", "ppol", "pause"])?;
    alice.d8(["plugins", "update", "all"])?.expect_code(0)?;
    assert_eq!(alice.d8(["moving"])?.ok()?, "This is moving v1.1.0.\n");
    Ok(())
}
