//! `d8 plugins why --host`: the verdicts for the agent of a managed host, from its `CliHost`.

use d8_tests::{Lab, Result, Workstation};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::policy_commands::admin;
use crate::repair::{document, publish};

/// Starts a lab with hosts on which `tool` v1.0.0 is active, and one where it is missing.
fn start() -> Result<(Lab, Workstation)> {
    let lab = Lab::start(|_| {})?;
    publish(&lab, "tool", &["v1.0.0", "v1.1.0"])?;
    lab.create_releases(&["tool"])?;
    lab.wait_for_version("tool", "v1.1.0")?;
    let active = json!({"platform": "linux-amd64", "lastSeen": Timestamp::now(), "components": [
        {"name": "tool", "active": "v1.0.0", "state": "UpToDate"},
    ]});
    for (name, role) in [("bastion-1", "bastion"), ("ci-1", "ci"), ("ungoverned-1", "none")] {
        lab.apply_host(name, role, &active)?;
    }
    lab.apply_host("bastion-2", "bastion", &json!({"platform": "linux-amd64"}))?;
    let failed = json!({"platform": "linux-amd64", "lastSeen": Timestamp::now() - SignedDuration::from_hours(30), "components": [{
        "name": "tool", "active": "v1.0.0", "target": "v1.1.0", "state": "Failed", "reason": "SmokeTestFailed",
        "message": "exit status 1\u{1b}[31m",
    }]});
    lab.apply_host("bastion-3", "bastion", &failed)?;
    lab.apply_host("exotic-1", "ci", &objects_of_other_platform())?;
    let alice = admin(&lab)?;
    Ok((lab, alice))
}

fn objects_of_other_platform() -> Value {
    json!({"platform": "linux-riscv64", "components": [{"name": "tool", "active": "v1.0.0", "state": "UpToDate"}]})
}

fn why(alice: &Workstation, host: &str) -> Result<Value> {
    document(alice, &["plugins", "why", "tool", "--host", host, "-o", "json"])
}

/// Returns verdict and codes of one version.
fn verdict(why: &Value, version: &str) -> Value {
    let row = why["versions"].as_array().into_iter().flatten().find(|row| row["version"] == version);
    let row = row.unwrap_or_else(|| panic!("{version} is not in {why:#}"));
    let codes: Vec<_> = row["reasons"].as_array().into_iter().flatten().map(|reason| &reason["code"]).collect();
    json!([row["verdict"], codes])
}

#[test]
fn why_evaluates_for_the_agent_of_a_host() -> Result<()> {
    let (lab, alice) = start()?;
    // The window of the bastions begins in twelve hours; workstations and the other hosts have none.
    let start = (Timestamp::now() + SignedDuration::from_hours(12)).strftime("%H:%M").to_string();
    let bastions = json!({
        "hostSelector": {"matchLabels": {"role": "bastion"}},
        "windows": [{"start": start, "duration": "1h"}],
        "rules": [{"plugins": ["tool"], "access": "Require", "updates": "Auto"}],
    });
    lab.apply_policy("bastions", &bastions)?;
    lab.apply_policy(
        "ci",
        &json!({
            "hostSelector": {"matchLabels": {"role": "ci"}},
            "rules": [{"plugins": ["tool"], "updates": "Manual", "versions": ">1.0.0"}],
        }),
    )?;

    let bastion = why(&alice, "bastion-1")?;
    assert_eq!(verdict(&bastion, "v1.1.0"), json!(["Held", ["OutsideWindow"]]), "{bastion:#}");
    assert_eq!((&bastion["host"], &bastion["active"]), (&json!("bastion-1"), &json!("v1.0.0")));
    assert_eq!((&bastion["policies"], &bastion["target"]), (&json!(["bastions"]), &json!("v1.1.0")));
    assert_eq!(bastion["requiredBy"], json!({"policy": "bastions", "field": "rules[0].access"}));
    let next = &bastion["nextVersion"];
    assert_eq!(next["version"], "v1.1.0", "{bastion:#}");
    assert!(next["at"].as_str().is_some_and(|at| at.contains(&format!("T{start}:00Z"))), "{start}: {next}");
    let text = alice.d8(["plugins", "why", "tool", "--host", "bastion-1"])?.expect_code(0)?;
    for line in [
        "tool: v1.0.0 is active on bastion-1\n",
        "policies for bastion-1: bastions\n",
        "target: v1.1.0; next: v1.1.0 at ",
    ] {
        assert!(text.stdout.contains(line), "{line}: {text:?}");
    }
    assert!(text.stderr.starts_with("cluster: lab (https://"), "{text:?}");

    // What the host reported is shown as it is, and how long ago.
    assert_eq!(bastion["reported"]["state"], "UpToDate", "{bastion:#}");
    assert!(text.stdout.contains("\nbastion-1 reported UpToDate "), "{text:?}");
    let failed = alice.d8(["plugins", "why", "tool", "--host", "bastion-3"])?.ok()?;
    let line = failed.lines().find(|line| line.starts_with("bastion-3 reported")).unwrap_or_default();
    assert!(line.starts_with("bastion-3 reported Failed (SmokeTestFailed) 30h ago, at "), "{failed}");
    assert!(line.contains("its agent may not be running: exit status 1\\u{1b}[31m"), "{failed}");
    // Commands are for that host.
    assert!(failed.contains("run `d8 plugins update tool` on bastion-3"), "{failed}");
    let silent = alice.d8(["plugins", "why", "tool", "--host", "bastion-2"])?.ok()?;
    assert!(silent.contains("bastion-2 has not reported yet"), "{silent}");
    // d8 itself is a component of the host, and not a plugin of this machine.
    let d8 = alice.d8(["plugins", "why", "d8"])?.expect_code(2)?;
    assert!(d8.stderr.contains("`d8 cli check`"), "{d8:?}");

    // The agent installs what is required, and only that.
    let missing = why(&alice, "bastion-2")?;
    assert_eq!((&missing["installed"], &missing["nextVersion"]["version"]), (&json!(false), &json!("v1.1.0")));
    // A version that must be replaced still runs; here nothing waits for time.
    let ci = why(&alice, "ci-1")?;
    assert_eq!(verdict(&ci, "v1.0.0")[0], "Forbidden", "{ci:#}");
    assert_eq!(verdict(&ci, "v1.1.0"), json!(["Held", ["Manual"]]));
    assert_eq!((&ci["runAllowed"], &ci["mustReplace"]["policy"]), (&json!(true), &json!("ci")), "{ci:#}");
    assert_eq!((&ci["target"], &ci["nextVersion"]), (&Value::Null, &Value::Null));
    let text = alice.d8(["plugins", "why", "tool", "--host", "ci-1"])?.ok()?;
    assert!(text.contains("v1.0.0 is active on ci-1; it must be replaced, and still runs"), "{text}");
    assert!(text.contains("Forbidden: must be replaced, still runs"), "{text}");
    let ungoverned = why(&alice, "ungoverned-1")?;
    assert_eq!(verdict(&ungoverned, "v1.1.0")[1][0], "NotGoverned", "{ungoverned:#}");
    let exotic = why(&alice, "exotic-1")?;
    assert_eq!(verdict(&exotic, "v1.1.0")[0], "Unfit", "{exotic:#}");
    // For this machine no policy applies.
    let here = document(&alice, &["plugins", "why", "tool", "-o", "json"])?;
    assert_eq!(verdict(&here, "v1.1.0"), json!(["Eligible", []]));
    assert!(here.get("nextVersion").is_none() && here["cluster"] == "lab", "{here:#}");
    Ok(())
}

#[test]
fn why_of_a_host_that_cannot_be_read() -> Result<()> {
    let (lab, alice) = start()?;
    let unknown = alice.d8(["plugins", "why", "tool", "--host", "bastoin-1"])?.expect_code(1)?;
    assert!(unknown.stderr.contains("there is bastion-1"), "{unknown:?}");
    let stranger = lab.new_workstation()?.d8(["plugins", "why", "tool", "--host", "bastion-1"])?.expect_code(5)?;
    for words in ["may not read clihosts", "--clusterrole=d8:cli:fleet-viewer"] {
        assert!(stranger.stderr.contains(words), "{words}: {stranger:?}");
    }
    let mistyped = alice.d8(["plugins", "why", "tol", "--host", "bastion-1"])?.expect_code(1)?;
    assert!(mistyped.stderr.contains("`d8 plugins why tool`"), "{mistyped:?}");
    let unrecorded = alice.d8(["plugins", "why", "other", "--host", "bastion-1"])?.expect_code(1)?;
    assert!(unrecorded.stderr.contains("kubectl apply -f -"), "{unrecorded:?}");
    let unpublished = alice.d8(["plugins", "why", "tool", "v9.9.9", "--host", "bastion-1"])?.expect_code(1)?;
    assert!(unpublished.stderr.contains("`d8 plugins why tool`"), "{unpublished:?}");
    Ok(())
}
