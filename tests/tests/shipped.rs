//! What a shipped binary must not have. Failpoints and anything else of feature `testing` would let a
//! user of a host skip what the product promises, so the text by which they are switched on must not
//! be in the binary at all.

use std::path::Path;

use d8_tests::{Result, run, tools};

#[test]
fn no_shipped_binary_has_failpoints() -> Result<()> {
    for name in ["d8", "d8-operator", "d8-rpp"] {
        let path = tools::binary(name)?;
        let bytes = std::fs::read(&path).unwrap();
        let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(found(b"deckhouse"), "{name}: texts of the binary are not found, so their absence would prove nothing");
        assert!(!found(b"D8_FAILPOINT"), "{} was built with feature `testing`", path.display());
    }
    Ok(())
}

/// Cargo unifies the features that all packages of one build ask for. This is the build of the shipped binaries.
#[test]
fn no_package_of_the_build_asks_for_feature_testing() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let features = |edges: &str| {
        let edges = format!("features,{edges}");
        let args = ["tree", "--workspace", "--offline", "--prefix=none", "--depth=3", "--edges", &edges];
        let tree = run(&cargo, args, |command| {
            command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        })?;
        tree.ok()
    };
    let asked = |tree: &str| tree.lines().any(|line| line.starts_with("d8-") && line.contains("feature \"testing\""));
    assert!(asked(&features("all")?), "the tests of the agent ask for the feature, so the search finds it");
    let shipped = features("no-dev")?;
    assert!(shipped.lines().any(|line| line.starts_with("d8-agent ")) && !asked(&shipped), "{shipped}");
    Ok(())
}
