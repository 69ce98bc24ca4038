//! What a shipped binary must not have. Failpoints and anything else of feature `testing` would let a
//! user of a host skip what the product promises, so the text by which they are switched on must not
//! be in the binary at all.

use d8_tests::{Result, tools};

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
