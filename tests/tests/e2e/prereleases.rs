//! Plugins whose pre-releases are published, with records that list releases only.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result};
use serde_json::{Value, json};

#[test]
fn a_plugin_with_nothing_but_prereleases_names_the_newest() -> Result<()> {
    let lab = Lab::shared();
    for version in ["v1.0.0-rc.1", "v1.0.0-rc.2"] {
        lab.publish(&Plugin::new("unripe", version))?;
    }
    lab.create_releases(&["unripe"])?;
    lab.wait_for_release("unripe", "a sync", |record| {
        record.status.as_ref().is_some_and(|status| status.last_sync_time.is_some())
    })?;
    let alice = lab.new_workstation()?;
    let command = "`d8 plugins install unripe --version v1.0.0-rc.2`";
    let refused = alice.d8(["plugins", "install", "unripe"])?.expect_code(1)?;
    for words in ["only pre-releases of unripe are published, the newest is v1.0.0-rc.2", command] {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    assert!(!refused.stderr.contains("no plugin named"), "{refused:?}");
    let why = alice.d8(["plugins", "why", "unripe"])?.expect_code(0)?;
    assert!(why.stdout.contains("Only pre-releases are published."), "{why:?}");
    assert!(why.stdout.contains("v1.0.0-rc.2  Held") && why.stdout.contains("v1.0.0-rc.1  Held"), "{why:?}");
    assert!(why.stderr.contains(&format!("to take v1.0.0-rc.2: {command}")), "{why:?}");

    alice.d8(["plugins", "install", "unripe", "--version", "v1.0.0-rc.1"])?.expect_code(0)?;
    let why = alice.d8(["plugins", "why", "unripe"])?.expect_code(0)?;
    assert!(why.stdout.contains("*  v1.0.0-rc.1"), "{why:?}");
    alice.d8(["plugins", "install", "unripe", "--version", "v1.0.0-rc.2"])?.expect_code(0)?;
    let why = alice.d8(["plugins", "why", "unripe"])?.expect_code(0)?;
    assert!(why.stdout.contains("*  v1.0.0-rc.2") && !why.stderr.contains("to take"), "{why:?}");
    Ok(())
}

#[test]
fn the_active_version_has_a_row_although_the_record_does_not_list_it() -> Result<()> {
    let lab = Lab::shared();
    for version in ["v1.0.0", "v1.1.0-rc.1"] {
        lab.publish(&Plugin::new("mixed", version))?;
    }
    lab.create_releases(&["mixed"])?;
    lab.wait_for_version("mixed", "v1.0.0")?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "mixed", "--version", "v1.1.0-rc.1"])?.expect_code(0)?;
    let why = alice.d8(["plugins", "why", "mixed", "-o", "json"])?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    let rows: Vec<_> = why["versions"].as_array().into_iter().flatten().collect();
    let shown: Vec<_> = rows.iter().map(|row| (&row["version"], &row["active"])).collect();
    assert_eq!(shown, [(&json!("v1.1.0-rc.1"), &json!(true)), (&json!("v1.0.0"), &json!(false))]);
    let unlisted = rows[0]["unlisted"].as_str().unwrap_or_default();
    assert!(unlisted.starts_with("the record of mixed does not list it: "), "{why}");
    assert!(why["lastSyncTime"].is_string() && why["onlyPrereleases"].is_null(), "{why}");
    Ok(())
}
