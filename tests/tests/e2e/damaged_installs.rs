//! Plugins that are damaged in ways that hide it, and plugins that policies refuse to run: what lists, runs, removals and
//! installs make of them.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, objects, run};
use serde_json::json;

use crate::repair::{CUT, damage, document, publish};

/// What policies refuse to run is neither called healthy nor said to be repairable.
#[test]
fn damaged_or_not_a_refused_plugin_is_shown_as_refused() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "banned", &["v1.0.0"])?;
    for (rule, state) in [(json!({"access": "Deny"}), "denied"), (json!({"block": ["v1.0.0"]}), "blocked")] {
        for command in ["true", CUT, "rm current", "rm -rf versions v1 ../../cache/contracts/banned.json"] {
            let alice = lab.new_workstation()?;
            alice.d8(["plugins", "install", "banned"])?.expect_code(0)?;
            let list = document(&alice, &["plugins", "list", "-o", "json"])?;
            assert_eq!(list[0]["state"], "ok", "{list}");
            damage(&alice, "banned", command)?;
            // Without the version, only a denial is known to hold for it.
            let is_unknown = command.contains("contracts");
            if is_unknown && state == "blocked" {
                continue;
            }
            lab.apply_policy("banned", &objects::one_rule("banned", &rule))?;
            let why = alice.d8(["plugins", "why", "banned"])?.expect_code(0)?;
            assert!(why.stdout.contains("may not run") && why.stderr.contains("`d8 plugins remove banned`"), "{why:?}");
            let list = alice.d8(["plugins", "list"])?.expect_code(0)?;
            assert!(list.stdout.contains(state) && list.stdout.contains("policy banned"), "{command}: {list:?}");
            assert!(list.stderr.contains("`d8 plugins remove banned`"), "{command}: {list:?}");
            assert!(!list.combined().contains("plugins install"), "{command}: {list:?}");
            let list = document(&alice, &["plugins", "list", "-o", "json"])?;
            assert_eq!((&list[0]["state"], &list[0]["refusal"]["policy"]), (&json!(state), &json!("banned")), "{list}");
            assert_eq!(list[0]["damage"].is_null(), command == "true", "{list}");
            let ran = alice.d8(["banned"])?.expect_code(3)?;
            assert!(
                ran.stderr.contains("policy banned") && ran.stderr.contains("`d8 plugins remove banned`"),
                "{ran:?}"
            );
            assert!(!ran.stderr.contains("plugins install"), "{command}: {ran:?}");
            alice.d8(["plugins", "remove", "banned"])?.expect_code(0)?;
            lab.plane().kubectl(["delete", "ppol", "banned"])?;
        }
    }
    Ok(())
}

/// A cached policy that cannot be read may refuse anything, so no plugin is called healthy.
#[test]
fn an_unreadable_cached_policy_is_no_reason_to_call_a_plugin_healthy() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "doubtful", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "doubtful"])?.expect_code(0)?;
    let truncate = ["-ec", "truncate -s 1 policy/*.json"];
    let directory = alice.home().join(".deckhouse-cli");
    let truncated = run("bash", truncate, |command| {
        command.current_dir(&directory);
    });
    truncated?.expect_code(0)?;
    let list = alice.d8(["plugins", "list", "-o", "json"])?.expect_code(0)?;
    assert!(list.stdout.contains(r#""state": "unknown""#) && list.stderr.contains("cached policies"), "{list:?}");
    alice.d8(["doubtful"])?.expect_code(3)?;
    Ok(())
}

/// A plugin that another one needs is damaged, and policies refuse to repair it.
#[test]
fn a_refused_dependency_is_not_said_to_be_repairable() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "lower", &["v1.0.0"])?;
    let needs = json!({"plugins": {"mandatory": [{"name": "lower", "constraint": ">=1"}]}});
    lab.publish(&Plugin::new("upper", "v1.0.0").with_requirements(needs))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "upper"])?.expect_code(0)?;
    damage(&alice, "lower", CUT)?;
    let ran = alice.d8(["upper"])?.expect_code(4)?;
    assert!(ran.stderr.contains("`d8 plugins install lower`"), "{ran:?}");
    lab.apply_policy("lower", &objects::one_rule("lower", &json!({"block": ["v1.0.0"]})))?;
    alice.d8(["plugins", "why", "lower"])?.expect_code(0)?;
    let ran = alice.d8(["upper"])?.expect_code(4)?;
    assert!(ran.stderr.contains("policy lower, rules[0].block"), "{ran:?}");
    assert!(ran.stderr.contains("`d8 plugins remove upper`") && !ran.stderr.contains("plugins install"), "{ran:?}");
    Ok(())
}

/// The C library of some systems passes such a file to a shell.
#[test]
fn a_file_that_is_no_program_is_not_run() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "garbled", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    for garbage in ["", "echo it ran", "truncated"] {
        alice.d8(["plugins", "install", "garbled"])?.expect_code(0)?;
        let write = match garbage {
            "truncated" => "head -c 5000 /bin/sh >v1/garbled".to_owned(),
            garbage => format!("echo '{garbage}' >v1/garbled"),
        };
        // As the d8 written in Go leaves it: no receipt, and a contract.
        damage(&alice, "garbled", &format!("rm -rf versions; {write}"))?;
        let list = document(&alice, &["plugins", "list", "-o", "json"])?;
        let why = document(&alice, &["plugins", "why", "garbled", "-o", "json"])?;
        assert_eq!((&list[0]["state"], &list[0]["version"]), (&json!("damaged"), &json!("v1.0.0")), "{list}");
        assert_eq!((&why["damage"], &why["active"]), (&list[0]["damage"], &list[0]["version"]), "{why:#}");
        let ran = alice.d8(["garbled"])?.expect_code(1)?;
        assert!(ran.stdout.is_empty() && ran.stderr.contains("`d8 plugins install garbled`"), "{garbage}: {ran:?}");
        assert_eq!(alice.d8(["plugins", "install", "garbled"])?.ok()?, "Repaired garbled v1.0.0.\n", "{garbage}");
    }
    let fallback = alice.home().join("other-d8");
    let write = |text: &str| std::fs::write(&fallback, text).unwrap_or_else(|error| panic!("{error}"));
    write("#!/bin/sh\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&fallback, mode).unwrap_or_else(|error| panic!("{error}"));
    let set = fallback.display().to_string();
    alice.d8(["cli", "fallback", "set", &set])?.expect_code(0)?;
    write("echo it ran\n");
    let ran = alice.d8(["mirror", "pull"])?.expect_code(1)?;
    assert!(ran.stdout.is_empty() && ran.stderr.contains("neither a program nor a script"), "{ran:?}");
    let refused = alice.d8(["cli", "fallback", "set", &set])?.expect_code(2)?;
    assert!(refused.stderr.contains("neither a program nor a script"), "{refused:?}");
    Ok(())
}

/// A request for another major version changes the active one only if it is damaged.
#[test]
fn another_major_version_that_is_held_changes_nothing() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "two-majors", &["v1.0.0", "v2.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "two-majors", "--version", "v1.0.0"])?.expect_code(0)?;
    lab.apply_policy("two-majors", &objects::one_rule("two-majors", &json!({"block": ["v2.0.0"]})))?;
    let line = ["plugins", "install", "two-majors", "--use-major", "2"];
    for force in [&[][..], &["--force"]] {
        let kept = alice.d8(line.iter().chain(force).copied())?.expect_code(0)?;
        assert!(kept.stdout.starts_with("Kept two-majors v1.0.0"), "{force:?}: {kept:?}");
    }
    damage(&alice, "two-majors", "rm current")?;
    assert_eq!(alice.d8(line)?.ok()?, "Repaired two-majors v1.0.0.\n");
    Ok(())
}
