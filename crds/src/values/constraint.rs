//! Version constraints of contracts, policies and records, with the meaning that Go's
//! Masterminds/semver v3.3.1 gives them, oddities included: contracts in the field were written and
//! tried against it, and a verdict that differs would be a wrong one. The one deviation: the empty
//! text means any version.
//!
//! This file owns what a constraint means; `grammar` owns how it is spelt, `reading` what it means in a
//! policy and what people may take it for.

mod grammar;
mod reading;

use std::{fmt, str::FromStr};

use crate::values::{
    text::{printable, printable_to},
    version::Version,
};
use grammar::{Op, Term};

/// A constraint: alternatives, of which one must hold; each a list of comparators, which all must.
#[derive(Debug, Clone)]
pub struct Constraint {
    text: String,
    /// None: any version.
    alternatives: Option<Vec<Vec<Comparator>>>,
}

/// Why a text is no constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version constraint: {why}")]
pub struct ConstraintError {
    /// What was given, fit for a terminal.
    pub text: String,
    /// The rule it breaks.
    pub why: &'static str,
}

impl Constraint {
    /// Reads a constraint; the empty text is any version, blanks alone are an error.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let alternatives = if text.is_empty() {
            None
        } else {
            Some(read(text).map_err(|why| ConstraintError { text: printable_to(text, 128).into_owned(), why })?)
        };
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// The constraint that every version meets.
    pub fn any() -> Self {
        Self { text: String::new(), alternatives: None }
    }

    /// Whether this version meets it. A comparator refuses every pre-release unless it names one
    /// itself; `!=` with a full version is excepted.
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.as_ref().is_none_or(|any_of| any_of.iter().any(|all| all.iter().all(|c| c.holds(version))))
    }

    /// Whether it was given as the empty text.
    pub fn is_any(&self) -> bool {
        self.alternatives.is_none()
    }

    /// As it was written. Foreign text: pass it through [`crate::values::text::printable`] to show it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        Self::parse(text)
    }
}

/// Fit for a terminal; `any` for the empty one.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(if self.is_any() { "any" } else { self.text.trim() }))
    }
}

fn read(text: &str) -> Result<Vec<Vec<Comparator>>, &'static str> {
    grammar::without_ranges(text)
        .split("||")
        .map(|part| grammar::terms(part)?.iter().map(Comparator::new).collect())
        .collect()
}

/// How much of a version a comparator spells out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    /// `x`, and whatever follows it.
    Nothing,
    /// `1`, `1.x`.
    Major,
    /// `1.2`, `1.2.x`.
    Minor,
    /// `1.2.3`.
    Full,
}

#[derive(Debug, Clone)]
struct Comparator {
    op: Op,
    precision: Precision,
    /// With zeros where nothing is spelt out.
    bound: Version,
}

impl Comparator {
    fn new(term: &Term<'_>) -> Result<Self, &'static str> {
        let open = |number: &str| matches!(number, "" | "x" | "X" | "*");
        let [major, minor, patch] = term.numbers;
        let pre = term.pre;
        let (precision, bound) = if open(major) {
            (Precision::Nothing, format!("0.0.0{pre}"))
        } else if open(minor) {
            (Precision::Major, format!("{major}.0.0{pre}"))
        } else if open(patch) {
            (Precision::Minor, format!("{major}.{minor}.0{pre}"))
        } else {
            (Precision::Full, term.version.to_owned())
        };
        let bound = Version::parse(&bound).map_err(|error| error.why)?;
        Ok(Self { op: term.op, precision, bound })
    }

    fn holds(&self, v: &Version) -> bool {
        use Precision::{Full, Major, Minor, Nothing};
        let bound = &self.bound;
        if v.is_prerelease() && !bound.is_prerelease() {
            return self.op == Op::Ne && self.precision == Full && v != bound;
        }
        let numbers = |v: &Version| (v.major(), v.minor());
        match (self.op, self.precision) {
            (Op::Eq, Full) => v == bound,
            (Op::Eq | Op::Tilde, _) => self.within_tilde(v),
            (Op::Ne, Full | Nothing) => v != bound,
            (Op::Ne, Major) => v.major() != bound.major(),
            (Op::Ne, Minor) => numbers(v) != numbers(bound) || v.pre() != bound.pre(),
            (Op::Gt, Full | Nothing) => v > bound,
            (Op::Gt, Major) => v.major() > bound.major(),
            (Op::Gt, Minor) => numbers(v) > numbers(bound),
            (Op::Lt, _) => v < bound,
            (Op::Ge, _) => v >= bound,
            (Op::Le, Full) => v <= bound,
            (Op::Le, Major) => v.major() <= bound.major(),
            (Op::Le, Minor | Nothing) => numbers(v) <= numbers(bound),
            (Op::Caret, _) => self.within_caret(v),
        }
    }

    /// From the bound to the end of its minor version, or of its major one where no minor is given.
    /// `~0.0.0`, and so `~x`, has no end.
    fn within_tilde(&self, v: &Version) -> bool {
        let bound = &self.bound;
        let endless = matches!(self.precision, Precision::Full | Precision::Nothing)
            && (bound.major(), bound.minor(), bound.patch()) == (0, 0, 0);
        v >= bound
            && (endless
                || v.major() == bound.major() && (self.precision == Precision::Major || v.minor() == bound.minor()))
    }

    /// From the bound to where its leftmost number other than 0 changes; for a number given as 0 and
    /// followed by a wildcard, that number. `^x` is `^0.0.0`: that version alone.
    fn within_caret(&self, v: &Version) -> bool {
        let bound = &self.bound;
        let same_major = v.major() == bound.major();
        let same_minor = same_major && v.minor() == bound.minor();
        v >= bound
            && if bound.major() > 0 || self.precision == Precision::Major {
                same_major
            } else if bound.minor() > 0 || self.precision == Precision::Minor {
                same_minor
            } else {
                same_minor && v.patch() == bound.patch()
            }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn c(text: &str) -> Constraint {
        Constraint::parse(text).unwrap()
    }

    /// What the vectors show too, here by rule; each constraint with versions in it and out of it.
    #[test]
    fn meaning() {
        for (text, within, without) in [
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
            for (versions, expected) in [(within, true), (without, false)] {
                for version in versions {
                    assert_eq!(c(text).matches(&Version::parse(version).unwrap()), expected, "{text:?} {version}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_constraint() {
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
    fn shown_as_written() {
        for (text, shown) in [("", "any"), (" >=1.0,\n<2 ", r">=1.0,\n<2"), ("^1", "^1")] {
            assert_eq!(c(text).to_string(), shown);
        }
        assert!(Constraint::any().is_any() && c("").is_any() && !c("*").is_any());
    }

    /// Each would take minutes if reading were not linear.
    #[test]
    fn hostile_lengths() {
        for piece in ["1", "1.", "1-", "1-a", "- ", "1 - 1", "1 - 1 ", "1||", " ", "|", "1-1..", "\u{e4}"] {
            let text = piece.repeat((1 << 17) / piece.len());
            let _ = Constraint::parse(&text);
            let _ = Constraint::parse(&format!("{text} - 1"));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s:.*)|[0-9xX*v.|=!<>~^, +a-]{0,40}") {
            if let Ok(constraint) = Constraint::parse(&text) {
                let _ = constraint.matches(&Version::parse("1.2.3-rc.1").unwrap());
            }
        }

        #[test]
        fn a_range_is_its_two_bounds(low in "[0-3](\\.[0-3]){0,2}", high in "[0-3](\\.[0-3]){0,2}", v in "[0-3]\\.[0-3]\\.[0-3]") {
            let v = Version::parse(&v).unwrap();
            let both = c(&format!(">={low}")).matches(&v) && c(&format!("<={high}")).matches(&v);
            prop_assert_eq!(c(&format!("{low} - {high}")).matches(&v), both);
        }
    }
}
