use proptest::prelude::*;

use crate::values::{channel::Channel, constraint::Constraint, text::printable, version::Version};

fn c(text: &str) -> Constraint {
    Constraint::parse(text).unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn terms_that_may_surprise_get_a_hint() {
    for (text, hint) in [
        ("=1.2", "`=1.2` means 1.2.x"),
        ("v1", "`v1` means 1.x"),
        ("1.2.3", "`1.2.3` means exactly 1.2.3"),
        ("~>1.2", "`~>1.2` means only 1.2.x"),
        ("~>1.2.3", "`~>1.2.3` means 1.2.x from 1.2.3 on"),
        ("~0.0.0", "`~0.0.0` means any version"),
        ("!=1.2", "`!=1.2` excludes every 1.2.x"),
        (">1", "`>1` means later than every 1.x"),
        ("<=1.2", "`<=1.2` includes every 1.2.x"),
        ("^0.2", "`^0.2` means only 0.2.x"),
        ("^0.2.3", "`^0.2.3` means 0.2.x from 0.2.3 on"),
        ("^0.0.3", "`^0.0.3` means only 0.0.3"),
        ("^x", "`^x` is read as `^0.0.0`"),
        ("<=*", "`<=*` is read as `<=0.0`"),
        ("1.x.3", "`1.x.3` has numbers after a wildcard, which are ignored"),
        ("=1.2.3+a", "`=1.2.3+a` has build metadata, which is ignored"),
        ("1.2.0 - 2.3.4", "`1.2.0 - 2.3.4` is read as `>= 1.2.0, <= 2.3.4`"),
        ("1.2 - 2.3", "`1.2 - 2.3` is read as `>= 1.2, <= 2.3`; `<=2.3` includes every 2.3.x"),
        ("1||2 - 3.0.0", "`1||2 - 3.0.0` is read as `>= 1||2, <= 3.0.0`; `2` means 2.x"),
        ("=1.2.0-1.2.9", "`=1.2.0-1.2.9` is one pre-release; for a range, write `>=1.2.0 <=1.2.9`"),
        (">=1.2.3-rc.2", "`>=1.2.3-rc.2` compares a pre-release as its release if the channel is Prerelease"),
        ("=1||=2||=3||=4||=5||=6||=1", "`=1` means 1.x; `=2` means 2.x; `=3` means 3.x; `=4` means 4.x; 2 more hints"),
    ] {
        assert_eq!(c(text).lint().as_deref(), Some(hint), "{text:?}");
    }
}

#[test]
fn unambiguous_terms_get_no_hint() {
    for text in [
        "",
        "*",
        "1.2.x",
        "1.x",
        "=1.2.3",
        "=1.2.3-rc.1",
        "!=1.2.3",
        "!=1.x",
        ">=1.2 <2",
        ">1.2.3",
        "<=1.2.3",
        "^1.2",
        "^1.2.3",
        "^0",
        "~1.2",
        "~1.2.3",
        "~>1",
        "<=1.2.x",
        ">=1.0.0 || <0.5",
    ] {
        assert_eq!(c(text).lint(), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "[0-9xX*v.|=!<>~^, +a-]{0,256}|([<>=!~^]{0,2}[0-9x]{1,20}(\\.[0-9x]){0,2}[ ,|+-]{0,3}){0,20}") {
        if let Ok(constraint) = Constraint::parse(&text) {
            let _ = constraint.permits(&v("18446744073709551615.18446744073709551615.18446744073709551615-rc.1"), Channel::Prerelease);
            if let Some(hint) = constraint.lint() {
                prop_assert!(hint.len() < 2048 && printable(&text).len() < 2048 && !hint.contains('\n'), "{hint}");
            }
        }
    }
}
