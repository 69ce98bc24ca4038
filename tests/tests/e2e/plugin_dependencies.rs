//! Plugins that a plugin needs and that are missing or damaged: what is said about them, and what mends them.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, objects};
use serde_json::json;

use crate::repair::{CUT, damage, publish};

/// Publishes `<prefix>-part` v1.0.0 and v1.1.0, and `<prefix>-whole`, which needs it.
fn publish_pair(lab: &Lab, prefix: &str) -> Result<(String, String)> {
    let (part, whole) = (format!("{prefix}-part"), format!("{prefix}-whole"));
    let needs = json!({"plugins": {"mandatory": [{"name": part, "constraint": "^1.0"}]}});
    publish(lab, &part, &["v1.0.0", "v1.1.0"])?;
    lab.publish(&Plugin::new(&whole, "v1.0.0").with_requirements(needs))?;
    lab.create_releases(&[&whole])?;
    lab.wait_for_version(&whole, "v1.0.0")?;
    Ok((part, whole))
}

#[test]
fn a_missing_dependency_is_restored() -> Result<()> {
    let lab = Lab::shared();
    let (part, whole) = publish_pair(lab, "missing")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", &whole])?.expect_code(0)?;
    for line in [&["install", &whole][..], &["update", &whole], &["update", "all"], &["install", &part]] {
        alice.d8(["plugins", "remove", &part])?.expect_code(0)?;
        let refused = alice.d8([&whole])?.expect_code(4)?;
        assert!(refused.stderr.contains(&format!("`d8 plugins install {part}`")), "{refused:?}");
        let restored = alice.d8(["plugins"].iter().chain(line).copied())?.expect_code(0)?;
        assert!(restored.stdout.contains(&format!("Installed {part} v1.1.0")), "{line:?}: {restored:?}");
        alice.d8([&whole])?.expect_code(0)?;
    }
    alice.d8(["plugins", "remove", &part])?.expect_code(0)?;
    let dry = alice.d8(["plugins", "install", &whole, "--dry-run"])?.expect_code(0)?;
    assert!(dry.stdout.contains(&format!("Would install {part} v1.1.0 (needed by {whole}).")), "{dry:?}");
    let refused = alice.d8(["plugins", "install", &whole, "--no-dependencies"])?.expect_code(4)?;
    assert!(refused.stderr.contains(&format!("`d8 plugins install {part} --version v1.1.0`")), "{refused:?}");

    let kept = alice.d8(["plugins", "update", &whole, "--no-dependencies"])?.expect_code(0)?;
    assert_eq!(kept.stderr.matches("warning").count(), 1, "{kept:?}");
    let note = format!("\nit needs {part} v1.1.0: `d8 plugins install {part} --version v1.1.0`\n");
    assert!(kept.stderr.contains(&note), "{kept:?}");

    lab.apply_policy("missing", &objects::one_rule(&part, &json!({"access": "Deny"})))?;
    let refused = alice.d8(["plugins", "install", &whole])?.expect_code(3)?;
    assert!(refused.stderr.contains("policy missing, rules[0]"), "{refused:?}");
    let kept = alice.d8(["plugins", "update", &whole])?.expect_code(0)?;
    assert!(kept.stdout.contains(&format!("Kept {whole}")) && kept.stderr.contains("policy missing"), "{kept:?}");

    // A repair does not hide what is missing.
    damage(&alice, &whole, CUT)?;
    for line in [&["install", &whole][..], &["install", &whole, "--force"], &["install", &whole, "--version", "1.0.0"]]
    {
        let refused = alice.d8(["plugins"].iter().chain(line).copied())?.expect_code(3)?;
        assert!(refused.stderr.contains("policy missing, rules[0]"), "{line:?}: {refused:?}");
    }
    let mended = alice.d8(["plugins", "update", &whole])?.expect_code(0)?;
    assert!(mended.stdout.contains(&format!("Repaired {whole} v1.0.0.")), "{mended:?}");
    assert!(mended.stderr.contains("policy missing"), "{mended:?}");

    lab.apply_policy("missing-too", &objects::one_rule(&whole, &json!({"versions": ">=7"})))?;
    let kept = alice.d8(["plugins", "update", &whole])?.expect_code(0)?;
    assert!(kept.stdout.contains(&format!("Kept {whole} v1.0.0 although a policy forbids it")), "{kept:?}");
    let refused = alice.d8(["plugins", "install", &whole])?.expect_code(3)?;
    assert!(refused.stderr.contains(&format!("a policy forbids {whole} v1.0.0")), "{refused:?}");
    Ok(())
}

#[test]
fn a_damaged_dependency_is_a_problem_of_the_machine() -> Result<()> {
    let lab = Lab::shared();
    let (part, whole) = publish_pair(lab, "cracked")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", &whole])?.expect_code(0)?;
    for command in ["truncate -s 10 versions/*/*-part", "rm -rf v1 versions ../../cache/contracts/cracked-part.json"] {
        damage(&alice, &part, command)?;
        let refused = alice.d8([&whole])?.expect_code(4)?;
        for words in ["damaged".to_owned(), format!("`d8 plugins install {part}`"), "plugins/cracked-part".to_owned()] {
            assert!(refused.stderr.contains(&words), "{command}, {words}: {refused:?}");
        }
        assert!(!refused.stderr.contains("--skip-cluster-checks"), "{command}: {refused:?}");
        alice.d8(["plugins", "install", &part])?.expect_code(0)?;
        alice.d8([&whole])?.expect_code(0)?;
    }
    damage(&alice, &part, "truncate -s 10 versions/*/*-part")?;
    let mended = alice.d8(["plugins", "install", &whole])?.expect_code(0)?;
    assert!(mended.stdout.contains(&format!("Repaired {part} v1.1.0 (needed by {whole}).")), "{mended:?}");
    alice.d8([&whole])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_damaged_dependency_of_a_new_plugin_is_repaired() -> Result<()> {
    let lab = Lab::shared();
    let (part, whole) = publish_pair(lab, "worn")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", &part])?.expect_code(0)?;
    damage(&alice, &part, "truncate -s 10 versions/*/*-part")?;
    let refused = alice.d8(["plugins", "install", &whole, "--no-dependencies"])?.expect_code(0)?;
    assert!(refused.stderr.contains(&format!("repair it: `d8 plugins install {part}`")), "{refused:?}");
    alice.d8(["plugins", "remove", &whole])?.expect_code(0)?;

    let installed = alice.d8(["plugins", "install", &whole])?.expect_code(0)?;
    let lines = format!("Repaired {part} v1.1.0 (needed by {whole}).\nInstalled {whole} v1.0.0.\n");
    assert_eq!(installed.stdout, lines, "{installed:?}");
    alice.d8([&whole])?.expect_code(0)?;
    Ok(())
}
