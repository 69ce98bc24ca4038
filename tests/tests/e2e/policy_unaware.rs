//! Versions of d8 that do not support policies.

use d8_tests::{Lab, Result};

use crate::self_update::{Machine, former};

/// The newest version does not support policies. That is known once it was tested, and no command promises it then.
pub(crate) fn newest_version(lab: &Lab) -> Result<()> {
    lab.publish(&former("v0.16.0"))?;
    lab.request_poll("d8")?;
    lab.wait_for_version("d8", "v0.16.0")?;
    let alice = Machine::new(lab, "v0.13.1")?;
    let first = alice.d8("cli check --exit-code")?.expect_code(100)?;
    assert!(first.stdout.starts_with("A newer deckhouse-cli is available: v0.16.0"), "{first:?}");
    let dry = alice.d8("cli update --dry-run")?.expect_code(0)?;
    for unknown in [&first, &dry] {
        assert!(unknown.stderr.contains("if its download shows that it does not support policies"), "{unknown:?}");
    }
    alice.d8("cli update --allow-ungoverned")?.expect_code(2)?;

    let update = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(update.stdout, "deckhouse-cli updated to v0.14.0.\n", "{update:?}");
    assert_eq!(update.stderr.matches("skipped deckhouse-cli v0.16.0").count(), 1, "{update:?}");
    for text in ["`d8 cli update --version v0.16.0 --allow-ungoverned`", "unknown commands are forwarded to"] {
        assert!(update.stderr.contains(text), "{text}: {update:?}");
    }
    assert!(!update.stderr.contains("d8 cli check"), "{update:?}");
    assert_eq!(alice.version()?, "d8 v0.14.0");
    assert_eq!(alice.d8("mirror pull")?.ok()?, "former: mirror pull\n");

    let known = alice.d8("cli check --exit-code")?.expect_code(0)?;
    assert!(known.stdout.contains("Skipped v0.16.0: d8 v0.16.0 does not support policies"), "{known:?}");
    assert!(known.stderr.starts_with("cluster: ") && known.stderr.lines().count() == 1, "{known:?}");
    for line in ["cli update", "cli update --dry-run"] {
        let kept = alice.d8(line)?.expect_code(0)?;
        assert_eq!(kept.stdout, "deckhouse-cli is already at v0.14.0.\n", "{line}: {kept:?}");
        assert!(!kept.stderr.contains("Updating"), "it is downloaded again: {kept:?}");
    }
    for line in ["cli update --version v0.16.0 --dry-run", "cli update --version v0.16.0", "cli use v0.16.0"] {
        let refused = alice.d8(line)?.expect_code(3)?;
        assert!(refused.stderr.contains("--allow-ungoverned"), "{line}: {refused:?}");
    }
    assert_eq!(alice.version()?, "d8 v0.14.0");
    let dry = alice.d8("cli update --version v0.16.0 --dry-run --allow-ungoverned")?.ok()?;
    assert_eq!(dry, "Would switch deckhouse-cli from v0.14.0 to v0.16.0.\n");
    alice.d8("cli update --version v0.16.0 --allow-ungoverned")?.expect_code(0)?;
    Ok(())
}
