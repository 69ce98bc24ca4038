//! Damaged plugins: what is said about them, what mends them, and which policies stop that. Newer major versions.

use std::path::Path;
use std::process::Command;

use d8_tests::catalog::Plugin;
use d8_tests::proxy::serve;
use d8_tests::{Lab, Result, Workstation, objects, run};
use serde_json::{Value, json};

/// Publishes versions of a plugin and waits until they are in its record.
pub(crate) fn publish(lab: &Lab, name: &str, versions: &[&str]) -> Result<()> {
    versions.iter().try_for_each(|version| lab.publish(&Plugin::new(name, version)).map(drop))?;
    lab.create_releases(&[name])?;
    versions.iter().try_for_each(|version| lab.wait_for_version(name, version).map(drop))
}

/// Runs a shell command in the directory of a plugin.
pub(crate) fn damage(alice: &Workstation, name: &str, command: &str) -> Result<()> {
    let directory = alice.root().join("plugins").join(name);
    let run = run("bash", ["-ec", command], |command: &mut Command| {
        command.current_dir(directory);
    })?;
    run.expect_code(0).map(drop)
}

pub(crate) fn document(alice: &Workstation, line: &[&str]) -> Result<Value> {
    let text = alice.d8(line)?.ok()?;
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Damages after which the version is known from the contract, and from the history.
pub(crate) const CUT: &str = "truncate -s 10 versions/v1.0.0/*";
const CUT_WITHOUT_CONTRACT: &str = "truncate -s 10 versions/v1.0.0/*; rm ../../cache/contracts/$(basename $PWD).json";

#[test]
fn a_policy_that_forbids_changes_does_not_stop_a_repair() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "mended", &["v1.0.0", "v1.1.0"])?;
    for (what, spec) in [
        ("paused", json!({"hostSelector": {}, "paused": true})),
        ("frozen", objects::one_rule("mended", &json!({"updates": "Frozen"}))),
        ("versions", objects::one_rule("mended", &json!({"versions": ">=7"}))),
        ("minAge", objects::one_rule("mended", &json!({"minAge": "72h"}))),
    ] {
        for (command, install) in [
            (CUT, &["install", "mended"][..]),
            (CUT, &["install", "mended", "--force"]),
            (CUT, &["install", "mended", "--version", "v1.0.0"]),
            (CUT, &["update", "all"]),
            (CUT_WITHOUT_CONTRACT, &["install", "mended"]),
            ("rm -rf versions/v1.0.0", &["install", "mended", "--force"]),
            ("rm current", &["install", "mended"]),
            ("rm -rf current v1 ../../cache/contracts/mended.json", &["install", "mended"]),
            ("rm current; rm versions/v1.0.0/*", &["install", "mended"]),
        ] {
            let alice = lab.new_workstation()?;
            alice.d8(["plugins", "install", "mended", "--version", "v1.0.0"])?.expect_code(0)?;
            damage(&alice, "mended", command)?;
            lab.apply_policy("stops", &spec)?;
            let mended = alice.d8(["plugins"].iter().chain(install).copied())?;
            assert_eq!(mended.code(), 0, "{what}, {command}, {install:?}: {mended:?}");
            assert_eq!(alice.d8(["mended"])?.stdout, "This is mended v1.0.0.\n", "{what}, {command}: {mended:?}");
            let list = document(&alice, &["plugins", "list", "-o", "json"])?;
            assert_eq!((&list[0]["version"], &list[0]["damage"]), (&json!("v1.0.0"), &Value::Null), "{what}: {list}");
            lab.plane().kubectl(["delete", "ppol", "stops"])?;
        }
    }
    // The version is not known: nothing names it. A repair that is not possible is a failure.
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "mended", "--version", "v1.0.0"])?.expect_code(0)?;
    damage(&alice, "mended", "rm -rf versions v1 ../../cache/contracts/mended.json")?;
    lab.apply_policy("stops", &json!({"hostSelector": {}, "paused": true}))?;
    let refused = alice.d8(["plugins", "install", "mended", "--force"])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy stops, paused") && refused.stderr.contains("damaged"), "{refused:?}");
    alice.d8(["plugins", "install", "mended", "--version", "v1.0.0"])?.expect_code(3)?;
    Ok(())
}

#[test]
fn deny_and_block_stop_a_repair_and_a_reinstallation() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "barred", &["v1.0.0"])?;
    for rule in [json!({"access": "Deny"}), json!({"block": ["v1.0.0"]})] {
        for damaged in [true, false] {
            let alice = lab.new_workstation()?;
            alice.d8(["plugins", "install", "barred"])?.expect_code(0)?;
            if damaged {
                damage(&alice, "barred", CUT)?;
            }
            lab.apply_policy("barred", &objects::one_rule("barred", &rule))?;
            let before = alice.files();
            for line in [&["--force"][..], &["--version", "v1.0.0"], &["--version", "v1.0.0", "--force"]] {
                let refused = alice.d8(["plugins", "install", "barred"].iter().chain(line).copied())?;
                assert_eq!(refused.code(), 3, "{rule}, {line:?}: {refused:?}");
                assert!(refused.stderr.contains("policy barred, rules[0]"), "{rule}, {line:?}: {refused:?}");
                assert!(refused.stderr.contains("`d8 plugins "), "it names no next command: {refused:?}");
            }
            alice.d8(["plugins", "install", "barred"])?.expect_code(3)?;
            let changed: Vec<_> = alice.files().into_iter().filter(|name| !before.contains(name)).collect();
            assert_eq!(changed, [""; 0], "{rule}");
            lab.plane().kubectl(["delete", "ppol", "barred"])?;
        }
    }
    Ok(())
}

#[test]
fn list_why_and_runs_name_the_damage_and_the_command() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "chipped", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "chipped"])?.expect_code(0)?;
    for (command, file, version) in [
        (CUT, "versions/v1.0.0", Some("v1.0.0")),
        ("rm -rf v1", "plugins/chipped/v1", Some("v1.0.0")),
        ("rm -rf v1 && touch v1", "plugins/chipped/v1", Some("v1.0.0")),
        ("rm current", "plugins/chipped/current: it is missing", Some("v1.0.0")),
        ("rm -rf current v1", "plugins/chipped/current: it is missing", Some("v1.0.0")),
        ("printf X | dd of=v1/chipped bs=1 seek=60 conv=notrunc", "v1/chipped", Some("v1.0.0")),
        ("rm -rf v1 versions ../../cache/contracts/chipped.json", "plugins/chipped/v1", None),
    ] {
        damage(&alice, "chipped", command)?;
        let list = alice.d8(["plugins", "list"])?.expect_code(0)?;
        assert!(list.stdout.contains("damaged") && list.stdout.contains(file), "{command}: {list:?}");
        assert!(list.stderr.contains("`d8 plugins install chipped`"), "{command}: {list:?}");
        let ran = alice.d8(["chipped"])?.expect_code(1)?;
        assert!(ran.stderr.contains(file) && ran.stderr.contains("`d8 plugins install chipped`"), "{command}: {ran:?}");

        let why = alice.d8(["plugins", "why", "chipped"])?.expect_code(0)?;
        assert!(!why.stdout.contains("not installed") && why.stdout.contains(file), "{command}: {why:?}");
        assert!(why.stderr.contains("`d8 plugins install chipped`"), "{command}: {why:?}");
        let why = document(&alice, &["plugins", "why", "chipped", "-o", "json"])?;
        assert_eq!((why["active"].as_str(), &why["installed"]), (version, &json!(true)), "{command}: {why:#}");
        assert!(why["damage"].as_str().is_some_and(|damage| damage.contains(file)), "{command}: {why:#}");
        assert_eq!(why["next"][0]["command"], "d8 plugins install chipped", "{command}: {why:#}");
        alice.d8(["plugins", "install", "chipped"])?.expect_code(0)?;
        assert_eq!(alice.d8(["chipped"])?.ok()?, "This is chipped v1.0.0.\n", "{command}");
    }
    Ok(())
}

#[test]
fn files_in_place_of_directories_are_removed_and_links_are_not_followed() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("blocky", "v1.0.0"))?;
    for command in [
        "cd .. && rm -rf blocky && touch blocky",
        "cd .. && rm -rf blocky && ln -s $OUTSIDE blocky",
        "rm -rf v1 && touch v1",
        "rm -rf v1 && ln -s $OUTSIDE v1",
        "rm -rf versions && touch versions",
        "rm -rf versions && ln -s $OUTSIDE versions",
        "rm v1/blocky && mkdir -p v1/blocky/more",
        "cd ../../cache/contracts && rm blocky.json && mkdir -p blocky.json/more",
    ] {
        let alice = lab.new_workstation()?;
        let outside = alice.home().join("outside");
        std::fs::create_dir(&outside).expect("a directory");
        std::fs::write(outside.join("blocky"), "not a plugin").expect("a file");
        let command = command.replace("$OUTSIDE", &outside.display().to_string());
        alice.d8(["plugins", "install", "blocky"])?.expect_code(0)?;
        damage(&alice, "blocky", &command)?;
        alice.d8(["plugins", "remove", "blocky"])?.expect_code(0)?;
        let left: Vec<_> = alice.files().into_iter().filter(|name| name.contains("blocky")).collect();
        assert_eq!(left, [""; 0], "{command}");
        assert_eq!(std::fs::read_to_string(outside.join("blocky")).ok().as_deref(), Some("not a plugin"), "{command}");
        alice.d8(["plugins", "install", "blocky"])?.expect_code(0)?;
        alice.d8(["blocky"])?.expect_code(0)?;
    }
    // A repair that fails leaves what was there.
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "blocky"])?.expect_code(0)?;
    damage(&alice, "blocky", "cd .. && rm -rf blocky && echo kept >blocky")?;
    let offline = alice.clone().with_env("D8_RPP_ENDPOINT", "https://127.0.0.1:1");
    offline.d8(["plugins", "install", "blocky"])?.expect_code(5)?;
    let entry = alice.root().join("plugins/blocky");
    assert_eq!(std::fs::read_to_string(entry).ok().as_deref(), Some("kept\n"), "{:?}", alice.files());
    Ok(())
}

#[test]
fn a_newer_major_version_is_named() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("major", "v3.0.0-rc.1"))?;
    publish(lab, "major", &["v1.0.0", "v2.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "major", "--version", "v1.0.0"])?.expect_code(0)?;
    let command = "`d8 plugins install major --use-major 2`";
    // For all plugins there is one line, so that it does not repeat for each.
    let line_of_all = "newer major versions exist: major v2.0.0; see `d8 plugins why NAME`";
    for (line, words) in
        [(&["update", "major"][..], command), (&["update", "all"], line_of_all), (&["install", "major"], command)]
    {
        let kept = alice.d8(["plugins"].iter().chain(line).copied())?.expect_code(0)?;
        assert!(kept.stderr.contains(words) && !kept.stderr.contains("v3.0.0"), "{line:?}: {kept:?}");
    }
    let why = alice.d8(["plugins", "why", "major"])?.expect_code(0)?;
    assert!(why.stderr.contains(command), "{why:?}");
    let why = document(&alice, &["plugins", "why", "major", "-o", "json"])?;
    assert_eq!(why["next"][0]["command"], "d8 plugins install major --use-major 2", "{why:#}");

    lab.apply_policy("major", &objects::one_rule("major", &json!({"versions": "<2"})))?;
    let kept = alice.d8(["plugins", "update", "major"])?.expect_code(0)?;
    assert!(kept.stderr.contains("policy major, rules[0].versions") && !kept.stderr.contains(command), "{kept:?}");
    // Inside `why`, nothing refers to `why`.
    for line in [&["plugins", "why", "major"][..], &["plugins", "why", "major", "-o", "json"]] {
        let why = alice.d8(line)?.expect_code(0)?;
        assert!(!why.combined().contains("d8 plugins why major"), "{why:?}");
    }
    lab.plane().kubectl(["delete", "ppol", "major"])?;

    alice.d8(["plugins", "install", "major", "--use-major", "2"])?.expect_code(0)?;
    let newest = alice.d8(["plugins", "update", "major"])?.expect_code(0)?;
    assert!(!newest.stderr.contains("--use-major"), "{newest:?}");
    Ok(())
}

/// The exit code is that of the request, not of what happens to the active version.
#[test]
fn a_version_that_is_refused_is_a_failure() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "asked", &["v1.0.0", "v1.1.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "asked", "--version", "v1.0.0"])?.expect_code(0)?;
    lab.apply_policy("asked", &objects::one_rule("asked", &json!({"block": ["v1.1.0"]})))?;
    for (command, force) in [("true", &["--force"][..]), (CUT, &[]), (CUT, &["--force"])] {
        for (version, code) in [("v1.1.0", 3), ("v9.9.9", 1)] {
            damage(&alice, "asked", command)?;
            let before = alice.files();
            let line = ["plugins", "install", "asked", "--version", version];
            let refused = alice.d8(line.iter().chain(force).copied())?.expect_code(code)?;
            assert!(refused.stderr.contains(version) && refused.stdout.is_empty(), "{command}, {force:?}: {refused:?}");
            assert_eq!(alice.files(), before, "{command}, {force:?}, {version}");
        }
        let line = ["plugins", "install", "asked", "--use-major", "1"];
        alice.d8(line.iter().chain(force).copied())?.expect_code(0)?;
        assert_eq!(alice.d8(["asked"])?.ok()?, "This is asked v1.0.0.\n", "{command}, {force:?}");
    }
    Ok(())
}

#[test]
fn force_downloads_and_a_repair_does_not() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "again2", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    let offline = alice.clone().with_env("D8_RPP_ENDPOINT", "https://127.0.0.1:1");
    alice.d8(["plugins", "install", "again2"])?.expect_code(0)?;
    for command in ["true", "rm -rf v1"] {
        damage(&alice, "again2", command)?;
        offline.d8(["plugins", "install", "again2", "--force"])?.expect_code(5)?;
        offline.d8(["plugins", "install", "again2"])?.expect_code(0)?;
        alice.d8(["plugins", "install", "again2", "--force"])?.expect_code(0)?;
    }
    Ok(())
}

#[test]
fn a_damaged_contract_is_repaired() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "signed", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "signed"])?.expect_code(0)?;
    let stored = alice.root().join("plugins/signed/versions/v1.0.0/contract.json");
    let contract = std::fs::read_to_string(&stored).expect("a contract");
    for command in [
        "truncate -s 10 versions/v1.0.0/contract.json",
        "rm versions/v1.0.0/contract.json",
        "truncate -s 10 versions/v1.0.0/contract.json ../../cache/contracts/signed.json",
        "truncate -s 10 ../../cache/contracts/signed.json",
    ] {
        damage(&alice, "signed", command)?;
        let list = document(&alice, &["plugins", "list", "-o", "json"])?;
        assert!(list[0]["damage"].as_str().is_some_and(|damage| damage.contains(".json")), "{command}: {list}");
        let mended = alice.d8(["plugins", "install", "signed"])?.expect_code(0)?;
        assert_eq!(mended.stdout, "Repaired signed v1.0.0.\n", "{command}: {mended:?}");
        assert_eq!(std::fs::read_to_string(&stored).ok().as_ref(), Some(&contract), "{command}");
        assert_eq!(alice.d8(["signed"])?.ok()?, "This is signed v1.0.0.\n", "{command}");
    }
    Ok(())
}

/// Nothing is said about damage where there is none.
#[test]
fn an_install_of_another_tool_is_not_called_damaged() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "foreign", &["v1.0.0"])?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "foreign"])?.expect_code(0)?;
    damage(&alice, "foreign", "rm -rf versions ../../cache/contracts/foreign.json")?;
    lab.apply_policy("foreign", &objects::one_rule("foreign", &json!({"versions": ">=7"})))?;
    let refused = alice.d8(["plugins", "install", "foreign", "--force"])?.expect_code(3)?;
    assert!(refused.stderr.contains("another tool") && !refused.stderr.contains("damaged"), "{refused:?}");
    assert!(refused.stderr.contains("--version VERSION"), "{refused:?}");
    Ok(())
}

/// A proxy of generation 1 sends a contract only with the whole layer.
#[test]
fn a_note_about_a_newer_major_version_downloads_nothing() -> Result<()> {
    let lab = Lab::shared();
    for version in ["v1.0.0", "v2.0.0"] {
        lab.publish(&Plugin::new("noted", version))?;
    }
    let flags = ["--layout".into(), lab.proxy().layout().into(), "--generation".into(), "1".into()];
    let (server, address) = serve(lab.plane(), "noted-1", flags)?;
    let alice = lab.new_workstation()?.with_env("D8_RPP_ENDPOINT", format!("https://{address}"));
    let alice = alice.with_env("D8_RPP_CA_FILE", lab.plane().ca_file());
    let downloads = |version: &str| {
        let log = server.log();
        log.lines().filter(|line| line.contains("plugins/noted/") && line.contains(version)).count()
    };
    alice.d8(["plugins", "install", "noted", "--version", "v1.0.0"])?.expect_code(0)?;
    for line in [&["update", "noted"][..], &["install", "noted"], &["install", "noted", "--force"]] {
        let kept = alice.d8(["plugins"].iter().chain(line).copied())?.expect_code(0)?;
        assert!(kept.stderr.contains("(v2.0.0): `d8 plugins install noted --use-major 2`"), "{line:?}: {kept:?}");
    }
    assert_eq!(downloads("v2.0.0"), 0, "{}", server.log());
    assert!(downloads("v1.0.0") > 0, "{}", server.log());
    lab.apply_policy("noted", &objects::one_rule("noted", &json!({"versions": "<2"})))?;
    let kept = alice.d8(["plugins", "update", "noted"])?.expect_code(0)?;
    assert!(kept.stderr.contains("exists, but: policy noted, rules[0].versions"), "{kept:?}");
    assert_eq!(downloads("v2.0.0"), 0, "{}", server.log());
    Ok(())
}

#[test]
fn a_reinstallation_says_so() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("again", "v1.3.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "again"])?.expect_code(0)?;
    let dry = alice.d8(["plugins", "install", "again", "--force", "--dry-run"])?.ok()?;
    assert_eq!(dry, "Would reinstall again v1.3.0.\n");
    assert_eq!(alice.d8(["plugins", "install", "again", "--force"])?.ok()?, "Reinstalled again v1.3.0.\n");
    damage(&alice, "again", "rm -rf v1")?;
    assert_eq!(alice.d8(["plugins", "install", "again", "--dry-run"])?.ok()?, "Would repair again v1.3.0.\n");
    assert_eq!(alice.d8(["plugins", "install", "again"])?.ok()?, "Repaired again v1.3.0.\n");
    Ok(())
}

/// A usage line shows what was typed, not the environment. A root that can hold no file is named as such.
#[test]
fn usage_and_roots() -> Result<()> {
    let alice = Lab::shared().new_workstation()?;
    let usage = alice.d8(["plugins", "install"])?.expect_code(2)?;
    assert!(usage.stderr.contains("Usage: d8 plugins install"), "{usage:?}");
    assert!(!usage.stderr.contains("--plugins-dir"), "{usage:?}");
    for line in [&["plugins", "install", "again"][..], &["plugins", "remove", "again", "--yes"]] {
        let there = Path::new("/proc/no-root");
        let refused = alice.clone().with_env("DECKHOUSE_CLI_PATH", there).d8(line)?;
        assert!(!refused.stderr.contains("belongs to another user"), "{refused:?}");
        assert!(refused.code() == 0 || refused.stderr.contains("created in /proc"), "{refused:?}");
    }
    Ok(())
}
