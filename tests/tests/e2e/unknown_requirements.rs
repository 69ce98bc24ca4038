//! Requirements that the operator cannot check. Every command and the operator evaluate them alike.

use d8_crds::records::release::Fit;
use d8_tests::catalog::Plugin;
use d8_tests::{ADMIN, Lab, Result, objects};
use serde_json::{Value, json};

use crate::self_update::{Machine, publish};

/// The Modules cannot be read, by the operator or by a person: `plugins update`, `plugins install`, `policy diff` and
/// the operator all find v1.1.0 of the plugin held by `RequirementsUnknown`. d8 itself has no requirements.
#[test]
fn requirements_that_cannot_be_checked_are_a_hold() -> Result<()> {
    let lab = &mut Lab::start(|_| {})?;
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus"}]}});
    lab.publish(&Plugin::new("needy", "v1.0.0"))?;
    lab.publish(&Plugin::new("needy", "v1.1.0").with_requirements(needs))?;
    publish(lab, "v0.13.1")?;
    lab.create_releases(&["needy", "d8"])?;
    lab.wait_for_version("needy", "v1.1.0")?;
    lab.wait_for_version("d8", "v0.13.1")?;
    let alice = Machine::new(lab, "v0.13.1")?;
    alice.d8("plugins install needy --version v1.0.0")?.expect_code(0)?;

    lab.plane().kubectl(["delete", "crd", "modules.deckhouse.io"])?;
    lab.wait_for_release("needy", "modules unknown", |release| {
        let versions = release.status.iter().flat_map(|status| &status.versions);
        versions.filter(|recorded| recorded.version == "v1.1.0").any(|recorded| recorded.fit == Fit::Unknown)
    })?;

    for line in ["plugins update needy", "plugins install needy --version v1.1.0"] {
        let refused = alice.d8(line)?.expect_code(5)?;
        let command = format!("`d8 --skip-cluster-checks {line}`");
        for words in ["needy v1.1.0", "prometheus", &command, "D8_PLUGINS_SKIP_CLUSTER_CHECKS"] {
            assert!(refused.stderr.contains(words), "{line}: {words}: {refused:?}");
        }
    }
    let why = alice.d8("plugins why needy v1.1.0 -o json")?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    let row = &why["versions"][0];
    let reason = &row["reasons"][0];
    assert_eq!((&row["verdict"], &reason["code"]), (&json!("Held"), &json!("RequirementsUnknown")));
    assert_eq!((&reason["component"], &reason["version"]), (&json!("needy"), &json!("v1.1.0")));
    // Nothing is known of any module, so the requirement is on all of them.
    assert_eq!(reason["requirement"], json!({"kind": "Modules", "modules": ["prometheus"]}));
    assert!(reason["error"].is_string(), "{reason}");

    lab.apply_policy("auto", &json!({"hostSelector": {}, "defaults": {"updates": "Auto"}}))?;
    let policy = lab.wait_for_policy("auto", "its components", |policy| {
        policy.status.as_ref().is_some_and(|status| status.components.iter().any(|component| component.name == "needy"))
    })?;
    let status = policy.status.unwrap_or_default();
    let component = status.components.iter().find(|component| component.name == "needy");
    let component = component.unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(component.target.as_deref(), Some("v1.1.0"), "{component:?}");
    assert_eq!(component.hold.as_deref(), Some("RequirementsUnknown"), "{component:?}");

    let admin = Machine { user: lab.workstation(lab.plane().user(ADMIN))?, d8: alice.d8.clone() };
    admin.d8("plugins install needy --version v1.0.0")?.expect_code(0)?;
    let active = json!([{"name": "needy", "active": "v1.0.0", "state": "UpToDate"}]);
    lab.apply_host("bastion-1", "bastion", &json!({"platform": "linux-amd64", "components": active}))?;
    let file = admin.user.home().join("paused.json");
    let paused = objects::policy("auto", &json!({"hostSelector": {}, "paused": true})).to_string();
    std::fs::write(&file, paused).unwrap_or_else(|error| panic!("{error}"));
    let diff = admin.d8(&format!("policy diff -f {} -o json", file.display()))?.ok()?;
    let diff: Value = serde_json::from_str(&diff).unwrap_or_else(|error| panic!("{error}: {diff}"));
    let changes = diff["changes"].as_array().into_iter().flatten();
    let rows: Vec<Value> = changes.filter(|row| row["component"] == "needy").map(old_state).collect();
    let held = |host: Value| json!([host, "needy", "Held", "v1.1.0", "RequirementsUnknown"]);
    assert_eq!(rows, [held(json!("bastion-1")), held(Value::Null)]);

    // The person decides to go without the check.
    let updated = alice.d8("plugins update needy --skip-cluster-checks")?.expect_code(0)?;
    assert!(updated.stdout.contains("v1.1.0"), "{updated:?}");
    d8_itself(lab, &alice, &admin)
}

/// `cli update` and `policy diff` treat a record of d8 with `fit: Unknown` as they treat one of a plugin. An image of
/// d8 has no contract, so the fit is written into the record while the operator is stopped.
fn d8_itself(lab: &mut Lab, alice: &Machine, admin: &Machine) -> Result<()> {
    publish(lab, "v0.14.0")?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.14.0")?;
    lab.stop_operator()?;
    let versions = lab.get_release("d8").and_then(|release| release.status).unwrap_or_default().versions;
    let index = versions.iter().position(|recorded| recorded.version == "v0.14.0");
    let path = format!("/status/versions/{}", index.unwrap_or_else(|| panic!("{versions:?}")));
    let needs = json!({"modules": {"mandatory": [{"name": "prometheus"}]}});
    let edit = json!([
        {"op": "add", "path": format!("{path}/fit"), "value": "Unknown"},
        {"op": "add", "path": format!("{path}/requirements"), "value": needs},
    ])
    .to_string();
    lab.plane().kubectl(["patch", "clirelease", "d8", "--subresource=status", "--type=json", "-p", &edit])?;

    for line in ["cli update", "cli update --version v0.14.0"] {
        let refused = alice.d8(line)?.expect_code(5)?;
        let command = format!("`d8 --skip-cluster-checks {line}`");
        for words in ["v0.14.0", "prometheus", &command, "D8_PLUGINS_SKIP_CLUSTER_CHECKS"] {
            assert!(refused.stderr.contains(words), "{line}: {words}: {refused:?}");
        }
        assert_eq!(alice.version()?, "d8 v0.13.1");
    }
    let file = admin.user.home().join("paused.json");
    let diff = admin.d8(&format!("policy diff -f {} -o json", file.display()))?.ok()?;
    let diff: Value = serde_json::from_str(&diff).unwrap_or_else(|error| panic!("{error}: {diff}"));
    let changes = diff["changes"].as_array().into_iter().flatten();
    let rows: Vec<Value> = changes.filter(|row| row["component"] == "d8").map(old_state).collect();
    assert_eq!(rows, [json!([null, "d8", "Held", "v0.14.0", "RequirementsUnknown"])]);
    Ok(())
}

/// Host, component, and what is so before the edit: verdict, target and the code of the reason.
fn old_state(row: &Value) -> Value {
    let old = &row["old"];
    json!([row["host"], row["component"], old["verdict"], old["target"], old["reason"]["code"]])
}
