//! Permission to read policies: without it, d8 changes nothing.

use std::time::Duration;

use d8_tests::catalog::Plugin;
use d8_tests::process::wait_for;
use d8_tests::{Lab, Result};

#[test]
fn without_permission_to_read_policies_nothing_changes() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("unseen", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "unseen"])?.expect_code(0)?;
    lab.publish(&Plugin::new("unseen", "v1.1.0"))?;
    lab.plane().kubectl(["delete", "clusterrolebinding", "d8:cli:viewer"])?;
    let is_revoked = || {
        let answer =
            lab.plane().kubectl_as(alice.identity(), ["auth", "can-i", "list", "pluginpolicies.cli.deckhouse.io"]);
        (answer.ok()?.stdout.trim() == "no").then_some(())
    };
    wait_for("the permission to be revoked", Duration::from_secs(20), is_revoked)?;

    let before = alice.files();
    for line in ["plugins install other", "plugins update unseen"] {
        let refused = alice.d8(line.split(' '))?.expect_code(5)?;
        assert!(refused.stderr.contains("d8:cli:viewer"), "{refused:?}");
    }
    assert_eq!(alice.files(), before);
    alice.d8(["unseen"])?.expect_code(0)?;
    Ok(())
}
