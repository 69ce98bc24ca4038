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

    /// Returns whether the comparator covers a version, by the order of versions and without exceptions for
    /// pre-releases: what a `block` with it takes (`docs/policies.md`, rule 6).
    ///
    /// A term without all three numbers stands for all versions that begin with its numbers: `<=1.3` ends where 1.4.0
    /// begins, and so does what `>1.3` leaves out. `1.3`, `~1.3` and `^1.3` begin and end by the numbers alone.
    pub(super) fn covers(&self, v: &Version) -> bool {
        let bound = &self.bound;
        // With a pre-release a term names one version, however many numbers it spells out.
        let is_point = self.precision == Precision::Full || bound.is_prerelease();
        let begins = if is_point { v >= bound } else { self.has_numbers_from(v) };
        match self.op {
            Op::Eq if self.precision == Precision::Full => v == bound,
            Op::Ne if self.precision == Precision::Full => v != bound,
            Op::Eq | Op::Tilde => begins && self.shares_numbers(v),
            Op::Ne => !(begins && self.shares_numbers(v)),
            Op::Ge => v >= bound || self.precision == Precision::Nothing,
            Op::Lt => v < bound && self.precision != Precision::Nothing,
            Op::Gt if is_point => v > bound,
            Op::Le if is_point => v <= bound,
            Op::Gt => self.next().is_some_and(|next| *v >= next),
            Op::Le => self.next().is_none_or(|next| *v < next),
            Op::Caret => begins && self.shares_leftmost(v),
        }
    }

    /// Returns whether the version has at least the numbers that the term spells out.
    fn has_numbers_from(&self, v: &Version) -> bool {
        let bound = &self.bound;
        match self.precision {
            Precision::Nothing => true,
            Precision::Major => v.major() >= bound.major(),
            Precision::Minor | Precision::Full => (v.major(), v.minor()) >= (bound.major(), bound.minor()),
        }
    }

    /// Returns whether the version has the numbers that the term spells out, without the last one if there are three.
    fn shares_numbers(&self, v: &Version) -> bool {
        let bound = &self.bound;
        match self.precision {
            Precision::Nothing => true,
            Precision::Major => v.major() == bound.major(),
            Precision::Minor | Precision::Full => (v.major(), v.minor()) == (bound.major(), bound.minor()),
        }
    }

    /// Returns whether the version has the leftmost number of the term that is not 0, and those before it.
    fn shares_leftmost(&self, v: &Version) -> bool {
        let bound = &self.bound;
        match self.precision {
            Precision::Nothing => true,
            precision if bound.major() > 0 || precision == Precision::Major => v.major() == bound.major(),
            precision if bound.minor() > 0 || precision == Precision::Minor => {
                (v.major(), v.minor()) == (bound.major(), bound.minor())
            }
            _ => (v.major(), v.minor(), v.patch()) == (bound.major(), bound.minor(), bound.patch()),
        }
    }

    /// Returns the version at which those end that begin with the numbers of the term. `None`: they never end.
    fn next(&self) -> Option<Version> {
        let bound = &self.bound;
        let after_major = || Some(Version::from_numbers(bound.major().checked_add(1)?, 0, 0));
        match self.precision {
            Precision::Nothing => None,
            Precision::Major => after_major(),
            Precision::Minor | Precision::Full => match bound.minor().checked_add(1) {
                Some(minor) => Some(Version::from_numbers(bound.major(), minor, 0)),
                None => after_major(),
            },
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
