//! Versions, parsed as leniently as by `NewVersion` of Go's Masterminds/semver v3.3.1, because existing
//! tags, clusters and contracts are written for that library.

use std::{cmp::Ordering, fmt, hash, str::FromStr};

use crate::values::{limits, text::printable_to};

/// A version. Versions are compared by precedence (semver.org, section 11), which ignores build metadata:
/// `v1.0.0+a` equals `1.0.0+b`. The default is `v0.0.0`.
#[derive(Debug, Clone, Default)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: String,
    build: String,
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version: {why}")]
pub struct VersionError {
    /// The given text, printable.
    pub text: String,
    /// The rule that the text breaks.
    pub why: &'static str,
}

impl Version {
    /// Makes a release of its three numbers.
    pub(crate) fn from_numbers(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch, ..Self::default() }
    }

    /// Returns the version with these pre-release identifiers, which must be valid, and without build metadata.
    pub(crate) fn with_pre(&self, pre: &str) -> Self {
        Self { pre: pre.to_owned(), ..self.release() }
    }

    /// Parses `1.2.3`, `v1.2.3-rc.1+build`, and also `1.2` and `1` (missing numbers are 0). Refuses leading
    /// zeros, spaces, an upper-case `V` and numbers of more than 64 bits.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        Self::parse_parts(text)
            .map_err(|why| VersionError { text: printable_to(text, limits::REFUSED_TEXT).into_owned(), why })
    }

    /// Parses a version with all three numbers: `1.2.3`, `v1.2.3-rc.1+build`. Tags in a registry and versions in
    /// policies are written so: `v1.2` is a tag that moves from patch to patch, and `20240101` is a date.
    ///
    /// # Errors
    /// The text is not a version, or a number is missing.
    pub fn parse_full(text: &str) -> Result<Self, VersionError> {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        if core.split('.').count() == 3 {
            return Self::parse(text);
        }
        let text = printable_to(text, limits::REFUSED_TEXT).into_owned();
        Err(VersionError { text, why: "it must have three numbers joined by `.`, such as `v1.2.3`" })
    }

    fn parse_parts(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(head, build)| (head, Some(build)));
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = core.split('.');
        let major = parse_number(numbers.next().unwrap_or_default())?;
        let minor = numbers.next().map_or(Ok(0), parse_number)?;
        let patch = numbers.next().map_or(Ok(0), parse_number)?;
        if numbers.next().is_some() {
            return Err("it has more than three numbers");
        }
        if pre.is_some_and(|pre| !pre.split('.').all(|id| is_identifier(id) && !has_leading_zero(id))) {
            return Err(
                "a pre-release has identifiers of letters, digits and `-`, and its numbers have no leading zeros",
            );
        }
        if build.is_some_and(|build| !build.split('.').all(is_identifier)) {
            return Err("build metadata has identifiers of letters, digits and `-`");
        }
        Ok(Self {
            major,
            minor,
            patch,
            pre: pre.unwrap_or_default().to_owned(),
            build: build.unwrap_or_default().to_owned(),
        })
    }

    /// Returns the first number.
    pub fn major(&self) -> u64 {
        self.major
    }

    /// Returns the second number.
    pub fn minor(&self) -> u64 {
        self.minor
    }

    /// Returns the third number.
    pub fn patch(&self) -> u64 {
        self.patch
    }

    /// Returns the pre-release identifiers without the leading `-`. Empty for a release.
    pub fn pre(&self) -> &str {
        &self.pre
    }

    /// Returns the build metadata without the leading `+`. Empty if there is none.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Returns whether the version has pre-release identifiers of any kind.
    pub fn is_prerelease(&self) -> bool {
        !self.pre.is_empty()
    }

    /// Returns whether the version precedes a release: its first pre-release identifier starts with alpha,
    /// beta, rc, pre, preview or snapshot, in any case. `-main` and `-eks-1-30` do not.
    pub fn is_candidate(&self) -> bool {
        const PREFIXES: [&str; 5] = ["alpha", "beta", "rc", "pre", "snapshot"];
        let first = self.pre.split('.').next().unwrap_or_default().to_ascii_lowercase();
        PREFIXES.iter().any(|prefix| first.starts_with(prefix))
    }

    /// Returns the range that the author of `1.2.0-1.2.9` probably means, `>=1.2.0 <=1.2.9`: a pre-release that is a
    /// later version itself. `None`: it is an ordinary version.
    pub fn range_as_prerelease(&self) -> Option<String> {
        let last = Self::parse(&self.pre).ok().filter(|last| self.pre.contains('.') && *last > self.release())?;
        let first = self.release().to_string();
        let end = self.pre.trim_start_matches('v');
        (!last.is_prerelease()).then(|| format!(">={} <={end}", first.trim_start_matches('v')))
    }

    /// Returns the version without pre-release identifiers and build metadata.
    #[must_use]
    pub fn release(&self) -> Self {
        Self { major: self.major, minor: self.minor, patch: self.patch, pre: String::new(), build: String::new() }
    }

    /// Returns the version without build metadata.
    #[must_use]
    pub fn without_build(&self) -> Self {
        Self { build: String::new(), ..self.clone() }
    }
}

/// Parses a number of a version: digits only, no leading zero, at most 64 bits.
fn parse_number(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it must be up to three numbers joined by `.`");
    }
    if has_leading_zero(text) {
        return Err("a number has a leading zero");
    }
    text.parse().map_err(|_| "a number does not fit in 64 bits")
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

/// Compares pre-release identifiers one by one. A release is higher than its pre-releases, and a longer
/// list is higher than its prefix.
fn compare_pre(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.split('.').map(Identifier::parse).cmp(b.split('.').map(Identifier::parse)),
    }
}

/// A pre-release identifier. Numbers are lower than words. A number of more than 64 bits is compared as a
/// word, as Masterminds/semver does.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(u64),
    Word(&'a str),
}

impl<'a> Identifier<'a> {
    fn parse(text: &'a str) -> Self {
        text.parse().map_or(Self::Word(text), Self::Number)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| compare_pre(&self.pre, &other.pre))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl hash::Hash for Version {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        (self.major, self.minor, self.patch, &self.pre).hash(state);
    }
}

/// Writes the canonical form with `v`: `1.2` becomes `v1.2.0`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_parsed_and_displayed() {
        for (text, shown) in [
            ("1.2.3", "v1.2.3"),
            ("v1.2.3", "v1.2.3"),
            ("1.2", "v1.2.0"),
            ("1", "v1.0.0"),
            ("1-rc.1", "v1.0.0-rc.1"),
            ("1.2+b.01", "v1.2.0+b.01"),
            ("v1.30.1-eks-1-30", "v1.30.1-eks-1-30"),
            ("1.0.0--", "v1.0.0--"),
            ("1.0.0-0a", "v1.0.0-0a"),
            ("1.0.0+a-b", "v1.0.0+a-b"),
            ("18446744073709551615.0.0", "v18446744073709551615.0.0"),
        ] {
            assert_eq!(v(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn invalid_versions_are_refused() {
        for text in [
            "",
            "v",
            "V1.0.0",
            "vv1",
            "x",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4",
            "01.2.3",
            "1.02.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2.3+a+b",
            "1.2.3-a_b",
            " 1.2.3",
            "1.2.3\n",
            "-1.2.3",
            "+1.2.3",
            "１.0.0",
            "18446744073709551616.0.0",
        ] {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
        let error = Version::parse("\u{1b}[31m1.0").unwrap_err().to_string();
        assert_eq!(error, r"`\u{1b}[31m1.0` is not a version: it must be up to three numbers joined by `.`");
    }

    #[test]
    fn full_versions_have_three_numbers() {
        for (text, full) in [
            ("v1.2.3", true),
            ("1.2.3", true),
            ("v1.2.3-rc.1+b.2", true),
            ("1.2.3-20240101", true),
            ("v1", false),
            ("v1.2", false),
            ("1.2-rc.1.2", false),
            ("1.2+b.3", false),
            ("20240101", false),
            ("2024.01.01", false),
            ("1.2.3.4", false),
            ("latest", false),
            ("a.b.c", false),
            ("", false),
        ] {
            assert_eq!(Version::parse_full(text).is_ok(), full, "{text:?}");
        }
        let error = Version::parse_full("v1.2").unwrap_err().to_string();
        assert_eq!(error, "`v1.2` is not a version: it must have three numbers joined by `.`, such as `v1.2.3`");
    }

    #[test]
    fn versions_are_ordered_by_precedence() {
        let rising = [
            "0.0.0-0",
            "0.0.0",
            "0.0.1",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-18446744073709551616",
            "1.0.0-RC",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0.0",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for pair in rising.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{pair:?}");
        }
        assert_eq!(v("v1.2+a"), v("1.2.0+b"));
    }

    #[test]
    fn candidates_precede_a_release() {
        for (text, candidate) in [
            ("1.0.0", false),
            ("1.0.0-rc.1", true),
            ("1.0.0-RC1", true),
            ("1.0.0-Alpha", true),
            ("1.0.0-beta-2", true),
            ("1.0.0-pre", true),
            ("1.0.0-preview.1", true),
            ("1.0.0-SNAPSHOT", true),
            ("1.0.0-main", false),
            ("1.0.0-eks-1-30", false),
            ("1.0.0-1.rc", false),
            ("1.0.0+rc.1", false),
        ] {
            assert_eq!(v(text).is_candidate(), candidate, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s:.*)") {
            let _ = Version::parse(&text);
        }

        #[test]
        fn the_canonical_form_is_parsed_again(text in "v?[0-9]{1,3}(\\.[0-9]{1,2}){0,2}(-[0-9a-z.-]{1,6})?(\\+[0-9a-z.-]{1,6})?") {
            if let Ok(version) = Version::parse(&text) {
                let again = v(&version.to_string());
                prop_assert_eq!(&again, &version);
                prop_assert_eq!(again.build(), version.build());
            }
        }
    }
}
