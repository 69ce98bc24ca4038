//! Policies for people: the API server says who acts, and d8 keeps that for runs without it.

use std::path::PathBuf;

use d8_tests::catalog::Plugin;
use d8_tests::{CONTRACTORS, Lab, Result, Workstation, objects};
use serde_json::{Value, json};

/// Contractors may have one plugin. Everyone else may have all.
fn policy() -> Value {
    json!({
        "hostSelector": {},
        "subjects": {"groups": [CONTRACTORS]},
        "defaults": {"access": "Deny"},
        "rules": [{"plugins": ["permitted"], "access": "Allow"}],
    })
}

/// Installs both plugins as a contractor and as somebody else, before there is a policy.
fn start() -> Result<(Lab, Workstation, Workstation)> {
    let lab = Lab::start(|_| {})?;
    for name in ["permitted", "other"] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
    }
    let contractor = lab.plane().contractor();
    lab.allow_download(&contractor.user)?;
    let (carl, alice) = (lab.workstation(contractor)?, lab.new_workstation()?);
    for person in [&carl, &alice] {
        person.d8(["plugins", "install", "permitted", "other"])?.expect_code(0)?;
    }
    Ok((lab, carl, alice))
}

fn why(person: &Workstation, plugin: &str) -> Result<Value> {
    let why = person.d8(["plugins", "why", plugin, "-o", "json"])?.ok()?;
    Ok(serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}")))
}

/// Runs both plugins. `other` may run only for some.
fn assert_runs(person: &Workstation, other_runs: bool) -> Result<()> {
    person.d8(["permitted"])?.expect_code(0)?;
    let other = person.d8(["other"])?.expect_code(if other_runs { 0 } else { 3 })?;
    assert!(other_runs || other.stderr.contains("policy contractors, defaults.access"), "{other:?}");
    Ok(())
}

/// The file in which d8 keeps who a person is.
fn kept(person: &Workstation) -> PathBuf {
    let directory = person.home().join(".deckhouse-cli/policy/users");
    let files = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
    let [file] = &files[..] else { panic!("not one file: {files:?}") };
    file.clone()
}

#[test]
fn contractors_may_have_one_plugin_and_others_all() -> Result<()> {
    let (mut lab, carl, alice) = start()?;
    let file =
        lab.plane().scratch().write("contractors.json", objects::policy("contractors", &policy()).to_string())?;
    let file = file.display().to_string();
    for (person, expected) in [(&carl, "other"), (&alice, "it changes nothing for you")] {
        let diff = person.d8(["policy", "diff", "-f", &file])?.ok()?;
        assert!(diff.contains(expected), "{diff}");
    }
    lab.apply_policy("contractors", &policy())?;
    assert!(lab.wait_for_accepted("contractors")?);

    for (person, policies, runs) in [(&carl, json!(["contractors"]), false), (&alice, json!([]), true)] {
        let report = why(person, "other")?;
        assert_eq!(report["user"], json!(person.identity().user), "{report:#}");
        assert_eq!((&report["policies"], &report["runAllowed"]), (&policies, &json!(runs)), "{report:#}");
        let shown = person.d8(["plugins", "why", "other"])?.ok()?;
        assert!(shown.contains(&format!("policies for this host as {}:", person.identity().user)), "{shown}");
        assert_runs(person, runs)?;
        assert!(!person.root().join("policy/users").exists(), "the root may be shared");
    }
    let refused = carl.d8(["plugins", "install", "other", "--force"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy contractors"), "{refused:?}");
    alice.d8(["plugins", "install", "other", "--force"])?.expect_code(0)?;
    let effective = carl.d8(["policy", "get", "--effective"])?.ok()?;
    for text in [" as carl\n", "policy contractors is for groups contractors\n", "Deny"] {
        assert!(effective.contains(text), "{text:?} is not in {effective}");
    }

    // What is kept counts without the cluster. For somebody who is not known, only Deny and block count.
    lab.plane_mut().stop_api_server();
    assert_runs(&carl, false)?;
    assert_runs(&alice, true)?;
    std::fs::remove_file(kept(&alice)).unwrap_or_else(|error| panic!("{error}"));
    assert_runs(&alice, false)?;
    lab.plane_mut().start_api_server()?;
    assert_eq!(why(&alice, "other")?["runAllowed"], true);
    assert_runs(&alice, true)?;
    Ok(())
}

#[test]
fn where_the_cluster_does_not_say_who_a_person_is_only_deny_and_block_count() -> Result<()> {
    let (lab, carl, alice) = start()?;
    carl.d8(["plugins", "remove", "permitted"])?.expect_code(0)?;
    let mut held = policy();
    held["paused"] = json!(true);
    lab.apply_policy("contractors", &held)?;
    assert!(lab.wait_for_accepted("contractors")?);
    let refused = carl.d8(["plugins", "install", "permitted"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy contractors, paused"), "{refused:?}");
    assert_eq!(why(&alice, "other")?["runAllowed"], true);
    assert_runs(&alice, true)?;

    // Nobody may ask who they are.
    lab.plane().kubectl(["delete", "clusterrolebinding", "system:basic-user"])?;
    let refused = || {
        let asked = lab.plane().kubectl_as(alice.identity(), ["auth", "whoami"]);
        asked.is_ok_and(|asked| asked.code() != 0).then_some(())
    };
    d8_tests::process::wait_for("the permission to be revoked", std::time::Duration::from_secs(20), refused)?;
    for person in [&carl, &alice] {
        let report = why(person, "other")?;
        assert_eq!((&report["user"], &report["runAllowed"]), (&Value::Null, &json!(false)), "{report:#}");
        let shown = person.d8(["plugins", "why", "other"])?.ok()?;
        assert!(shown.contains("as a person who is not known to the cluster: contractors"), "{shown}");
        // `paused` does not count.
        person.d8(["plugins", "install", "permitted"])?.expect_code(0)?;
        assert_runs(person, false)?;
    }
    Ok(())
}
