use proptest::prelude::*;

use super::*;

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn c(text: &str) -> Constraint {
    Constraint::parse(text).unwrap()
}

/// Each constraint with versions that match and versions that do not. `tests/vectors.rs` has more rows.
#[test]
fn constraints_match_versions() {
    for (text, matching, others) in [
        ("", &["0.0.0", "9.9.9", "1.0.0-rc.1"][..], &[][..]),
        ("*", &["0.0.0", "9.9.9"], &["1.0.0-rc.1"]),
        ("1.2.3", &["1.2.3", "1.2.3+a"], &["1.2.4", "1.2.3-rc.1"]),
        ("1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0", "1.2.1-rc.1"]),
        ("=v1", &["1.0.0", "1.9.9"], &["0.9.9", "2.0.0"]),
        ("!=1.2.3", &["1.2.4", "1.2.4-rc.1", "1.2.3-rc.1"], &["1.2.3"]),
        ("!=1.2.x", &["1.3.0"], &["1.2.0", "1.2.9", "1.3.0-rc.1"]),
        ("!=1", &["2.0.0", "0.9.0"], &["1.9.0"]),
        (">1", &["2.0.0"], &["1.9.9"]),
        (">1.2", &["1.3.0", "2.0.0"], &["1.2.9", "0.9.9"]),
        (">1.2.3-rc.1", &["1.2.3", "1.2.3-rc.2", "2.0.0-alpha"], &["1.2.3-rc.1", "1.2.3-beta"]),
        ("<2", &["1.9.9"], &["2.0.0", "2.0.0-rc.1"]),
        ("<=1", &["1.9.9", "0.1.0"], &["2.0.0"]),
        ("=<1.2", &["1.2.9", "1.1.0"], &["1.3.0", "2.0.0"]),
        ("=>1.2", &["1.2.0", "3.0.0"], &["1.1.9"]),
        ("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]),
        ("~>1", &["1.0.0", "1.9.0"], &["2.0.0"]),
        ("~0.0.0", &["0.0.0", "9.9.9"], &["9.9.9-rc.1"]),
        ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
        ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]),
        ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.0"]),
        ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
        ("^0", &["0.0.0", "0.9.0"], &["1.0.0"]),
        ("^x", &["0.0.0"], &["0.0.1", "1.0.0"]),
        ("1.2 - 2.3.4", &["1.2.0", "2.3.4"], &["1.1.9", "2.3.5"]),
        (">=1.2 <2", &["1.2.0", "1.9.9"], &["1.1.0", "2.0.0"]),
        (">=1.2,\n<2", &["1.2.0"], &["2.0.0"]),
        ("\t<1 || >2\r\n", &["0.9.0", "3.0.0"], &["1.0.0", "2.9.0"]),
        ("1.x.3", &["1.9.9"], &["2.0.0"]),
        ("x.1|2", &["7.0.0"], &[]),
        ("1||2 - 3", &["1.0.0", "5.0.0", "2.0.0", "3.9.0"], &["0.9.0"]),
        (">=1.0-0", &["1.0.0-rc.1", "2.0.0"], &["0.9.9"]),
    ] {
        for (versions, expected) in [(matching, true), (others, false)] {
            for version in versions {
                assert_eq!(c(text).matches(&Version::parse(version).unwrap()), expected, "{text:?} {version}");
            }
        }
    }
}

#[test]
fn invalid_constraints_are_refused() {
    for text in [
        " ",
        "\u{a0}",
        ">",
        "||",
        "1||",
        "||1",
        "1,",
        ",1",
        "1,,2",
        "1 | 2",
        "1|2",
        ">1<2",
        "> =1",
        "==1",
        "~~1",
        "a",
        "1.2.3.4",
        "01",
        "1.02",
        "1.2.3-01",
        "xx",
        "1x",
        "1 - 2 - 3",
        "latest",
        "V1",
        "18446744073709551616",
        "1\u{b}2",
    ] {
        assert!(Constraint::parse(text).is_err(), "{text:?}");
    }
    let error = Constraint::parse("\u{1b}[2J").unwrap_err().to_string();
    assert!(error.starts_with(r"`\u{1b}[2J` is not a version constraint: "), "{error}");
}

#[test]
fn constraints_are_displayed_as_written() {
    for (text, shown) in [("", "any"), (" >=1.0,\n<2 ", r">=1.0,\n<2"), ("^1", "^1")] {
        assert_eq!(c(text).to_string(), shown);
    }
    assert!(c("").is_any() && !c("*").is_any());
}

/// Each of these texts would take minutes if parsing were not linear.
#[test]
fn long_texts_are_parsed_in_linear_time() {
    for piece in ["1", "1.", "1-", "1-a", "- ", "1 - 1", "1 - 1 ", "1||", " ", "|", "1-1..", "\u{e4}"] {
        let text = piece.repeat((1 << 17) / piece.len());
        let _ = Constraint::parse(&text);
        let _ = Constraint::parse(&format!("{text} - 1"));
    }
}

#[test]
fn rule_11_ranges_compare_a_pre_release_as_its_release() {
    for (text, matching, others) in [
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
        // A partial version is a range.
        ("=1.2", &["1.2.0-rc.1", "1.2.7-rc.1"], &["1.3.0-rc.1"]),
        ("1.2.x", &["1.2.0-rc.1"], &["1.3.0-rc.1"]),
        ("!=1.2", &["1.3.0-rc.1"], &["1.2.0-rc.1"]),
        // The same holds for a bound that is a pre-release.
        (">=1.2.3-rc.2", &["1.2.3-rc.1", "1.2.3-rc.2", "1.2.4-alpha"], &["1.2.2-rc.9"]),
        ("<1.2.3-rc.2", &["1.2.2-rc.1"], &["1.2.3-rc.1", "1.2.3"]),
    ] {
        assert_permits(text, matching, others);
    }
}

#[test]
fn rule_11_exact_comparators_compare_the_pre_release_itself() {
    for (text, matching, others) in [
        ("=1.2.3", &["1.2.3"][..], &["1.2.3-rc.1"][..]),
        ("1.2.3", &["1.2.3"], &["1.2.3-rc.1"]),
        ("=1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3-rc.2", "1.2.3"]),
        ("!=1.2.3", &["1.2.3-rc.1"], &["1.2.3"]),
        ("!=1.2.3-rc.1", &["1.2.3-rc.2", "1.2.3"], &["1.2.3-rc.1"]),
        (">=1.2 !=1.4.0-rc.1", &["1.4.0-rc.2", "1.4.0"], &["1.4.0-rc.1"]),
        ("=1.2.3 || ^2", &["1.2.3", "2.0.0-rc.1"], &["1.2.3-rc.1"]),
    ] {
        assert_permits(text, matching, others);
    }
}

fn assert_permits(text: &str, matching: &[&str], others: &[&str]) {
    for (versions, expected) in [(matching, true), (others, false)] {
        for version in versions {
            assert_eq!(c(text).permits(&v(version), Channel::Prerelease), expected, "{text:?} {version}");
        }
    }
}

/// A comparator that compares a pre-release as its release.
const RANGE: &str = "((>|>=|<|<=|~|\\^)[0-2](\\.[0-2]){0,2}|(=|!=)?[0-2](\\.[0-2])?)";

fn ranges() -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("{RANGE}( {RANGE}){{0,2}}")).unwrap()
}

proptest! {
    #[test]
    fn never_panics(text in "(?s:.*)|[0-9xX*v.|=!<>~^, +a-]{0,40}") {
        if let Ok(constraint) = Constraint::parse(&text) {
            let _ = constraint.matches(&Version::parse("1.2.3-rc.1").unwrap());
        }
    }

    #[test]
    fn a_hyphen_range_equals_its_two_bounds(low in "[0-3](\\.[0-3]){0,2}", high in "[0-3](\\.[0-3]){0,2}", v in "[0-3]\\.[0-3]\\.[0-3]") {
        let v = Version::parse(&v).unwrap();
        let both = c(&format!(">={low}")).matches(&v) && c(&format!("<={high}")).matches(&v);
        prop_assert_eq!(c(&format!("{low} - {high}")).matches(&v), both);
    }

    #[test]
    fn a_range_permits_a_pre_release_like_its_release(
        text in ranges(), version in "[0-2]\\.[0-2]\\.[0-2]-(rc|alpha)\\.[0-2]",
    ) {
        let (range, version) = (c(&text), v(&version));
        let permitted = range.permits(&version, Channel::Prerelease);
        prop_assert_eq!(permitted, range.permits(&version.release(), Channel::Prerelease));
        prop_assert_eq!(permitted, range.matches(&version.release()));
    }

    #[test]
    fn releases_and_the_stable_channel_follow_matches(
        text in "[<>=!~^]{0,2}[0-2](\\.[0-2x]){0,2}(-rc\\.[0-2])?( [<>]=?[0-2]\\.[0-2])?", version in "[0-2]\\.[0-2]\\.[0-2](-rc\\.[0-2])?",
    ) {
        if let Ok(constraint) = Constraint::parse(&text) {
            let version = v(&version);
            prop_assert_eq!(constraint.permits(&version, Channel::Stable), constraint.matches(&version));
            let release = version.release();
            prop_assert_eq!(constraint.permits(&release, Channel::Prerelease), constraint.matches(&release));
        }
    }
}
