//! The right to read policies: whoever lacks it changes nothing.

use std::time::Duration;

use d8_tests::catalog::Plugin;
use d8_tests::process::wait_for;
use d8_tests::{Lab, Result};

#[test]
fn who_may_not_read_policies_changes_nothing() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("unseen", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "unseen"])?.expect_code(0)?;
    lab.publish(&Plugin::new("unseen", "v1.1.0"))?;
    lab.plane().kubectl(["delete", "clusterrolebinding", "d8:cli:viewer"])?;
    let blind = || {
        let asked = lab.plane().kubectl_as(alice.who(), ["auth", "can-i", "list", "pluginpolicies.cli.deckhouse.io"]);
        (asked.ok()?.stdout.trim() == "no").then_some(())
    };
    wait_for("the right is gone", Duration::from_secs(20), blind)?;

    let before = alice.files();
    for line in ["plugins install other", "plugins update unseen"] {
        let refused = alice.d8(line.split(' '))?.expect_code(5)?;
        assert!(refused.stderr.contains("d8:cli:viewer"), "{refused:?}");
    }
    assert_eq!(alice.files(), before);
    alice.d8(["unseen"])?.expect_code(0)?;
    Ok(())
}
