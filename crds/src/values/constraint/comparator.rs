//! What one term of a constraint matches.

use super::grammar::{Op, Term, is_wildcard};
use crate::values::version::Version;

/// The numbers that a comparator's version spells out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// `x`, whatever follows it.
    Nothing,
    /// The major version only: `1`, `1.x`.
    Major,
    /// Major and minor version: `1.2`, `1.2.x`.
    Minor,
    /// All three numbers: `1.2.3`.
    Full,
}

/// An operator and the version that it compares with.
#[derive(Debug, Clone)]
pub(super) struct Comparator {
    pub(super) op: Op,
    pub(super) precision: Precision,
    /// The version of the term, with zeros for the numbers that it does not spell out.
    pub(super) bound: Version,
}

impl Comparator {
    pub(super) fn new(term: &Term<'_>) -> Result<Self, &'static str> {
        let open = |number: &str| number.is_empty() || is_wildcard(number);
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

    /// Returns whether the comparator names one version and not a range.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.op, Op::Eq | Op::Ne) && self.precision == Precision::Full
    }

    /// Returns whether a version meets the comparator.
    pub(super) fn matches(&self, v: &Version) -> bool {
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

    /// `~`: from the bound to the end of its minor version, or of its major version if the term has no
    /// minor. `~0.0.0`, and therefore `~x`, has no upper end.
    fn within_tilde(&self, v: &Version) -> bool {
        let bound = &self.bound;
        let endless = matches!(self.precision, Precision::Full | Precision::Nothing)
            && (bound.major(), bound.minor(), bound.patch()) == (0, 0, 0);
        v >= bound
            && (endless
                || v.major() == bound.major() && (self.precision == Precision::Major || v.minor() == bound.minor()))
    }

    /// `^`: from the bound to the next change of its leftmost number other than 0. A number that is written
    /// as 0 before a wildcard counts as that number. `^x` equals `^0.0.0`, which matches only 0.0.0.
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
