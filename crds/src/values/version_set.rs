//! Entries of `block`: a full version, or a range of versions.

use std::fmt;

use crate::values::{constraint::Constraint, limits, text::printable, version::Version};

/// The versions that one entry of `block` takes (`docs/policies.md`, rule 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSet {
    /// A full version, compared by value.
    One(Version),
    /// A range in the grammar of constraints, read as [`Constraint::covers`] does.
    Range(Constraint),
}

impl VersionSet {
    /// Parses a full version such as `v1.2.3`, or a range such as `>=1.2 <1.2.7` or `1.3.x`.
    ///
    /// # Errors
    /// A sentence about a text that is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(version) = Version::parse_full(text) {
            return Ok(Self::One(version));
        }
        if text.trim().is_empty() {
            return Err("is empty: write a full version such as `v1.2.3`, or a range such as `1.2.x`".to_owned());
        }
        if text.chars().nth(limits::CONSTRAINT).is_some() {
            return Err(format!("is longer than {} characters", limits::CONSTRAINT));
        }
        if text.contains(char::is_control) {
            return Err("must be one line without control characters".to_owned());
        }
        Constraint::parse(text).map(Self::Range).map_err(|error| {
            let text = printable(&error.text);
            format!("`{text}` is neither a full version such as `v1.2.3` nor a range such as `1.2.x`: {}", error.why)
        })
    }

    /// Returns whether the entry takes a version.
    pub fn contains(&self, version: &Version) -> bool {
        match self {
            Self::One(one) => one == version,
            Self::Range(range) => range.covers(version),
        }
    }
}

/// Writes a version in canonical form, and a range as it was written, printable.
impl fmt::Display for VersionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(version) => write!(f, "{version}"),
            Self::Range(range) => write!(f, "{range}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry with versions that it takes, and versions that it does not take.
    #[test]
    fn entries_take_versions_by_their_order() {
        for (entry, taken, left) in [
            ("v1.3.1", "1.3.1 v1.3.1+b", "1.3.1-rc.1 1.3.2"),
            ("1.3.1-rc.1", "1.3.1-rc.1", "1.3.1 1.3.1-rc.2"),
            ("=1.3.1", "1.3.1", "1.3.1-rc.1 1.3.0"),
            ("1.3", "1.3.0-rc.1 1.3.0 1.3.9-a", "1.2.9 1.4.0-rc.1 1.4.0"),
            ("v1.3", "1.3.0-rc.1 1.3.7", "1.4.0-rc.1"),
            ("1.3.x", "1.3.0-rc.1 1.3.0 1.3.9", "1.2.9 1.4.0-rc.1 1.4.0"),
            ("~1.3", "1.3.0-rc.1 1.3.9", "1.4.0-rc.1 1.2.9"),
            ("^1.3", "1.3.0-rc.1 1.9.0-rc.1 1.9.9", "1.2.9 2.0.0-rc.1 2.0.0"),
            ("1", "1.0.0-rc.1 1.9.9", "0.9.9 2.0.0-rc.1"),
            ("^0.3", "0.3.0-rc.1 0.3.9", "0.4.0-rc.1 0.2.9"),
            ("^0", "0.0.0-a 0.9.0", "1.0.0-rc.1"),
            ("~1.3.2", "1.3.2 1.3.9-rc.1", "1.3.2-rc.1 1.3.1 1.4.0-rc.1"),
            ("~1.3.2-rc.2", "1.3.2-rc.2 1.3.2 1.3.9", "1.3.2-rc.1 1.4.0-rc.1"),
            ("^1.3.2", "1.3.2 1.9.0-rc.1", "1.3.2-rc.1 2.0.0-rc.1"),
            ("^0.0.3", "0.0.3", "0.0.3-rc.1 0.0.4-rc.1 0.0.4"),
            ("<1.4", "1.4.0-rc.1 1.3.9 0.1.0", "1.4.0 1.4.1-rc.1"),
            ("<1.4.0", "1.4.0-rc.1", "1.4.0"),
            (">=1.3", "1.3.0 1.4.0-rc.1 9.0.0", "1.3.0-rc.1 1.2.9"),
            ("<=1.3", "1.3.0-rc.1 1.3.9 0.1.0", "1.4.0"),
            (">1.3", "1.4.0 2.0.0-rc.1", "1.3.0 1.3.9 1.3.9-rc.1"),
            ("<=1.3.2", "1.3.2 1.3.2-rc.1", "1.3.3-rc.1"),
            (">1.3.2", "1.3.3-rc.1 1.3.3", "1.3.2 1.3.2-rc.1"),
            (">1", "2.0.0", "1.9.9 1.9.9-a"),
            ("<=1", "1.9.9", "2.0.0"),
            ("!=1.3", "1.2.9 1.4.0-rc.1", "1.3.0-rc.1 1.3.9"),
            ("!=1.3.1", "1.3.1-rc.1 1.3.0", "1.3.1"),
            (">=1.2 <1.2.7", "1.2.0 1.2.6 1.2.7-rc.1", "1.2.7 1.2.0-rc.1"),
            ("1.2.0 - 1.2.6", "1.2.0 1.2.6", "1.2.0-rc.1 1.2.7-rc.1"),
            ("<1.2 || 1.3.x", "1.1.0 1.2.0-rc.1 1.3.5", "1.2.0 1.4.0-rc.1"),
            ("*", "0.0.0-a 1.2.3", ""),
            ("<=18446744073709551615", "18446744073709551615.9.9 1.0.0", ""),
        ] {
            let set = VersionSet::parse(entry).unwrap_or_else(|why| panic!("{entry}: {why}"));
            let contains = |text: &str| set.contains(&text.parse().unwrap());
            for text in taken.split_whitespace() {
                assert!(contains(text), "`{entry}` takes {text}");
            }
            for text in left.split_whitespace() {
                assert!(!contains(text), "`{entry}` does not take {text}");
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, start) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("x1", "`x1` is neither a full version such as `v1.2.3` nor a range such as `1.2.x`: "),
            ("v01.2.3", "`v01.2.3` is neither"),
            (">=1.2 \n<2", "must be one line"),
            (&"1".repeat(300), "is longer than"),
        ] {
            let why = VersionSet::parse(text).unwrap_err();
            assert!(why.starts_with(start), "{why}");
        }
    }
}
