//! Images that mean harm or are broken: each refused with a reason, nothing of it on disk, nothing of
//! it on the terminal.

use std::path::Path;

use d8_tests::catalog::{self, Plugin};
use d8_tests::{Lab, Result};

#[test]
fn hostile_images_do_no_harm() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    for image in catalog::hostile() {
        lab.registry().push(&image)?;
        let before = alice.files();
        let finished = alice.d8(["plugins", "install", image.name])?;
        let said = finished.both();
        let printable = |c: char| c == '\n' || c == '\t' || !c.is_control();
        assert!(said.chars().all(printable) && !said.contains('\u{202e}'), "{}: {said:?}", image.harm);
        // What is only odd may be installed; what lies about its executable or contract may not.
        if finished.code() == 0 {
            assert!(["escape", "climber"].contains(&image.name), "{}: {finished:?}", image.harm);
            let list = alice.d8(["plugins", "list"])?.ok()?;
            assert!(list.chars().all(printable) && !list.contains('\u{202e}'), "{list:?}");
        } else {
            assert_eq!(finished.code(), 1, "{}: {finished:?}", image.harm);
            assert_eq!(alice.files(), before, "{}: {finished:?}", image.harm);
        }
    }
    assert!(!Path::new("/tmp/d8-climber").exists(), "a path left the folder");
    Ok(())
}

#[test]
fn records_of_hostile_images_are_clean_and_the_operator_lives() -> Result<()> {
    let lab = Lab::shared();
    for image in catalog::hostile() {
        lab.registry().push(&image)?;
    }
    let names: Vec<_> = catalog::hostile().iter().map(|image| image.name).collect();
    lab.track(&names)?;
    for name in names {
        let release = lab.release_when(name, "judged", |release| {
            let conditions = release.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Synced")
        })?;
        let text = serde_json::to_value(&release).expect("JSON").to_string();
        assert!(!text.contains("\\u001b") && !text.contains('\u{202e}') && !text.contains("\\u0007"), "{name}: {text}");
    }
    assert_eq!(lab.operator_get("/healthz").map(|(code, _)| code), Some(200));
    Ok(())
}

#[test]
fn a_version_that_does_not_start_is_not_switched_to() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("fragile", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "fragile"])?.expect_code(0)?;
    let before = alice.files();
    for (version, script) in [
        ("v1.1.0", "#!/bin/sh\necho 'cannot load libmissing.so.1' >&2\nexit 127\n"),
        ("v1.2.0", "\x7fELF this is no program"),
        ("v1.3.0", "#!/nowhere/interpreter\n"),
    ] {
        lab.publish(&Plugin::new("fragile", version).runs(script))?;
        let failed = alice.d8(["plugins", "update", "fragile"])?.expect_code(1)?;
        assert!(failed.both().contains(version), "{failed:?}");
        if version == "v1.1.0" {
            assert!(failed.both().contains("cannot load libmissing.so.1"), "{failed:?}");
        }
        assert_eq!(alice.files(), before, "{version}");
        assert_eq!(alice.d8(["fragile"])?.ok()?, "This is fragile v1.0.0.\n");
    }
    Ok(())
}

#[test]
fn the_smoke_test_gives_nothing_away() -> Result<()> {
    let lab = Lab::shared();
    let spy = "#!/bin/sh\nenv | sort\nid -u\ncat \"$KUBECONFIG\"\nls \"$HOME\"\nexit 9\n";
    lab.publish(&Plugin::new("spy", "v1.0.0").runs(spy))?;
    let alice = lab.new_workstation()?.with("SECRET_OF_ALICE", "hunter2");
    let failed = alice.d8(["plugins", "install", "spy"])?.expect_code(1)?;
    assert!(!failed.both().contains("hunter2") && !failed.both().contains(&alice.who().token), "{failed:?}");
    Ok(())
}
