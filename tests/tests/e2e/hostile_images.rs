//! Hostile and broken images: d8 refuses them with a reason, writes nothing to disk, and prints no control
//! characters.

use std::path::Path;

use d8_tests::catalog::{self, Plugin};
use d8_tests::{Lab, Result};

#[test]
fn hostile_images_do_no_harm() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    for image in catalog::hostile() {
        lab.proxy().publish_hostile(&image)?;
        let before = alice.files();
        let finished = alice.d8(["plugins", "install", image.name])?;
        let output = finished.combined();
        let is_printable =
            |text: &str| text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()) && !text.contains('\u{202e}');
        assert!(is_printable(&output), "{}: {output:?}", image.defect);
        let list = alice.d8(["plugins", "list"])?.ok()?;
        assert!(is_printable(&list), "{}: {list:?}", image.defect);
        assert_eq!(finished.code(), i32::from(!image.installs), "{}: {finished:?}", image.defect);
        if !image.installs {
            assert_eq!(alice.files(), before, "{}: {finished:?}", image.defect);
        }
    }
    assert!(!Path::new("/tmp/d8-climber").exists(), "a path of the layer left the directory");
    Ok(())
}

#[test]
fn records_of_hostile_images_are_printable() -> Result<()> {
    let lab = Lab::shared();
    for image in catalog::hostile() {
        lab.proxy().publish_hostile(&image)?;
    }
    let names: Vec<_> = catalog::hostile().iter().map(|image| image.name).collect();
    lab.create_releases(&names)?;
    for name in names {
        let release = lab.wait_for_release(name, "evaluated", |release| {
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
fn a_version_that_fails_its_smoke_test_is_not_activated() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("fragile", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "fragile"])?.expect_code(0)?;
    let before = alice.files();
    for (version, script) in [
        ("v1.1.0", "#!/bin/sh\necho 'cannot load libmissing.so.1' >&2\nexit 127\n"),
        ("v1.2.0", "\x7fELF this is not a program"),
        ("v1.3.0", "#!/nowhere/interpreter\n"),
    ] {
        lab.publish(&Plugin::new("fragile", version).with_executable(script))?;
        let failed = alice.d8(["plugins", "update", "fragile"])?.expect_code(1)?;
        assert!(failed.combined().contains(version), "{failed:?}");
        if version == "v1.1.0" {
            assert!(failed.combined().contains("cannot load libmissing.so.1"), "{failed:?}");
        }
        assert_eq!(alice.files(), before, "{version}");
        assert_eq!(alice.d8(["fragile"])?.ok()?, "This is fragile v1.0.0.\n");
    }
    Ok(())
}

#[test]
fn the_smoke_test_has_no_access_to_secrets() -> Result<()> {
    let lab = Lab::shared();
    let spy = "#!/bin/sh\nenv | sort\nid -u\ncat \"$KUBECONFIG\"\nls \"$HOME\"\nexit 9\n";
    lab.publish(&Plugin::new("spy", "v1.0.0").with_executable(spy))?;
    let alice = lab.new_workstation()?.with_env("SECRET_OF_ALICE", "hunter2");
    let failed = alice.d8(["plugins", "install", "spy"])?.expect_code(1)?;
    assert!(
        !failed.combined().contains("hunter2") && !failed.combined().contains(&alice.identity().token),
        "{failed:?}"
    );
    Ok(())
}
