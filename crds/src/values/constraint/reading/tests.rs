use proptest::prelude::*;

use super::*;

fn c(text: &str) -> Constraint {
    Constraint::parse(text).unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn rule_11_ranges_see_a_pre_release_as_its_release() {
    for (text, within, without) in [
        ("", &["1.0.0-rc.1", "0.0.0-0"][..], &[][..]),
        ("*", &["1.0.0-rc.1"], &[]),
        ("<2", &["1.9.9-rc.1", "1.9.9"], &["2.0.0-rc.1", "2.0.0"]),
        ("<=2.0.0", &["2.0.0-rc.1", "2.0.0"], &["2.0.1-rc.1"]),
        (">=1.2", &["1.2.0-rc.1", "1.3.0-main"], &["1.1.9-rc.1"]),
        (">1.2.3", &["1.2.4-rc.1"], &["1.2.3-rc.1", "1.2.3"]),
        (">=1.2 <2", &["1.2.0-rc.1", "1.9.0-rc.1"], &["1.1.0-rc.1", "2.0.0-rc.1"]),
        ("^1.2", &["1.2.0-rc.1", "1.9.0-rc.1"], &["2.0.0-rc.1"]),
        ("~1.2.3", &["1.2.3-rc.1", "1.2.9-rc.1"], &["1.2.2-rc.1", "1.3.0-rc.1"]),
        ("1.2 - 1.4", &["1.2.0-rc.1", "1.4.9-rc.1"], &["1.5.0-rc.1"]),
        ("<1 || >=3", &["0.9.0-rc.1", "3.0.0-rc.1"], &["1.0.0-rc.1"]),
        // A part of a version names a range.
        ("=1.2", &["1.2.0-rc.1", "1.2.7-rc.1"], &["1.3.0-rc.1"]),
        ("1.2.x", &["1.2.0-rc.1"], &["1.3.0-rc.1"]),
        ("!=1.2", &["1.3.0-rc.1"], &["1.2.0-rc.1"]),
        // So it is with a bound that is a pre-release.
        (">=1.2.3-rc.2", &["1.2.3-rc.1", "1.2.3-rc.2", "1.2.4-alpha"], &["1.2.2-rc.9"]),
        ("<1.2.3-rc.2", &["1.2.2-rc.1"], &["1.2.3-rc.1", "1.2.3"]),
    ] {
        check(text, within, without);
    }
}

#[test]
fn rule_11_exact_comparators_see_a_pre_release_whole() {
    for (text, within, without) in [
        ("=1.2.3", &["1.2.3"][..], &["1.2.3-rc.1"][..]),
        ("1.2.3", &["1.2.3"], &["1.2.3-rc.1"]),
        ("=1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3-rc.2", "1.2.3"]),
        ("!=1.2.3", &["1.2.3-rc.1"], &["1.2.3"]),
        ("!=1.2.3-rc.1", &["1.2.3-rc.2", "1.2.3"], &["1.2.3-rc.1"]),
        (">=1.2 !=1.4.0-rc.1", &["1.4.0-rc.2", "1.4.0"], &["1.4.0-rc.1"]),
        ("=1.2.3 || ^2", &["1.2.3", "2.0.0-rc.1"], &["1.2.3-rc.1"]),
    ] {
        check(text, within, without);
    }
}

fn check(text: &str, within: &[&str], without: &[&str]) {
    for (versions, expected) in [(within, true), (without, false)] {
        for version in versions {
            assert_eq!(c(text).permits(&v(version), Channel::Prerelease), expected, "{text:?} {version}");
        }
    }
}

#[test]
fn accepted_warns_of_readings() {
    for (text, reading) in [
        ("=1.2", "`=1.2` means 1.2.x"),
        ("v1", "`v1` means 1.x"),
        ("1.2.3", "`1.2.3` means exactly 1.2.3"),
        ("~>1.2", "`~>1.2` means 1.2.x alone"),
        ("~>1.2.3", "`~>1.2.3` means 1.2.3 and later 1.2.x"),
        ("~0.0.0", "`~0.0.0` means any version"),
        ("!=1.2", "`!=1.2` rules out every 1.2.x"),
        (">1", "`>1` begins above every 1.x"),
        ("<=1.2", "`<=1.2` takes in every 1.2.x"),
        ("^0.2", "`^0.2` means 0.2.x alone"),
        ("^0.2.3", "`^0.2.3` means 0.2.3 and later 0.2.x"),
        ("^0.0.3", "`^0.0.3` means 0.0.3 alone"),
        ("^x", "`^x` is read as `^0.0.0`"),
        ("<=*", "`<=*` is read as `<=0.0`"),
        ("1.x.3", "`1.x.3` has numbers behind a wildcard, which count for nothing"),
        ("=1.2.3+a", "`=1.2.3+a` has build metadata, which counts for nothing"),
        ("1.2.0 - 2.3.4", "`1.2.0 - 2.3.4` is read as `>= 1.2.0, <= 2.3.4`"),
        ("1.2 - 2.3", "`1.2 - 2.3` is read as `>= 1.2, <= 2.3`; `<=2.3` takes in every 2.3.x"),
        ("1||2 - 3.0.0", "`1||2 - 3.0.0` is read as `>= 1||2, <= 3.0.0`; `2` means 2.x"),
        (
            ">=1.2.3-rc.2",
            "`>=1.2.3-rc.2` takes each pre-release for the release it leads to where the channel is Prerelease",
        ),
        (
            "=1||=2||=3||=4||=5||=6||=1",
            "`=1` means 1.x; `=2` means 2.x; `=3` means 3.x; `=4` means 4.x; 2 more of this kind",
        ),
    ] {
        assert_eq!(c(text).reading().as_deref(), Some(reading), "{text:?}");
    }
}

#[test]
fn accepted_is_silent_where_nothing_surprises() {
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
        assert_eq!(c(text).reading(), None, "{text:?}");
    }
}

/// One comparator of the kind that sees a pre-release as its release.
const RANGE: &str = "((>|>=|<|<=|~|\\^)[0-2](\\.[0-2]){0,2}|(=|!=)?[0-2](\\.[0-2])?)";

fn ranges() -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("{RANGE}( {RANGE}){{0,2}}")).unwrap()
}

proptest! {
    #[test]
    fn a_range_takes_a_pre_release_as_it_takes_its_release(
        text in ranges(), version in "[0-2]\\.[0-2]\\.[0-2]-(rc|alpha)\\.[0-2]",
    ) {
        let (range, version) = (c(&text), v(&version));
        let permitted = range.permits(&version, Channel::Prerelease);
        prop_assert_eq!(permitted, range.permits(&version.release(), Channel::Prerelease));
        prop_assert_eq!(permitted, range.matches(&version.release()));
    }

    #[test]
    fn of_releases_and_under_stable_it_is_what_contracts_mean(
        text in "[<>=!~^]{0,2}[0-2](\\.[0-2x]){0,2}(-rc\\.[0-2])?( [<>]=?[0-2]\\.[0-2])?", version in "[0-2]\\.[0-2]\\.[0-2](-rc\\.[0-2])?",
    ) {
        if let Ok(constraint) = Constraint::parse(&text) {
            let version = v(&version);
            prop_assert_eq!(constraint.permits(&version, Channel::Stable), constraint.matches(&version));
            let release = version.release();
            prop_assert_eq!(constraint.permits(&release, Channel::Prerelease), constraint.matches(&release));
        }
    }

    #[test]
    fn never_panics(text in "[0-9xX*v.|=!<>~^, +a-]{0,256}|([<>=!~^]{0,2}[0-9x]{1,20}(\\.[0-9x]){0,2}[ ,|+-]{0,3}){0,20}") {
        if let Ok(constraint) = Constraint::parse(&text) {
            let _ = constraint.permits(&v("18446744073709551615.18446744073709551615.18446744073709551615-rc.1"), Channel::Prerelease);
            if let Some(reading) = constraint.reading() {
                prop_assert!(reading.len() < 2048 && printable(&text).len() < 2048 && !reading.contains('\n'), "{reading}");
            }
        }
    }
}
